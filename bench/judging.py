"""Judges one engine on public collections: by words, by meaning, and by both.

What is missing, a collection, an engine or the weights of the embedder, is named. The order is judged before anything is
left out as beside the point; what the relevance cut-off then costs is told apart.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.corpora import READER, Corpus, NotThere, chunk, load
from bench.engines import Open
from bench.measure import Measure, at_least, missing
from bench.relevance import K, quality
from quarterdeck.core.context import Context
from quarterdeck.core.errors import Misconfigured
from quarterdeck.knowledge.base import KEYWORDS, KnowledgeIndex, Lookup, Space, Vector
from quarterdeck.knowledge.calibration import Calibration
from quarterdeck.knowledge.embedders.cached import CachedEmbedder
from quarterdeck.knowledge.embedders.language import embeddable
from quarterdeck.knowledge.embedders.prefixed import PrefixedEmbedder
from quarterdeck.knowledge.embedders.wording import worded
from quarterdeck.knowledge.search import Searcher, lookup_groups
from quarterdeck.models.embeddings import Embedder
from quarterdeck.store.cache import Shelf
from quarterdeck.store.cache_sqlite import SqliteCache

BUILD = Path(__file__).parents[1] / "build"
COLLECTIONS = ("cranfield", "cmrc2018-dev")
WEEK_S = 7 * 86_400.0

Ask = Callable[[str], Awaitable[Sequence[str]]]
Weights = Callable[[], Awaitable[tuple[Embedder, Calibration]]]
Floors = Mapping[tuple[str, str], float]  # the least nDCG@10, by collection and way


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """A model with the product's cache, so that the engines are given the same vectors.

    Attributes:
        questions, passages: As it reads the one and the other.
    """

    questions: Embedder
    passages: Embedder
    calibration: Calibration


async def minilm() -> tuple[Embedder, Calibration]:
    """The local embedder for English. Raises NotThere without its extra or its weights."""
    try:
        from quarterdeck.knowledge.embedders.minilm import MiniLMEmbedder

        embedder = await MiniLMEmbedder.open(BUILD / "minilm")
    except (ImportError, Misconfigured) as error:
        raise NotThere(str(error)) from error
    return embedder, embedder.calibration


async def e5() -> tuple[Embedder, Calibration]:
    """The local embedder for many languages. Raises NotThere without its extra or its weights."""
    try:
        from quarterdeck.knowledge.embedders.e5 import E5Embedder

        embedder = await E5Embedder.open(BUILD / "e5")
    except (ImportError, Misconfigured) as error:
        raise NotThere(str(error)) from error
    return embedder, embedder.calibration


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An engine to be judged.

    Attributes:
        floors: For ``keyword`` and ``hybrid`` of each collection, of all its questions: some are easier than others.
        weights: Opens the model of its vectors.
        questions: The most that are asked of a collection: the first ones. None for all.
    """

    name: str
    open: Open
    floors: Floors
    weights: Weights = minilm
    questions: int | None = None


async def judged(candidate: Candidate) -> list[Measure]:
    """The figures of one engine on every collection."""
    measures: list[Measure] = []
    async with AsyncExitStack() as stack:
        vectors: Vectors | None = None
        try:
            vectors = await stack.enter_async_context(_cached(candidate.weights))
        except NotThere as error:
            measures += [missing(f"{name}: {candidate.name}, vector and hybrid", str(error)) for name in COLLECTIONS]
        for name in COLLECTIONS:
            try:
                measures += [found async for found in _collection(candidate, load(name), vectors)]
            except NotThere as error:
                measures.append(missing(f"{name}: {candidate.name}", str(error)))
    return measures


@asynccontextmanager
async def _cached(weights: Weights) -> AsyncIterator[Vectors]:
    """Raises NotThere."""
    embedder, calibration = await weights()
    cache = await SqliteCache.open(BUILD / "bench-vectors.db")
    try:
        kept = CachedEmbedder(embedder, Shelf(cache, "vectors", ttl_s=WEEK_S))
        questions, passages = (PrefixedEmbedder(kept, prefix) for prefix in (calibration.question, calibration.passage))
        yield Vectors(questions=questions, passages=passages, calibration=calibration)
    finally:
        await cache.close()


def context(within_s: float = 60.0) -> Context:
    return Context(principal=READER, run_id="bench", deadline=time.monotonic() + within_s)


async def _collection(candidate: Candidate, corpus: Corpus, given: Vectors | None) -> AsyncIterator[Measure]:
    embedder = given.passages if given else None
    space = Space(embedder=embedder.id, dim=embedder.dim) if embedder else KEYWORDS
    vectors = await _vectors(corpus, embedder)
    known = 2 * sum(vector is not None for vector in vectors) > len(vectors)
    if embedder and not known:
        yield missing(f"{corpus.name}: {candidate.name}, vector", f"{embedder.id} does not know its language")
    async with candidate.open(space) as opened:
        for document, vector in zip(corpus.documents, vectors, strict=True):
            await opened.index.upsert(document, [chunk(document)], [vector] if embedder else ())
        for way, ask in _ways(opened.index, given, vectors=known).items():
            yield await _figure(candidate, corpus, way, ask)


async def _vectors(corpus: Corpus, embedder: Embedder | None) -> list[Vector | None]:
    """As ingestion makes them: one for each document the embedder can make sense of."""
    vectors: list[Vector | None] = [None] * len(corpus.documents)
    if embedder:
        wanted = [place for place, document in enumerate(corpus.documents) if embeddable(document.text, embedder)]
        texts = [worded(corpus.documents[place].title, chunk(corpus.documents[place])) for place in wanted]
        embedded = await embedder.embed(texts, context(within_s=900))
        for place, vector in zip(wanted, embedded.vectors, strict=True):
            vectors[place] = vector
    return vectors


def _ways(index: KnowledgeIndex, given: Vectors | None, *, vectors: bool) -> dict[str, Ask]:
    """How a collection is asked, each giving ids of documents, best first."""
    searcher = Searcher(index)
    if given:
        searcher = Searcher(index, embedder=given.questions, meaning=given.calibration.meaning)

    async def keyword(text: str) -> Sequence[str]:
        return [passage.doc_id for passage in await index.keyword(_lookup(text), K)]

    async def vector(text: str) -> Sequence[str]:
        assert given is not None
        (asked,) = (await given.questions.embed([text], context())).vectors
        return [passage.doc_id for passage in await index.vector(_lookup(text), asked, K)]

    async def hybrid(text: str) -> Sequence[str]:
        return [passage.doc_id for passage in (await searcher.ranked(_lookup(text), K, context())).passages]

    async def search(text: str) -> Sequence[str]:
        return [passage.doc_id for passage in (await searcher.search(text, context(), K))[0]]

    asked: dict[str, Ask] = {"keyword": keyword}
    if given:
        asked |= {"vector": vector, "hybrid": hybrid} if vectors else {"hybrid": hybrid}
    return asked | {"with cut-off": search}


async def _figure(candidate: Candidate, corpus: Corpus, way: str, ask: Ask) -> Measure:
    questions = dict(itertools.islice(corpus.questions.items(), candidate.questions))
    begun = time.process_time()
    found = {question: await ask(text) for question, text in questions.items()}
    cpu_ms = (time.process_time() - begun) * 1e3 / len(found)
    result = quality(found, corpus.judged)
    note = f"recall@10 {result.recall:.3f}, hit@1 {result.hit:.3f}, {cpu_ms:.1f} CPU ms per question in this process"
    if len(questions) < len(corpus.questions):
        note += f", first {len(questions)} questions of {len(corpus.questions)}"
    if result.empty:
        note += f", {result.empty:.1%} given nothing"
    floor = candidate.floors.get((corpus.name, way)) if len(questions) == len(corpus.questions) else None
    # A floor has three digits, and so has what is held against it.
    return at_least(f"{corpus.name}: {candidate.name}, {way}", round(result.ndcg, 3), "nDCG@10", budget=floor, note=note)


def _lookup(text: str) -> Lookup:
    return Lookup(text=text, tenant=READER.tenant, groups=lookup_groups(READER))
