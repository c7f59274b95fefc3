"""A store, an index and what brings documents into it, for tests of runs and desks."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from quarterdeck.core.answers import Passage
from quarterdeck.core.context import Context, Principal
from quarterdeck.core.events import DocumentIngested
from quarterdeck.core.runs import RunStatus
from quarterdeck.knowledge.base import Lookup, Space, Vector
from quarterdeck.knowledge.indexes.sqlite import SqliteIndex
from quarterdeck.knowledge.ingest import Ingester
from quarterdeck.models.embeddings import Embedded
from quarterdeck.service.documents import Documents, Requested
from quarterdeck.service.ingestion import Ingestion
from quarterdeck.service.ingestion_sources import CollectionFolder, OrderSources
from quarterdeck.service.streams import Hub
from quarterdeck.service.upload_line import UploadLine
from quarterdeck.store.memory import MemoryStore

ANN = Principal(user="ann", tenant="acme", groups=("it",), scopes=("documents.read", "documents.write"))
BOB = Principal(user="bob", tenant="acme", groups=("hr",), scopes=("documents.read", "documents.write"))
OLGA = Principal(user="olga", tenant="acme", groups=(), scopes=("documents.read", "documents.write", "operate"))
GIL = Principal(user="gil", tenant="globex", groups=("it", "hr"), scopes=("documents.read", "documents.write", "operate"))
ASKED = Requested()


class People:
    """A directory; who is taken out of it may act no more."""

    def __init__(self) -> None:
        self.known = {person.user: person for person in (ANN, BOB, OLGA, GIL)}

    async def current(self, principal: Principal) -> Principal | None:
        return self.known.get(principal.user)


class Letters:
    """An embedder that counts letters: enough to tell texts apart."""

    id, dim, languages = "letters", 26, frozenset({"en"})

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    async def embed(self, texts: Sequence[str], ctx: Context) -> Embedded:
        self.asked.append(list(texts))
        vectors: list[Vector] = [array("f", (1.0 + text.lower().count(chr(97 + i)) for i in range(26))) for text in texts]
        return Embedded(vectors=tuple(vectors))


class Intake:
    """Everything between a person and an index."""

    def __init__(self, index: Any, *, embedder: Any = None, sources: OrderSources | None = None) -> None:
        self.index = index
        self.store = MemoryStore()
        self.people = People()
        self.woken: list[tuple[str, str]] = []
        self.sources = sources or OrderSources()
        self.hub = Hub()
        self.ingestion = self.worker(embedder)
        self.documents = Documents(
            index=index,
            journal=self.store.journal,
            records=self.store.records,
            dispatcher=self,  # type: ignore[arg-type]  # wakes are all a desk needs of it
            sources=self.sources,
        )

    def worker(self, embedder: Any = None, index: Any = None) -> Ingestion:
        return Ingestion(
            journal=self.store.journal,
            sources=self.sources,
            line=UploadLine(self.store.journal, self.store.records),
            ingester=lambda tenant: Ingester(index or self.index, tenant, embedder=embedder),
            directory=self.people,
            audience=self.hub,
        )

    async def wake(self, tenant: str, run_id: str, *, priority: int = 0) -> None:
        self.woken.append((tenant, run_id))

    async def events(self, run_id: str, tenant: str = "acme") -> list[Any]:
        return [entry.event async for entry in self.store.journal.read(tenant, run_id)]

    async def outcomes(self, run_id: str, tenant: str = "acme") -> list[tuple[str, str]]:
        return [
            (event.item, event.outcome) for event in await self.events(run_id, tenant) if isinstance(event, DocumentIngested)
        ]

    async def status(self, run_id: str, tenant: str = "acme") -> RunStatus:
        row = await self.store.journal.find(tenant, run_id)
        assert row is not None
        return row.status

    async def found(self, text: str, *groups: str, tenant: str = "acme") -> list[str]:
        """Ids of the documents with passages that have the words."""
        return sorted({passage.doc_id for passage in await self.passages(text, *groups, tenant=tenant)})

    async def passages(self, text: str, *groups: str, tenant: str = "acme") -> list[Passage]:
        """Passages that have the words, best first."""
        return list(await self.index.keyword(Lookup(text=text, tenant=tenant, groups=frozenset(groups)), 20))


@asynccontextmanager
async def intake_at(path: Path, *, embedder: Any = None, sources: OrderSources | None = None) -> AsyncIterator[Intake]:
    space = {"space": Space(embedder=embedder.id, dim=embedder.dim)} if embedder else {}
    index = await SqliteIndex.open(path / "index.db", **space)
    try:
        yield Intake(index, embedder=embedder, sources=sources)
    finally:
        await index.close()


def folder_sources(path: Path, count: int) -> OrderSources:
    """A configured folder ``kb`` of acme with so many articles."""
    folder = path / "kb"
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:03}.md").write_text(f"# Article {number}\n\nalpha {_word(number)}\n")
    return OrderSources(
        collections=[CollectionFolder(name="kb", tenant="acme", path=folder, groups=frozenset({"everyone"}), trusted=True)]
    )


def _word(number: int) -> str:
    return "w" + hashlib.sha256(str(number).encode()).hexdigest()[:8]


class Broken:
    """An index whose changes fail as they are told to."""

    def __init__(self, inner: Any, before: Callable[[int], Any]) -> None:
        self._inner = inner
        self._before = before
        self.upserts = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def upsert(self, *given: Any, **more: Any) -> None:
        self.upserts += 1
        await self._before(self.upserts)
        await self._inner.upsert(*given, **more)
