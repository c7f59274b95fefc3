"""Retrieval quality of the index in Postgres with pgvector, on a server of its own."""

from __future__ import annotations

from bench.engines import postgres
from bench.judging import Candidate, judged
from bench.measure import Measure

CANDIDATE = Candidate(
    name="Postgres", open=postgres, floors={("cranfield", "keyword"): 0.474, ("cmrc2018-dev", "hybrid"): 0.984}
)


async def measure() -> list[Measure]:
    return await judged(CANDIDATE)
