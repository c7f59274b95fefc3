"""Readers of streams who take nothing: what each costs, whether it is cut, and what others notice.

Some ask and read nothing of the answer while it is made; the others read nothing of the record of a long run that has ended,
so that all of them are open at the same time and no other work is going on when the rest of the world is timed.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import dataclass

import psutil

from bench.measure import Measure, absolute, relative
from bench.reference.slow_server import slow_server
from bench.stage import Stage, p99, posted, requested, staged

STALL_S = 30.0
QUIET_S = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Attributes: pieces: Of an answer; more than the buffers of the system take without a reader."""

    readers: int = 500
    live: int = 20
    pieces: int = 8_000


async def measure(load: Load = Load()) -> list[Measure]:
    async with slow_server() as provider, staged(provider) as stage:
        return await _slow_readers(stage, load)


async def _slow_readers(stage: Stage, load: Load) -> list[Measure]:
    asked = {"query": f"Where? pieces={load.pieces}"}
    warming = [await posted(stage, "/api/v1/agent/stream", asked, "noisy") for _ in range(load.live)]
    heads = await asyncio.gather(*(_read(reader) for reader, _ in warming))  # what such runs leave behind is no cost
    for _, writer in warming:
        writer.close()
    usual_s = p99(await stage.load("quiet", 4, QUIET_S))
    before_b = stage.process.memory_info().rss
    found = re.search(rb"(?i)x-run-id: (\S+)", heads[0])
    assert found is not None, heads[0]

    began = time.monotonic()
    readers = [await posted(stage, "/api/v1/agent/stream", asked, "noisy", small=True) for _ in range(load.live)]
    await asyncio.sleep(2.0)
    while stage.process.cpu_percent(0.5) > 25 and time.monotonic() < began + STALL_S / 2:
        await asyncio.sleep(0.1)  # the runs go on without their readers: wait until they have ended
    record = f"/api/v1/runs/{found[1].decode()}/events"
    while len(readers) < load.readers:
        reader, writer = await requested(stage, "GET", record, None, "noisy", small=True)
        status = await asyncio.wait_for(reader.readline(), 20)
        if b" 200 " not in status:
            raise RuntimeError(f"reader {len(readers)} was not let in: {status!r}")
        readers.append((reader, writer))
    await asyncio.sleep(1.0)
    standing = _open_at(stage)
    beside = await stage.load("quiet", 4, QUIET_S)
    each_kb = (stage.process.memory_info().rss - before_b) / load.readers / 1024
    await asyncio.sleep(STALL_S + 5)
    still = _open_at(stage)
    told = json.loads((await stage.get("/api/v1/runs?limit=200", "noisy"))[1])["runs"]
    undone = sum(run["status"] != "done" for run in told)
    for _, writer in readers:
        writer.transport.abort()
    note = f"{load.readers} of them, {load.live} of answers that were being made; {standing} open when the others were timed"
    return [
        absolute("memory of a stream nobody reads", each_kb, "KiB", budget=256, note=note),
        relative("p99 of others", p99(beside), "s", reference=usual_s, budget=1.2, note="reference: before them"),
        absolute("streams that were not cut", still, "streams", budget=0, note=f"{STALL_S + 5:g} s later"),
        absolute("runs of such readers that did not go on", undone, "runs", budget=0, note=f"of {len(told)}"),
    ]


async def _read(reader: asyncio.StreamReader) -> bytes:
    """Take all that comes, up to the mark of the end; returns the head."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    tail = b""
    async with asyncio.timeout(150):
        while b"[DONE]" not in tail and (piece := await reader.read(65_536)):
            tail = tail[-16:] + piece
    return head


def _open_at(stage: Stage) -> int:
    """Connections of the server, but those that this process keeps for its next requests."""
    port = int(stage.url.rsplit(":", 1)[1])
    theirs = [one for one in stage.process.net_connections("tcp") if one.status == psutil.CONN_ESTABLISHED]
    pooled = stage.session.connector
    idle = sum(len(kept) for kept in pooled._conns.values()) if pooled is not None else 0
    return max(0, sum(one.laddr.port == port for one in theirs) - idle)
