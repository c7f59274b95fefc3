"""CPU of the model client per call and per streamed piece, and what 100 streams at once take, against raw aiohttp.

The client is the provider's adapter in the wrappers every model has: retries and prices. The provider is a process of its
own, whose CPU does not count. A streamed reply comes in 200 pieces, 20 in each write.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import aiohttp
import psutil

from bench.host import PERSON, wire_model
from bench.measure import Measure, Work, absolute, interleaved, relative
from bench.reference import raw_client
from bench.reference.chat_server import PIECES, chat_server, streamed_text
from quarterdeck.core.context import Context
from quarterdeck.core.events import Delta
from quarterdeck.core.labels import Integrity, Label, Readers
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.models.base import Model, ModelRequest

CALLS = 100
TOGETHER = 50
STREAMS = 100
STREAMS_ALONE = 20
REPETITIONS = 7
BUDGET = 1.3
INSTRUCTIONS = "You look values up. Answer when you have them all."
QUESTION = "What are the values of the first nine numbers?"
LABEL = Label(integrity=Integrity.TRUSTED, readers=Readers.of(f"user:{PERSON.user}"))
REQUEST = ModelRequest(
    messages=(
        Message(role=Role.SYSTEM, parts=(Text(text=INSTRUCTIONS, label=LABEL),)),
        Message(role=Role.USER, parts=(Text(text=QUESTION, label=LABEL),)),
    )
)

Once = Callable[[], Awaitable[None]]


async def measure() -> list[Measure]:
    connector = aiohttp.TCPConnector(limit=STREAMS)
    async with (
        chat_server(tool_turns=0) as url,
        aiohttp.ClientSession(connector=connector) as session,
        wire_model(url) as model,
    ):
        raw_call, raw_stream = _raw(session, url)
        call, stream = _client(model)
        await raw_stream()  # each side warm before the first figure of memory
        await stream()
        raw_growth, growth = await _growth(raw_stream), await _growth(stream)
        works = [
            _one_by_one(raw_call, CALLS), _one_by_one(call, CALLS),
            _together(raw_call, CALLS, TOGETHER), _together(call, CALLS, TOGETHER),
            _one_by_one(raw_stream, STREAMS_ALONE), _one_by_one(stream, STREAMS_ALONE),
            _together(raw_stream, STREAMS, STREAMS), _together(stream, STREAMS, STREAMS),
        ]  # fmt: skip
        times = await interleaved(works, repetitions=REPETITIONS)
    raw_alone, alone, raw_many, many, raw_streamed, streamed, raw_streams, streams = times
    per_piece = 1000 / (STREAMS_ALONE * PIECES)
    return [
        relative(
            "model client: a call, alone", alone / CALLS, "ms CPU", reference=raw_alone / CALLS, budget=BUDGET,
            note="target; prices, retries and the adapter; reference: hand-written aiohttp, no retry and no price",
        ),
        relative(
            f"model client: a call, {TOGETHER} at once", many / CALLS, "ms CPU", reference=raw_many / CALLS, budget=BUDGET,
            note="target",
        ),
        relative(
            "model client: a streamed piece, alone", streamed * per_piece, "µs CPU", reference=raw_streamed * per_piece,
            note=f"replies of {PIECES} pieces; the reference decodes each and adds its text, ours tells a watcher as well",
        ),
        relative(
            f"model client: a stream of {STREAMS} at once", streams / STREAMS, "ms CPU", reference=raw_streams / STREAMS,
            note=f"{PIECES} pieces each",
        ),
        absolute(
            f"model client: memory of {STREAMS} streams", growth, "MiB",
            note=f"growth of the process until its highest point, once; raw aiohttp before it {raw_growth:.1f} MiB",
        ),
    ]  # fmt: skip


def _raw(session: aiohttp.ClientSession, url: str) -> tuple[Once, Once]:
    messages = [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": QUESTION}]

    async def call() -> None:
        await raw_client.call(session, url, messages)

    async def stream() -> None:
        assert await raw_client.stream(session, url, messages) == streamed_text()

    return call, stream


def _client(model: Model) -> tuple[Once, Once]:
    def context() -> Context:
        return Context(principal=PERSON, run_id="bench", deadline=time.monotonic() + 60)

    async def call() -> None:
        await model.complete(REQUEST, context())

    async def stream() -> None:
        heard = 0

        async def hear(delta: Delta) -> None:
            nonlocal heard
            heard += 1

        completion = await model.complete(REQUEST, context(), hear)
        assert completion.text == streamed_text()
        assert heard == PIECES

    return call, stream


def _one_by_one(once: Once, times: int) -> Work:
    async def work() -> None:
        for _ in range(times):
            await once()

    return work


def _together(once: Once, times: int, at_once: int) -> Work:
    async def work() -> None:
        for _ in range(times // at_once):
            await asyncio.gather(*(once() for _ in range(at_once)))

    return work


async def _growth(once: Once) -> float:
    """MiB by which this process grows while `STREAMS` replies are streamed at once, read every 5 ms."""
    process = psutil.Process()
    before = highest = process.memory_info().rss
    streams = asyncio.gather(*(once() for _ in range(STREAMS)))
    while not streams.done():
        highest = max(highest, process.memory_info().rss)
        await asyncio.wait((streams,), timeout=0.005)
    await streams
    return (max(highest, process.memory_info().rss) - before) / 2**20
