"""What agents may read, put together: the index, what makes vectors, the search and its caches.

Outside in: remembered → search (words and meaning, fused) → reranker; the embedder is remembered too.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

from quarterdeck.app.implementations import CACHES, EMBEDDERS, INDEXES, resolve
from quarterdeck.app.models import ModelShelf
from quarterdeck.app.stores import path_of, scheme_of, sealing_secret
from quarterdeck.core.errors import Misconfigured
from quarterdeck.core.everyday import EVERYDAY
from quarterdeck.core.ids import content_hash
from quarterdeck.core.synonyms import Synonyms
from quarterdeck.knowledge.analyze import stem
from quarterdeck.knowledge.base import KEYWORDS, KnowledgeIndex, Space
from quarterdeck.knowledge.calibration import Calibration
from quarterdeck.knowledge.embedders.cached import CachedEmbedder
from quarterdeck.knowledge.embedders.prefixed import PrefixedEmbedder
from quarterdeck.knowledge.forgetting import Forgetting
from quarterdeck.knowledge.ingest import Ingester
from quarterdeck.knowledge.measured import MeasuredSearch
from quarterdeck.knowledge.recalled import Finds, Recalled
from quarterdeck.knowledge.rerank import HttpReranker, LexicalReranker, ModelReranker, Reranker
from quarterdeck.knowledge.search import Searcher, Tuning
from quarterdeck.knowledge.tool import BY_WORDS, WHOLE
from quarterdeck.models.embeddings import Embedder
from quarterdeck.settings import Configuration
from quarterdeck.settings.knowledge import KnowledgeSettings
from quarterdeck.store.cache import Cache, Levels, MemoryCache, Shelf

if TYPE_CHECKING:  # its package is one of the server's
    from quarterdeck.telemetry.metrics import Metrics

__all__ = ["Knowledge", "open_index", "opened_knowledge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """A folder's knowledge, open.

    Attributes:
        embedder: As it reads passages; None where they are found by their words alone.
        searcher: Says how it found what it found.
        search: The same, remembered: what agents search with.
        answers: Where answers are kept.
        shelves: All that is kept, with how often it was asked for.
        ingester: Brings documents of a tenant in.
        query: Tells a model what to put to the search.
    """

    index: KnowledgeIndex
    embedder: Embedder | None
    searcher: Searcher
    search: Finds
    answers: Shelf
    shelves: Sequence[Shelf]
    ingester: Callable[[str], Ingester]
    query: str


@contextlib.asynccontextmanager
async def opened_knowledge(
    configuration: Configuration, models: ModelShelf, metrics: Metrics | None = None
) -> AsyncIterator[Knowledge]:
    """Index, embedder and search of a folder while the block lasts.

    Args:
        metrics: Where searches and caches are counted; None where nobody reads them.

    Raises:
        Misconfigured: There is no such engine, a package for it is missing, or the index is of another embedder.
        StoreUnavailable: The index cannot be reached.
    """
    settings = configuration.settings.knowledge
    async with contextlib.AsyncExitStack() as stack:
        cache = await _cache(configuration, metrics)
        stack.push_async_callback(cache.close)
        kept = settings.cache
        vectors = Shelf(cache, "embeddings", ttl_s=kept.embeddings_s)
        findings = Shelf(cache, "retrieval", ttl_s=kept.retrieval_s)
        answers = Shelf(cache, "answers", ttl_s=kept.answers_s)
        bare, fit = await _embedder(configuration, models)
        cached = None if bare is None else CachedEmbedder(bare, vectors)
        embedder, asking = _told(cached, fit.passage), _told(cached, fit.question)
        index: KnowledgeIndex = Forgetting(await _index(configuration, embedder), (vectors, findings, answers))
        stack.push_async_callback(index.close)
        tuning = Tuning(
            keyword=settings.keyword_weight,
            vector=settings.vector_weight,
            least=settings.least_evidence,
            reranked=settings.reranker.passages,
            rerank_timeout_s=settings.reranker.timeout_s,
        )
        reranker = await _reranker(settings, models)
        words = [*configuration.synonyms, *(EVERYDAY if settings.everyday_synonyms else ())]
        searcher = Searcher(
            index, embedder=asking, reranker=reranker, tuning=tuning, synonyms=Synonyms(words, stem), meaning=fit.meaning
        )
        how = [asdict(tuning), asdict(fit), embedder.id if embedder else "", reranker.name if reranker else "", words]
        search: Finds = Recalled(searcher, index, findings, configuration=content_hash(how))
        shelves = (vectors, findings, answers)
        if metrics is not None:
            search = MeasuredSearch(search, metrics)
            for shelf in shelves:
                metrics.watch_cache(shelf.name, shelf)
        yield Knowledge(
            index=index,
            embedder=embedder,
            searcher=searcher,
            search=search,
            answers=answers,
            shelves=shelves,
            ingester=partial(
                Ingester,
                index,
                embedder=embedder,
                size=settings.chunk_size,
                overlap=settings.chunk_overlap,
                unit=settings.chunk_unit,
            ),
            query=WHOLE if fit.whole_questions else BY_WORDS,
        )


async def open_index(configuration: Configuration, models: ModelShelf) -> KnowledgeIndex:
    """The knowledge index of a folder alone; to be closed by the caller. Raises as `opened_knowledge` does."""
    embedder, _ = await _embedder(configuration, models)
    return await _index(configuration, embedder)


async def _index(configuration: Configuration, embedder: Embedder | None) -> KnowledgeIndex:
    settings = configuration.settings.knowledge
    given = settings.index_url
    url = given.get_secret_value() if given else f"sqlite:///{configuration.data / 'knowledge.db'}"
    scheme = scheme_of(url)
    kind = resolve(INDEXES, scheme, "knowledge index")
    space = KEYWORDS if embedder is None else Space(embedder=embedder.id, dim=embedder.dim)
    configuration.data.mkdir(mode=0o700, parents=True, exist_ok=True)  # documents of every group will lie in it
    index: KnowledgeIndex
    if scheme == "sqlite":
        index = await kind.open(path_of(url, configuration.folder), space)
    elif scheme.startswith("qdrant"):
        key = settings.index_key
        index = await kind.open(url, space, key.get_secret_value() if key else None)
    else:
        index = await kind.open(url, space)
    return index


async def _embedder(configuration: Configuration, models: ModelShelf) -> tuple[Embedder | None, Calibration]:
    """The embedder that is configured, and what goes with its model."""
    given = configuration.settings.knowledge.embedder
    if not given.model:
        return None, Calibration()
    if given.model in EMBEDDERS:
        kind = resolve(EMBEDDERS, given.model, "embedder")
        weights = None if given.folder is None else configuration.folder / given.folder
        local = await kind.open(configuration.data / given.model, weights=weights)
        return local, local.calibration
    assert given.dim is not None  # checked where the settings are read
    languages = frozenset(given.languages) or None
    return models.embedder(given.model, dim=given.dim, shorten=given.shorten, languages=languages), Calibration()


def _told(embedder: Embedder | None, prefix: str) -> Embedder | None:
    return PrefixedEmbedder(embedder, prefix) if embedder is not None and prefix else embedder


async def _reranker(settings: KnowledgeSettings, models: ModelShelf) -> Reranker | None:
    given = settings.reranker
    match given.kind:
        case "http":
            return HttpReranker(
                given.model,
                base_url=given.url or "",
                client=await models.client(),
                api_key=given.api_key.get_secret_value() if given.api_key else "",
                timeout_s=given.timeout_s,
            )
        case "model":
            return ModelReranker(models.get(given.model or "retrieval_model"))
        case "lexical":
            return LexicalReranker()
    return None


async def _cache(configuration: Configuration, metrics: Metrics | None) -> Cache:
    """The memory of this process, before Redis where one is named, else before a file of the data folder."""
    kept = configuration.settings.knowledge.cache
    memory = MemoryCache(max_bytes=kept.memory_bytes)
    if not kept.second_level:
        return memory
    redis = configuration.settings.store.redis_url
    if redis is None:
        from quarterdeck.store.cache_sqlite import SqliteCache

        return Levels(memory, await SqliteCache.open(configuration.data / "cache.db"))
    url = redis.get_secret_value()
    kind = resolve(CACHES, scheme_of(url), "place for caches")
    try:
        second = kind(url, secret=await sealing_secret(configuration))
    except Misconfigured as error:
        raise Misconfigured(f"store.redis_url: {error}") from error
    if metrics is not None:
        metrics.watch_redis("caches", second)
    return Levels(memory, second)
