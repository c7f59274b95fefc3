"""CPU of a run in the caller's process: two model calls and a tool, the journal in memory, no network."""

from __future__ import annotations

from bench.measure import Measure, absolute, interleaved
from bench.reference.chat_server import FINAL_TEXT
from bench.reference.scripted import Scripted
from quarterdeck import Agent, tool

RUNS = 200
REPETITIONS = 7
BUDGET_MS = 0.4


@tool(effect="read", trusted=True)
async def look_up(number: int) -> str:
    """Look up the value of a number."""
    return f"The value of number {number} is {number * 17 + 4}."


async def measure() -> list[Measure]:
    agent = Agent(Scripted(tool_turns=1), tools=[look_up], instructions="You look values up.")
    result = await agent.run("What is the value of the first number?")
    assert result.output == FINAL_TEXT
    assert [call.name for call in result.tool_calls_made] == ["look_up"]

    async def runs() -> None:
        for _ in range(RUNS):
            await agent.run("What is the value of the first number?")

    (taken_ms,) = await interleaved([runs], repetitions=REPETITIONS)
    return [absolute("run in process, 2 model calls + 1 tool", taken_ms / RUNS, "ms CPU", budget=BUDGET_MS)]
