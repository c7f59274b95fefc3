"""Brings a source of documents into an index: what is new or changed is read, what has vanished is forgotten.

A document that cannot be read is refused with its reason and does not stop the others. Of a folder, nothing of an older
version of it stays searchable then, because its access list may be what changed. Every document is replaced as a whole, and
one that is as it was is left alone, so that a pass that was cut may be made again from anywhere.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from anyio import to_thread

from quarterdeck.core.context import Context, Principal
from quarterdeck.core.errors import Conflict, Forbidden, InvalidInput, StoreUnavailable, Unavailable
from quarterdeck.knowledge.base import Document, KnowledgeIndex, Vector
from quarterdeck.knowledge.ingest_document import Prepared, Recipe, made_from, prepare, vectors_of
from quarterdeck.knowledge.ingest_folder import FolderSource
from quarterdeck.knowledge.ingest_source import Given, Item, Origin, Source, new_id, own_id
from quarterdeck.knowledge.parsers.process import Limits
from quarterdeck.knowledge.parsers.read import DocumentReader
from quarterdeck.models.embeddings import Embedder

__all__ = ["Book", "IngestReport", "Ingester", "Outcome", "Progress", "Register"]

Progress = Callable[[int, int, str], None]
"""Told before each file: how many are done, how many there are, and its path within the folder."""

_BATCH = 16  # documents that are embedded together, at most
_BATCH_CHUNKS = 128
_BATCH_S = 1.0  # whoever watches hears of something at least so often, if there is something
_NO_SUCH = "there is no document here that it could replace"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one document.

    Attributes:
        doc_id: Empty for one that was refused before it had an id.
    """

    item: str
    outcome: Literal["added", "updated", "unchanged", "refused", "removed"]
    doc_id: str = ""
    reason: str = ""
    chunks: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """What became of a folder.

    Attributes:
        added, updated, unchanged: Numbers of files.
        removed: Number of documents whose file vanished or is refused now.
        refused: (file, reason) of what is not in the index.
        warnings: (file, what a person should know), such as a document that nobody may read.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    refused: tuple[tuple[str, str], ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()


class Register(Protocol):
    """Who keeps the book of a pass, and says whether it goes on.

    Attributes:
        shared: Somebody else may take the pass over. Then whoever slept since its last check undoes nothing of what others
            changed meanwhile.
    """

    shared: bool

    def begins(self, done: int, total: int, path: str) -> None:
        """A document is about to be looked at."""
        ...

    async def check(self) -> None:
        """Called where others may have changed something. Raises Fenced if the pass is somebody else's by now."""
        ...

    async def record(self, outcomes: Sequence[Outcome], total: int) -> bool:
        """Take down what stands in the index by now. False to stop here."""
        ...


class Ingester:
    """Fills an index for one tenant.

    Attributes:
        recipe: How documents are cut and embedded.
        embedder: Makes the vectors; None for an index of words.

    Args:
        size, overlap: Of chunks, in `unit`.
        limits: What reading one file may take, of those that are read in a process of their own.
        embed_timeout_s: For the vectors of one batch of documents.
    """

    def __init__(
        self,
        index: KnowledgeIndex,
        tenant: str,
        *,
        size: int = 800,
        overlap: int = 0,
        unit: Literal["characters", "tokens"] = "characters",
        limits: Limits | None = None,
        embedder: Embedder | None = None,
        embed_timeout_s: float = 300.0,
    ) -> None:
        self.recipe = Recipe(size=size, overlap=overlap, unit=unit, embedder=embedder.id if embedder else "none")
        self.embedder = embedder
        self._index = index
        self._tenant = tenant
        self._limits = limits
        self._embed_timeout_s = embed_timeout_s

    async def ingest_folder(
        self,
        path: Path,
        *,
        groups: Collection[str] = (),
        trusted: bool = False,
        collection: str | None = None,
        progress: Progress | None = None,
    ) -> IngestReport:
        """Make the index hold what the folder holds; see `FolderSource`.

        Raises:
            InvalidInput: `path` is no folder, or `groups` holds something that is no group.
        """
        source = FolderSource(path, groups=groups, trusted=trusted, collection=collection)
        book = Book(progress)
        await self.bring(source, book)
        return book.report

    async def bring(
        self, source: Source, register: Register, *, done: Mapping[str, str] | None = None, context: Context | None = None
    ) -> bool:
        """Make the index hold what the source holds, beginning behind what was done before.

        Args:
            done: Id, by path, of the documents an earlier pass came to an end with; an empty one for what it refused.
            context: On whose behalf, and what counts the vectors; its deadline is set anew for each batch.

        Returns:
            False if the register stopped it.

        Raises:
            InvalidInput: The source is none.
            Fenced, StoreUnavailable: As the register or the index does. ModelUnavailable and others: as the embedder does.
        """
        listing = await source.listing()
        catalogue = dict(await self._index.catalogue(self._tenant))
        with DocumentReader(self._limits) as reader:
            one_pass = _Pass(
                index=self._index,
                tenant=self._tenant,
                recipe=self.recipe,
                origin=source.origin,
                catalogue=catalogue,
                reader=reader,
                embedder=self.embedder,
                embed_timeout_s=self._embed_timeout_s,
                context=context or _nobody(self._tenant),
                register=register,
                total=len(listing.items),
                done=dict(done or {}),
            )
            return await one_pass.make(listing.items, listing.refused)


class Book:
    """A `Register` that only counts.

    Attributes:
        report: What was taken down so far.
    """

    shared = False

    def __init__(self, progress: Progress | None = None) -> None:
        self._progress = progress
        self._outcomes: list[Outcome] = []

    def begins(self, done: int, total: int, path: str) -> None:
        if self._progress is not None:
            self._progress(done, total, path)

    async def check(self) -> None: ...

    async def record(self, outcomes: Sequence[Outcome], total: int) -> bool:
        self._outcomes += outcomes
        return True

    @property
    def report(self) -> IngestReport:
        counts = Counter(outcome.outcome for outcome in self._outcomes)
        return IngestReport(
            added=counts["added"],
            updated=counts["updated"],
            unchanged=counts["unchanged"],
            removed=counts["removed"],
            refused=tuple((one.item, one.reason) for one in self._outcomes if one.outcome == "refused"),
            warnings=tuple((one.item, warning) for one in self._outcomes for warning in one.warnings),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ready:
    """A document that waits to be stored.

    Attributes:
        over: Groups of the document it replaces, as they were when it was read; None if it replaces none, or an
            administrator's own.
    """

    item: Item
    prepared: Prepared
    over: frozenset[str] | None = None


@dataclass(slots=True)
class _Batch:
    """Documents that are embedded and stored together, and what became of others meanwhile."""

    began: float
    outcomes: list[Outcome] = field(default_factory=list)
    ready: list[_Ready] = field(default_factory=list)
    chunks: int = 0

    def full(self, now: float) -> bool:
        count = len(self.outcomes) + len(self.ready)
        return count >= _BATCH or self.chunks >= _BATCH_CHUNKS or (count > 0 and now - self.began >= _BATCH_S)


@dataclass(slots=True, kw_only=True)
class _Pass:
    """One way through a source."""

    index: KnowledgeIndex
    tenant: str
    recipe: Recipe
    origin: Origin
    catalogue: dict[str, Mapping[str, str]]
    reader: DocumentReader
    embedder: Embedder | None
    embed_timeout_s: float
    context: Context
    register: Register
    total: int
    done: dict[str, str]  # id of each document that is in the index by now, by its path; empty if it was refused
    ids: dict[str, str] = field(default_factory=dict)  # ids of the documents of the collection, by their path
    generation: int | None = None  # of the tenant, if nobody else has changed anything; None if that is to be seen

    async def make(self, items: Sequence[Item], refused: Sequence[tuple[str, str]]) -> bool:
        collection = self.origin.collection
        self.ids = {meta["path"]: doc for doc, meta in self.catalogue.items() if meta.get("collection") == collection}
        batch = _Batch(time.monotonic())
        batch.outcomes = [
            Outcome(item=path, outcome="refused", reason=reason) for path, reason in refused if path not in self.done
        ]
        for number, item in enumerate(items):
            if item.path in self.done:
                continue
            self.register.begins(number, self.total, item.path)
            await self._take(item, batch)
            if batch.full(time.monotonic()):
                if not await self._flush(batch):
                    return False
                batch = _Batch(time.monotonic())
        if not await self._flush(batch):
            return False
        self.register.begins(self.total, self.total, "")
        return await self._forget() if self.origin.complete else True

    async def _take(self, item: Item, batch: _Batch) -> None:
        """Read one document into the batch."""
        try:
            # Who is cancelled does not wait for a slow file: the reader is closed, and with it the process that reads.
            read = await self._prepared(item)
        except StoreUnavailable:
            raise
        except (InvalidInput, Forbidden, Unavailable) as error:
            batch.outcomes.append(self._refused(item, str(error)))
        except OSError as error:
            batch.outcomes.append(self._refused(item, f"cannot be read: {error.strerror or error}"))
        else:
            if isinstance(read, _Ready):
                batch.ready.append(read)
                batch.chunks += len(read.prepared.chunks)
            else:
                batch.outcomes.append(Outcome(item=item.path, outcome="unchanged", doc_id=read))

    async def _prepared(self, item: Item) -> _Ready | str:
        """The document, ready to be stored, or the id of one that is as it was."""
        given = await item.read(self.reader.max_bytes)
        doc_id, present = await self._place(item)
        origin = self._for(present)
        known = self.catalogue.get(doc_id, {}).get("hash")
        as_it_was = present is None or present.groups == origin.groups
        if known is not None and as_it_was and made_from(given, origin, self.recipe) == known:
            return doc_id
        prepared = await to_thread.run_sync(self._prepare, given, origin, doc_id, item.path, abandon_on_cancel=True)
        return _Ready(item=item, prepared=prepared, over=present.groups if present else None)

    def _prepare(self, given: Given, origin: Origin, doc_id: str, path: str) -> Prepared:
        meta = self.catalogue.get(doc_id, {})
        if meta.get("collection", origin.collection) != origin.collection:  # another one's document is replaced where it is
            origin, path = replace(origin, collection=meta["collection"]), meta.get("path", path)
        return prepare(self.reader, given, origin, self.recipe, tenant=self.tenant, doc_id=doc_id, path=path)

    async def _place(self, item: Item) -> tuple[str, Document | None]:
        """The id of the document an item is or becomes, and with a reader's rights the one that is there."""
        doc_id = item.doc_id or self.ids.get(item.path)
        if self.origin.reads is None:
            found = doc_id or new_id(item.path, self.origin.collection, self.catalogue)
            self.catalogue.setdefault(found, {})
            return found, None
        there = doc_id or own_id(item.path, self.origin.collection)
        present = await self.index.document(self.tenant, there, self.origin.reads)
        if present is None and (item.doc_id is not None or there in self.catalogue):
            raise InvalidInput(_NO_SUCH)
        return there, present

    def _for(self, present: Document | None) -> Origin:
        """What is decided about a document that replaces `present`."""
        if present is None or self.origin.gives is not None:
            return self.origin
        return replace(self.origin, groups=present.groups)

    def _refused(self, item: Item, reason: str) -> Outcome:
        return Outcome(item=item.path, outcome="refused", reason=reason)

    async def _flush(self, batch: _Batch) -> bool:
        """Store a batch and take it down."""
        outcomes = [*batch.outcomes, *await self._stored(batch.ready)]
        if not outcomes:
            return True
        self.done.update((outcome.item, outcome.doc_id) for outcome in outcomes)
        return await self.register.record(outcomes, self.total)

    async def _stored(self, ready: Sequence[_Ready]) -> list[Outcome]:
        embedder = self.embedder
        context = replace(self.context, deadline=time.monotonic() + self.embed_timeout_s)
        read = [waiting.prepared for waiting in ready]
        vectors = await vectors_of(embedder, read, context) if embedder is not None and ready else None
        outcomes: list[Outcome] = []
        for place, waiting in enumerate(ready):
            item, one = waiting.item, waiting.prepared
            try:
                await self._changed(partial(self._put, waiting, vectors[place] if vectors is not None else ()))
            except InvalidInput as error:  # there is something in it that no index keeps, or what it was to replace is gone
                outcomes.append(self._refused(item, str(error)))
                continue
            doc_id = one.document.id
            outcomes.append(
                Outcome(
                    item=item.path,
                    outcome="updated" if self.catalogue.get(doc_id) else "added",
                    doc_id=doc_id,
                    chunks=len(one.chunks),
                    warnings=tuple(one.warnings),
                )
            )
            self.catalogue[doc_id] = one.document.meta
        return outcomes

    async def _put(self, waiting: _Ready, vectors: Sequence[Vector | None], *, generation: int | None = None) -> None:
        """Store a document with the groups that the one it replaces has by now, if it has them from there.

        Reading and embedding take their time. A group that was taken away meanwhile must not come back with the new edition,
        nor a document that was deleted.
        """
        document = waiting.prepared.document
        if waiting.over is not None:
            _, present = await self._place(waiting.item)
            if present is None:
                raise InvalidInput(_NO_SUCH)
            if self.origin.gives is None and document.groups == waiting.over:
                document = replace(document, groups=present.groups)
        await self.index.upsert(document, waiting.prepared.chunks, vectors, generation=generation)

    async def _changed(self, change: Callable[..., Awaitable[object]]) -> None:
        """Make a change that nobody else's can be undone by.

        As long as nothing but this pass changes the tenant's documents, it need not look whose the pass is: whoever took it
        has changed nothing yet, and finds what stands there by then.
        """
        while self.register.shared:
            if self.generation is None:
                self.generation = (await self.index.stats(self.tenant)).generation
                await self.register.check()
            expected, self.generation = self.generation, None
            try:
                await change(generation=expected)
            except Conflict:
                continue
            self.generation = expected + 1
            return
        await change()

    async def _forget(self) -> bool:
        """Remove the documents of the collection that the source has no more, or that were refused."""
        current = set(self.done.values())
        gone = sorted((doc, path) for path, doc in self.ids.items() if doc not in current)
        if not gone:
            return True
        await self._changed(partial(self.index.delete, self.tenant, [doc for doc, _ in gone]))
        self.generation = None  # an engine may count each of them
        outcomes = [Outcome(item=path, outcome="removed", doc_id=doc) for doc, path in gone]
        return await self.register.record(outcomes, self.total)


def _nobody(tenant: str) -> Context:
    """Whom vectors are made for that nobody asked for: the administrator of the folder."""
    return Context(principal=Principal(user="ingest", tenant=tenant), run_id="ingest", deadline=0.0)
