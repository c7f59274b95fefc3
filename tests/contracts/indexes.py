"""The indexes the contract is run against, and what its tests put into them. A new engine is one line of `INDEXES`."""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from quarterdeck.core.answers import Passage
from quarterdeck.knowledge.base import Chunk, Document, KnowledgeIndex, Lookup, Space, Vector
from quarterdeck.knowledge.forgetting import Forgetting
from quarterdeck.knowledge.indexes.postgres import PostgresIndex
from quarterdeck.knowledge.indexes.qdrant import QdrantIndex
from quarterdeck.knowledge.indexes.sqlite import SqliteIndex
from quarterdeck.store.cache import MemoryCache, Shelf

EVERYONE = frozenset({"everyone"})
ANY_GROUP = frozenset({"everyone", "hr", "staff"})
PLANE = Space(embedder="directions", dim=2)

Open = Callable[[Space], Awaitable[KnowledgeIndex]]


@asynccontextmanager
async def _sqlite(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    path = request.getfixturevalue("tmp_path") / "index.db"
    yield lambda space: SqliteIndex.open(path, space)


@asynccontextmanager
async def _qdrant(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    # The client's engine within the process; it locks its folder, so it is closed before it is opened again.
    url = f"qdrant+local://{request.getfixturevalue('tmp_path')}/qdrant"
    yield lambda space: QdrantIndex.open(url, space)


@asynccontextmanager
async def _postgres(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    url = request.getfixturevalue("postgres_url_without_index")
    # A machine shared by several test processes may take its time.
    yield lambda space: PostgresIndex.open(url, space, wait_s=20, answer_s=20)


@asynccontextmanager
async def _forgetting(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    path = request.getfixturevalue("tmp_path") / "index.db"

    async def open_(space: Space) -> KnowledgeIndex:
        return Forgetting(await SqliteIndex.open(path, space), [Shelf(MemoryCache(), "retrieval", ttl_s=60)])

    yield open_


# Each gives what opens one and the same index, again and again, though perhaps only once at a time.
INDEXES: dict[str, Callable[[pytest.FixtureRequest], AbstractAsyncContextManager[Open]]] = {
    "qdrant": _qdrant,
    "sqlite": _sqlite,
    "forgetting": _forgetting,
    "postgres": _postgres,
}


def document(
    id: str,
    text: str,
    *,
    groups: Collection[str] = EVERYONE,
    tenant: str = "acme",
    title: str | None = None,
    meta: Mapping[str, str] | None = None,
) -> Document:
    return Document(
        id=id, tenant=tenant, title=id if title is None else title, text=text, groups=frozenset(groups), meta=meta or {}
    )


def whole(document: Document) -> list[Chunk]:
    return [Chunk(text=document.text, start=0, end=len(document.text))]


def paragraphs(text: str) -> list[Chunk]:
    chunks, start = [], 0
    for piece in text.split("\n\n"):
        chunks.append(Chunk(text=piece, start=start, end=start + len(piece)))
        start += len(piece) + 2
    return chunks


def vector(*numbers: float) -> Vector:
    return array("f", numbers)


async def put(index: KnowledgeIndex, document: Document, *vectors: Vector | None) -> None:
    """Store a document, a passage for each of its paragraphs."""
    await index.upsert(document, paragraphs(document.text), vectors)


def lookup(
    text: str = "",
    groups: Collection[str] = EVERYONE,
    *,
    tenant: str = "acme",
    where: Mapping[str, str | frozenset[str]] | None = None,
) -> Lookup:
    return Lookup(text=text, tenant=tenant, groups=frozenset(groups), where=where or {})


async def found(
    index: KnowledgeIndex, text: str, groups: Collection[str] = EVERYONE, *, tenant: str = "acme", k: int = 10
) -> list[str]:
    """Ids of the passages that are found by the words of a text."""
    return [passage.id for passage in await index.keyword(lookup(text, groups, tenant=tenant), k)]


async def passage(index: KnowledgeIndex, tenant: str, id: str, groups: frozenset[str]) -> Passage | None:
    """One passage, if the groups may read it."""
    return (await index.passages(tenant, [id], groups)).get(id)


async def near(
    index: KnowledgeIndex,
    numbers: Sequence[float],
    groups: Collection[str] = EVERYONE,
    *,
    tenant: str = "acme",
    where: Mapping[str, str | frozenset[str]] | None = None,
    k: int = 10,
) -> list[str]:
    """Ids of the passages that are nearest to a vector."""
    asked = lookup(groups=groups, tenant=tenant, where=where)
    return [passage.id for passage in await index.vector(asked, vector(*numbers), k)]
