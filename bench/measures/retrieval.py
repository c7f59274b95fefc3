"""Retrieval quality of the embedded index, and how fast the local embedder reads.

``BENCH_DATA`` names the folder of the collections; see `bench.corpora`.
"""

from __future__ import annotations

import time

from bench.corpora import NotThere
from bench.engines import sqlite
from bench.judging import Candidate, context, judged, minilm
from bench.measure import Measure, at_least, missing

PASSAGES = 100
WORDS = 100
CANDIDATE = Candidate(
    name="SQLite",
    open=sqlite,
    floors={
        ("cranfield", "keyword"): 0.534,
        ("cranfield", "hybrid"): 0.567,
        ("cmrc2018-dev", "hybrid"): 0.984,  # with an embedder that knows no Chinese: the language gate has to hold
    },
)


async def measure() -> list[Measure]:
    return [await _embedding(), *await judged(CANDIDATE)]


async def _embedding() -> Measure:
    name = "minilm: embedding"
    try:
        embedder, _ = await minilm()
    except NotThere as error:
        return missing(name, str(error))
    texts = [" ".join(f"passage {number} of word {word % 50}" for word in range(WORDS // 5)) for number in range(PASSAGES)]
    await embedder.embed(texts[:1], context())
    begun = time.process_time()
    await embedder.embed(texts, context(within_s=300))
    taken_s = time.process_time() - begun
    return at_least(name, PASSAGES / taken_s, "per s", note=f"passages of {WORDS} words per CPU second, one thread")
