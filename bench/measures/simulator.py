"""How many requests the simulated provider answers per second of its CPU, against bare ASGI applications.

The budget is held against the bare chat application of `bench.reference.bare_asgi`, which decodes each request and
encodes each reply as any simulator must; the one that sends fixed bytes is told beside it. Each server has a process of its
own; only its CPU counts. The requests are those of a client of OpenAI's API: a system message and a question, all different.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aiohttp
import orjson
import psutil

from bench.measure import Measure, absolute, at_least

REQUESTS, TOGETHER, BATCHES = 3000, 32, 8
BUDGET = 0.6
HEADERS = {"Authorization": "Bearer none", "Content-Type": "application/json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server in another process."""

    url: str
    process: psutil.Process

    def cpu_s(self) -> float:
        return sum(self.process.cpu_times()[:2])


async def measure() -> list[Measure]:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(headers=HEADERS))
        fixed, chat, scripted, extractive = [
            await stack.enter_async_context(_server(kind)) for kind in ("fixed", "chat", "scripted", "extractive")
        ]
        servers = [(fixed, False), (chat, False), (scripted, False), (scripted, True), (extractive, False)]
        rates = await _rates(session, servers)
    bytes_only, plain, whole, streamed, read = rates
    return [
        at_least(
            "simulator: replies of a script", whole / plain, "x bare", budget=BUDGET,
            note=f"requests per second of CPU: {whole:.0f}; a bare ASGI app that reads the body, decodes the JSON and "
            f"encodes a completion, both with orjson, and checks nothing: {plain:.0f}",
        ),
        at_least(
            "simulator: replies of a script, fixed bytes", whole / bytes_only, "x bare",
            note=f"an ASGI app that never looks at the request and sends the same bytes each time: {bytes_only:.0f}",
        ),
        absolute("simulator: streamed replies", streamed, "/CPU s", note="16 chunks each, merged into one write"),
        absolute("simulator: replies of the extractive model", read, "/CPU s", note="it reads what it is given, each time"),
    ]  # fmt: skip


async def _rates(session: aiohttp.ClientSession, servers: list[tuple[Served, bool]]) -> list[float]:
    """Requests per CPU second of each over all batches but the first, which warms up.

    They take turns, so that a disturbance hits all of them. Sums, since the system counts CPU in steps of 10 ms, which is a
    tenth of what one batch takes.
    """
    taken_s = [0.0] * len(servers)
    for batch in range(1 + BATCHES):
        for index, (server, streamed) in enumerate(servers):
            before = server.cpu_s()
            await _ask(session, server, batch, streamed=streamed)
            if batch:
                taken_s[index] += server.cpu_s() - before
    return [BATCHES * REQUESTS / seconds for seconds in taken_s]


async def _ask(session: aiohttp.ClientSession, server: Served, batch: int, *, streamed: bool) -> None:
    numbers = iter(range(REQUESTS))

    async def client() -> None:
        for number in numbers:
            body = orjson.dumps(
                {
                    "model": "gpt-5",
                    "messages": [
                        {"role": "system", "content": "You look values up. Answer when you have them all."},
                        {"role": "user", "content": f"What is the value of number {batch}-{number}, and who set it?"},
                    ],
                    "temperature": 0,
                    **({"stream": True} if streamed else {}),
                }
            )
            async with session.post(f"{server.url}/v1/chat/completions", data=body) as response:
                assert response.status == 200, await response.text()
                await response.read()

    await asyncio.gather(*(client() for _ in range(TOGETHER)))


@asynccontextmanager
async def _server(kind: str) -> AsyncIterator[Served]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.reference.bare_asgi", kind,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    try:
        yield Served(url=f"http://127.0.0.1:{port}", process=psutil.Process(process.pid))
    finally:
        process.stdin.close()
        await process.wait()
