"""CPU per model call over HTTP in a loop of ten turns, durable on SQLite, against a hand-written aiohttp loop.

The work is that of the journal's line: 1 kB of instructions, and 1 kB that the tool gives in each turn.

Both talk to the same little server in a process of its own, whose CPU does not count; the journal's threads do.
"""

from __future__ import annotations

import asyncio
import tempfile

import aiohttp

from bench.host import host, wire_model
from bench.measure import Measure, interleaved, relative
from bench.reference import raw_loop
from bench.reference.chat_server import chat_server
from bench.reference.turns import KILOBYTE
from quarterdeck import tool
from quarterdeck.core.runs import RunStatus
from quarterdeck.store.sqlite_store import open_sqlite

MODEL_CALLS = 10
ALONE, TOGETHER = 10, 50  # runs one after the other, and at the same time
REPETITIONS = 7
BUDGET_ALONE, BUDGET_TOGETHER = 3.5, 4.0
INSTRUCTIONS = f"You look values up. Answer when you have them all. {KILOBYTE}"
QUESTION = "What are the values of the first nine numbers?"


@tool(effect="read", trusted=True)
async def look_up(number: int) -> str:
    """Look up the value of a number.

    Args:
        number: Which one.
    """
    return f"The value of number {number} is {number * 17 + 4}. {KILOBYTE}"


async def plain_look_up(number: int) -> str:
    return f"The value of number {number} is {number * 17 + 4}. {KILOBYTE}"


async def measure() -> list[Measure]:
    with tempfile.TemporaryDirectory() as folder:
        async with chat_server(MODEL_CALLS - 1) as url, aiohttp.ClientSession() as session, wire_model(url) as model:
            store = open_sqlite(folder)
            ours = await host(store, model, [look_up], instructions=INSTRUCTIONS)
            assert await ours.status(await ours.ask(QUESTION)) is RunStatus.DONE
            function = {"name": look_up.name, "description": look_up.description, "parameters": look_up.input_schema}
            declared = [{"type": "function", "function": function}]

            async def raw() -> None:
                await raw_loop.run(
                    session, url, QUESTION, instructions=INSTRUCTIONS, tools=declared, functions={"look_up": plain_look_up}
                )

            async def durable() -> None:
                await ours.ask(QUESTION)

            works = [_one_by_one(raw), _one_by_one(durable), _together(raw), _together(durable)]
            raw_alone, alone, raw_together, together = await interleaved(works, repetitions=REPETITIONS)
            await store.close()
    calls_alone, calls_together = ALONE * MODEL_CALLS, TOGETHER * MODEL_CALLS
    return [
        relative(
            "model call over HTTP, durable, alone", alone / calls_alone, "ms CPU",
            reference=raw_alone / calls_alone, budget=BUDGET_ALONE, note="reference: hand-written aiohttp loop, not durable",
        ),
        relative(
            f"model call over HTTP, durable, {TOGETHER} runs", together / calls_together, "ms CPU",
            reference=raw_together / calls_together, budget=BUDGET_TOGETHER,
        ),
    ]  # fmt: skip


def _one_by_one(run):
    async def work() -> None:
        for _ in range(ALONE):
            await run()

    return work


def _together(run):
    async def work() -> None:
        await asyncio.gather(*(run() for _ in range(TOGETHER)))

    return work
