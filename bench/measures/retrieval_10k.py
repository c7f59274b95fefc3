"""What a search costs among 10,000 passages."""

from __future__ import annotations

from bench.corpora import NotThere
from bench.engines import postgres, sqlite
from bench.measure import Measure, missing
from bench.scale import Budgets, World, scaled

PASSAGES = 10_000


async def measure() -> list[Measure]:
    world = World.of(PASSAGES)
    measures = [found async for found in scaled("10k, SQLite", sqlite, world, Budgets(recall=1.0))]
    try:
        measures += [found async for found in scaled("10k, Postgres", postgres, world, Budgets())]
    except NotThere as error:
        measures.append(missing("10k, Postgres", str(error)))
    why = (
        "the client's own engine is for tests, it compares a question with every passage in Python; a server is not at hand"
    )
    return [*measures, missing("10k, Qdrant", why)]
