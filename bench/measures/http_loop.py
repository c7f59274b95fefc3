"""CPU per model call over HTTP in a loop of ten turns, durable on SQLite, against a hand-written aiohttp loop."""

from __future__ import annotations
import asyncio
import aiohttp
from bench.measure import Measure, absolute, interleaved
from bench.reference import raw_loop
from bench.reference.chat_server import chat_server

SCHEMA = [
    {
        "type": "function",
        "function": {
            "name": "look_up",
            "description": "Look up",
            "parameters": {"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]},
        },
    }
]


async def measure():
    async with chat_server(9) as url, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100)) as s:

        async def one():
            for _ in range(20):
                await raw_loop.run(
                    s, url, "q", instructions="Be", tools=SCHEMA, functions={"look_up": lambda number: f"v {number}"}
                )

        async def many():
            await asyncio.gather(
                *(
                    raw_loop.run(
                        s, url, "q", instructions="Be", tools=SCHEMA, functions={"look_up": lambda number: f"v {number}"}
                    )
                    for _ in range(50)
                )
            )

        a, b = await interleaved([one, many], repetitions=5)
        return [absolute("raw one", a / 200, "ms"), absolute("raw 50", b / 500, "ms")]
