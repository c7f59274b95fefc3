"""A stream of events cut at a thousand places and taken up again with Last-Event-ID: is it, together, the uncut one?"""

from __future__ import annotations

import re

from bench.measure import Measure, absolute
from bench.reference.slow_server import slow_server
from bench.stage import KEYS, Stage, staged

CUTS = 1_000


async def measure() -> list[Measure]:
    async with slow_server() as provider, staged(provider) as stage:
        asked = {"message": "Where is the printer? pieces=50"}
        run_ids = []
        for _ in range(2):
            headers = {"Authorization": f"Bearer {KEYS['quiet']}"}
            async with stage.session.post(f"{stage.url}/chat", json=asked, headers=headers) as answer:
                run_ids.append(str((await answer.json())["run_id"]))
        return await _cut(stage, f"/api/v1/runs/{run_ids[-1]}/events")


async def _cut(stage: Stage, path: str) -> list[Measure]:
    _, whole = await stage.get(path)
    different, events = 0, whole.count(b"\nid: ") + whole.startswith(b"id: ")
    for number in range(CUTS):
        taken = whole[: len(whole) * number // CUTS]
        kept = taken[: taken.rfind(b"\n\n") + 2] if b"\n\n" in taken else b""  # half a frame is dropped by every client
        ids = re.findall(rb"^id: ?(\S+)$", kept, re.MULTILINE)
        headers = {"Last-Event-ID": ids[-1].decode()} if ids else {}
        _, rest = await stage.get(path, **headers)
        different += kept + rest != whole
    return [
        absolute(
            "cuts after which the stream differs", different, "cuts", budget=0,
            note=f"of {CUTS}, anywhere in {len(whole)} bytes of {events} events",
        ),
        absolute("cuts made", CUTS, "cuts"),
    ]  # fmt: skip
