"""What a search costs among 10,000 passages in Qdrant's own engine within the client, which reads them all."""

from __future__ import annotations

from bench.corpora import NotThere
from bench.engines import qdrant
from bench.measure import Measure, missing
from bench.scale import Budgets, World, scaled

PASSAGES = 10_000


async def measure() -> list[Measure]:
    try:
        return [found async for found in scaled("10k, Qdrant local", qdrant, World.of(PASSAGES), Budgets(recall=1.0))]
    except NotThere as error:
        return [missing("10k, Qdrant local", str(error))]
