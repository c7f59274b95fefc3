"""How late the event loop of the server is while it answers, searches and takes in documents."""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from pathlib import Path

import aiohttp

from bench.measure import Measure, absolute
from bench.measures.server import started
from bench.measures.soak import QUESTIONS

RATE, SECONDS, DOCUMENTS = 8.0, 15.0, 10
P99_S, LARGEST_S = 0.05, 0.1
LAG = re.compile(r'^quarterdeck_event_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)$', re.MULTILINE)
LARGEST = re.compile(r"^quarterdeck_event_loop_lag_largest_seconds (\S+)$", re.MULTILINE)


async def measure() -> list[Measure]:
    with tempfile.TemporaryDirectory() as made:
        data = Path(made)
        async with aiohttp.ClientSession() as session, started(session, data, LLM_MODE="local") as server:
            keys = dict(line.split() for line in (data / "keys").read_text().splitlines())
            lead = {"Authorization": f"Bearer {keys['omar']}"}
            until = time.monotonic() + SECONDS
            async with asyncio.TaskGroup() as tasks:
                asked = tasks.create_task(_asking(session, server.url))
                sent = tasks.create_task(_sending(session, server.url, lead, until))
            async with session.get(f"{server.url}/metrics", headers=lead) as answer:
                page = await answer.text()
    found = LARGEST.search(page)
    assert found is not None, page[:2000]
    note = f"{asked.result()} questions and {sent.result()} documents in {SECONDS:g} s; 20 looks a second"
    return [
        absolute("p99 of the lag, at most", _p99(page), "s", budget=P99_S, note=note),
        absolute("largest lag", float(found[1]), "s", budget=LARGEST_S, note="others on the same processors included"),
    ]


async def _asking(session: aiohttp.ClientSession, url: str) -> int:
    """Ask at fixed times, whether or not earlier ones were answered; returns how many."""

    async def ask(body: dict[str, str]) -> None:
        async with session.post(f"{url}/chat", json=body) as answer:
            assert answer.status == 200, await answer.read()
            await answer.read()

    began, count = time.monotonic(), int(RATE * SECONDS)
    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))
            # No two are the same: what was found once is given again without a search.
            tasks.create_task(ask({"message": f"{QUESTIONS[number % len(QUESTIONS)]} ({number})"}))
    return count


async def _sending(session: aiohttp.ClientSession, url: str, lead: dict[str, str], until: float) -> int:
    """Bring in documents of some hundred kilobytes."""
    for number in range(DOCUMENTS):
        if time.monotonic() >= until:
            return number
        paragraphs = [f"Room {number}-{place} is on floor {place % 9}. It holds {place} chairs." for place in range(3_000)]
        body = {
            "name": f"rooms-{number}.md",
            "text": f"# Rooms {number}\n\n" + "\n\n".join(paragraphs),
            "groups": ["everyone"],
        }
        async with session.post(f"{url}/api/v1/documents", json=body, headers=lead) as answer:
            assert answer.status < 300, await answer.read()
        await asyncio.sleep(1.0)
    return DOCUMENTS


def _p99(page: str) -> float:
    """Upper edge of the bucket that holds the 99th percentile, in seconds."""
    buckets = [(float(edge), float(count)) for edge, count in LAG.findall(page)]
    return next(edge for edge, count in buckets if count >= 0.99 * buckets[-1][1])
