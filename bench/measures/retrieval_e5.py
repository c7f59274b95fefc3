"""Retrieval quality of the embedded index with the local embedder for many languages. On request: minutes."""

from __future__ import annotations

from bench.engines import sqlite
from bench.judging import Candidate, e5, judged
from bench.measure import Measure

CANDIDATE = Candidate(
    name="SQLite and E5",
    open=sqlite,
    floors={("cranfield", "hybrid"): 0.55, ("cmrc2018-dev", "hybrid"): 0.986},
    weights=e5,
)


async def measure() -> list[Measure]:
    return await judged(CANDIDATE)
