"""What a search costs in the embedded index at its stated limit of 100,000 passages."""

from __future__ import annotations

from bench.engines import sqlite
from bench.measure import Measure
from bench.scale import Budgets, World, scaled

PASSAGES = 100_000


async def measure() -> list[Measure]:
    budgets = Budgets(vector_ms=25.0, hybrid_ms=140.0, recall=1.0)
    return [found async for found in scaled("100k, SQLite", sqlite, World.of(PASSAGES), budgets)]
