"""What a search costs among 100,000 passages in Postgres, CPU of this process and time by the clock."""

from __future__ import annotations

from bench.corpora import NotThere
from bench.engines import postgres
from bench.measure import Measure, missing
from bench.scale import Budgets, World, scaled

PASSAGES = 100_000


async def measure() -> list[Measure]:
    try:
        return [found async for found in scaled("100k, Postgres", postgres, World.of(PASSAGES), Budgets())]
    except NotThere as error:
        return [missing("100k, Postgres", str(error))]
