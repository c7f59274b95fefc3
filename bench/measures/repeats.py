"""Fifty requests with one Idempotency-Key at the same time, the same again after a restart, and of somebody else."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

from bench.measure import Measure, absolute
from bench.reference.slow_server import slow_server
from bench.stage import KEYS, QUESTION, Stage, staged

TOGETHER = 50
KEY = {"Idempotency-Key": "order-4711"}


async def measure() -> list[Measure]:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        async with slow_server() as provider:
            async with staged(provider, folder=folder) as stage:
                together = await asyncio.gather(*(_posted(stage, "quiet", QUESTION) for _ in range(TOGETHER)))
                asked = (await stage.seen())["asked"]
                other, _ = await _posted(stage, "quiet", {"message": "Where is the lift?"})
                _, foreign = await _posted(stage, "noisy", QUESTION)
            async with staged(provider, folder=folder) as stage:
                _, later = await _posted(stage, "quiet", QUESTION)
    good = [body for status, body in together if status == 200]
    return [
        absolute(
            "runs begun", len({body["run_id"] for body in good}), "runs", budget=1, note=f"by {TOGETHER} posts at once"
        ),
        absolute("model calls", asked, "calls", budget=1),
        absolute("posts not answered alike", TOGETHER - sum(body == good[0] for body in good), "posts", budget=0),
        absolute("another body under the key accepted", int(other != 422), "requests", budget=0, note=f"answered {other}"),
        absolute("another run after a restart", int(later["run_id"] != good[0]["run_id"]), "runs", budget=0),
        absolute("another tenant given this one's run", int(foreign["run_id"] == good[0]["run_id"]), "runs", budget=0),
    ]


async def _posted(stage: Stage, name: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {KEYS[name]}", **KEY}
    async with stage.session.post(f"{stage.url}/chat", json=body, headers=headers) as answer:
        told = json.loads(await answer.read())
    told.pop("latency_ms", None)  # how long this caller waited
    return answer.status, told
