"""Retrieval quality of the index in Qdrant, by the client's own engine: the same order, without a server."""

from __future__ import annotations

from bench.engines import qdrant
from bench.judging import Candidate, judged
from bench.measure import Measure

CANDIDATE = Candidate(
    name="Qdrant local",
    open=qdrant,
    floors={("cranfield", "keyword"): 0.517, ("cranfield", "hybrid"): 0.555},
    questions=400,  # all of Cranfield; each takes a tenth of a second of CPU, a comparison with every passage in Python
)


async def measure() -> list[Measure]:
    return await judged(CANDIDATE)
