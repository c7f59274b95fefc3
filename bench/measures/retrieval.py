"""Retrieval quality on two public collections: nDCG@10 (linear gain), for the index and for the search above it.

The collections are for measuring only and are no part of the project; ``BENCH_DATA`` names the folder that holds them
(each with corpus.jsonl, queries.jsonl and qrels.tsv, as BEIR has them). Without it nothing is measured here.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measure import Measure, at_least
from quarterdeck.core.context import Context, Principal
from quarterdeck.knowledge.base import Chunk, Document, Lookup
from quarterdeck.knowledge.indexes.sqlite import SqliteIndex
from quarterdeck.knowledge.search import Searcher, lookup_groups

BUDGETS = {"cranfield": 0.534, "cmrc2018-dev": 0.984}  # nDCG@10 by keyword of the index alone
K = 10
READER = Principal(user="bench", tenant="bench")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Means over all queries. `empty` is the share of queries that were given nothing."""

    ndcg: float
    recall: float
    empty: float
    cpu_ms: float


def ndcg(found: Sequence[str], gains: Mapping[str, float], k: int = K) -> float:
    """Normalised discounted cumulative gain of the first `k`, with linear gain."""
    got = sum(gains.get(doc, 0.0) / math.log2(rank + 2) for rank, doc in enumerate(found[:k]))
    best = sum(gain / math.log2(rank + 2) for rank, gain in enumerate(sorted(gains.values(), reverse=True)[:k]))
    return got / best if best else 0.0


def rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def judgements(path: Path) -> dict[str, dict[str, float]]:
    gains: dict[str, dict[str, float]] = defaultdict(dict)
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        query, doc, gain = line.split("\t")
        gains[query][doc] = float(gain)
    return gains


async def build(index: SqliteIndex, corpus: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """One passage per document; returns the collection's id by document id."""
    names: dict[str, str] = {}
    for row in corpus:
        doc = row["_id"].lower()
        names[doc] = row["_id"]
        document = Document(
            id=doc, tenant=READER.tenant, title=row["title"], text=row["text"], groups=frozenset({"everyone"})
        )
        await index.upsert(document, [Chunk(text=document.text, start=0, end=len(document.text))])
    return names


async def quality(folder: Path) -> dict[str, Quality]:
    """Quality of the index alone, and of the search with its relevance cut-off."""
    corpus, queries = rows(folder / "corpus.jsonl"), rows(folder / "queries.jsonl")
    gains = judgements(folder / "qrels.tsv")
    with tempfile.TemporaryDirectory() as temporary:
        index = await SqliteIndex.open(Path(temporary) / "index.db")
        names = await build(index, corpus)
        searcher = Searcher(index)

        async def by_index(text: str) -> list[str]:
            lookup = Lookup(text=text, tenant=READER.tenant, groups=lookup_groups(READER))
            return [names[passage.doc_id] for passage in await index.keyword(lookup, K)]

        async def by_search(text: str) -> list[str]:
            ctx = Context(principal=READER, run_id="bench", deadline=time.monotonic() + 60)
            passages, _ = await searcher.search(text, ctx, K)
            return [names[passage.doc_id] for passage in passages]

        results = {}
        for name, ask in (("index", by_index), ("search", by_search)):
            begun = time.process_time()
            found = {row["_id"]: await ask(row["text"]) for row in queries}
            cpu_ms = (time.process_time() - begun) * 1000 / len(queries)
            results[name] = Quality(
                ndcg=sum(ndcg(docs, gains[query]) for query, docs in found.items()) / len(found),
                recall=sum(len(gains[query].keys() & set(docs)) / len(gains[query]) for query, docs in found.items())
                / len(found),
                empty=sum(not docs for docs in found.values()) / len(found),
                cpu_ms=cpu_ms,
            )
        await index.close()
    return results


async def measure() -> list[Measure]:
    data = os.environ.get("BENCH_DATA")
    if not data:
        return []
    measures: list[Measure] = []
    for name, budget in BUDGETS.items():
        folder = Path(data) / name
        if not (folder / "corpus.jsonl").is_file():
            raise FileNotFoundError(f"BENCH_DATA names {data}, and there is no collection {name} in it")
        for way, found in (await quality(folder)).items():
            note = f"recall@10 {found.recall:.3f}, {found.cpu_ms:.1f} CPU ms per query, {found.empty:.1%} given nothing"
            least = budget if way == "index" else None
            measures.append(at_least(f"{name}, {way}", found.ndcg, "nDCG@10", budget=least, note=note))
    return measures
