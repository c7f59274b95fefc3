"""An index in Qdrant: for millions of passages, shared by many processes.

Qdrant changes points one by one and knows no transaction over several. So nothing here is ever changed that somebody may
be reading: another state of a document is another batch of passages, written first, and then one record that names it, which
is the moment of the change. A search asks the records of what it found, and keeps a passage only if its record is the
document's present one and admits the reader.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from qdrant_client import AsyncQdrantClient, models

from quarterdeck.core.answers import Passage
from quarterdeck.core.errors import NotFound, StoreUnavailable
from quarterdeck.knowledge.analyze import ANALYZER
from quarterdeck.knowledge.base import KEYWORDS, Chunk, Document, Edition, IndexStats, Lookup, Space, Vector
from quarterdeck.knowledge.indexes.passages import (
    Numbers,
    check_document,
    check_groups,
    check_vector,
    digest,
    number_of,
    overtaken,
    readable,
    storable,
)
from quarterdeck.knowledge.indexes.qdrant_link import Names, connect, prepare, reaching, scroll
from quarterdeck.knowledge.indexes.qdrant_points import (
    DENSE,
    WORDS,
    Piece,
    Record,
    asked,
    document_of,
    edition_of,
    equals,
    key_of,
    passage_of,
    piece_id,
    pieces_of,
)
from quarterdeck.knowledge.indexes.qdrant_records import Records
from quarterdeck.knowledge.indexes.qdrant_search import Search

__all__ = ["QdrantIndex"]

WRITTEN = 200  # points written at once
ROUNDS = 12  # looks at a document until it stands still
ATTEMPTS = 20  # writers of one document at once

Change = Callable[[Record | None], Awaitable[tuple[Record, Sequence[Piece]] | None]]


class QdrantIndex:
    """`KnowledgeIndex` in two collections of a Qdrant server. Many processes may read and write it."""

    def __init__(
        self,
        client: AsyncQdrantClient,
        *,
        prefix: str = "quarterdeck",
        space: Space = KEYWORDS,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Use `open`, or call `start` on it. The client is closed with the index."""
        self._client = client
        self._names = Names(prefix)
        self._space = space
        self._clock = clock
        self._records = Records(client, self._names)
        self._search = Search(client, self._names, self._records)

    @classmethod
    async def open(
        cls, url: str, space: Space = KEYWORDS, api_key: str | None = None, *, timeout_s: float = 10.0
    ) -> QdrantIndex:
        """Open the index at `url`, or begin one there.

        Args:
            url: ``qdrant://host:port/prefix``, or ``qdrants://`` for TLS. ``qdrant+local:///folder`` needs no server and is
                for tests: one process, every search looks at every passage.
            timeout_s: Of one request, in whole seconds.

        Raises:
            Misconfigured: It is no such address, the server is too old or refuses the key, or the index was written with
                another analyzer or embedder.
            StoreUnavailable: It cannot be reached now.
        """
        client, names = connect(url, api_key, timeout_s)
        index = cls(client, prefix=names.prefix, space=space)
        try:
            await index.start(indexed=not url.startswith("qdrant+local:"))
        except BaseException:
            await client.close()
            raise
        return index

    async def start(self, *, indexed: bool = True) -> None:
        """Make or check the collections, and clear away what writers left behind that ended in the middle.

        Args:
            indexed: Index the fields that searches filter by; the engine within this process has no use for it.
        """
        await prepare(self._client, self._names, self._space, indexed=indexed)
        with reaching("opened"):
            for record in await self._records.untidy():
                await self._records.tidy(record)

    async def upsert(
        self,
        document: Document,
        chunks: Sequence[Chunk],
        vectors: Sequence[Vector | None] = (),
        *,
        generation: int | None = None,
    ) -> None:
        check_document(document, chunks, vectors, self._space)
        sha256 = digest(document.text)
        key = key_of(document.tenant, document.id)

        async def change(head: Record | None) -> tuple[Record, Sequence[Piece]]:
            # Behind the look at the head: what changes it from now on makes this change begin again.
            await self._check_generation(document.tenant, generation)
            living = None if head is None or head.gone else head
            old = await self._pieces(living) if living else []
            numbers = Numbers.after([(piece.n, piece.text) for piece in old], head.next if head else 1)
            pieces = [
                Piece.of(numbers.give(chunk.text), document.title, chunk, vector)
                for chunk, vector in itertools.zip_longest(chunks, vectors)
            ]
            record = Record(
                tenant=document.tenant,
                key=key,
                number=head.number + 1 if head else 1,
                batch=str(uuid.uuid4()),
                next=numbers.next,
                doc=document.id,
                title=document.title,
                uri=document.uri,
                trusted=document.trusted,
                groups=tuple(sorted(document.groups)),
                meta=dict(document.meta),
                sha256=sha256,
                characters=len(document.text),
            )
            if living and living.sha256 == sha256:
                same = replace(record, edition=living.edition, origin=living.origin, stored_at=living.stored_at)
                return same, pieces
            stored_at = self._clock().isoformat()
            edition = head.edition + 1 if head else 1
            return replace(record, edition=edition, origin=record.number, stored_at=stored_at, text=document.text), pieces

        with reaching("written"):
            await self._change(key, change)

    async def delete(self, tenant: str, doc_ids: Sequence[str], *, generation: int | None = None) -> int:
        done = 0

        async def change(head: Record | None) -> tuple[Record, Sequence[Piece]] | None:
            await self._check_generation(tenant, None if generation is None else generation + done)
            if head is None or head.gone:
                return None
            gone = Record(
                tenant=tenant,
                key=head.key,
                number=head.number + 1,
                batch=str(uuid.uuid4()),
                next=head.next,
                edition=head.edition,  # no number is given twice
                gone=True,
            )
            return gone, ()

        with reaching("written"):
            for doc_id in dict.fromkeys(doc_ids):
                done += await self._change(key_of(tenant, doc_id), change)
        return done

    async def set_groups(self, tenant: str, doc_id: str, groups: frozenset[str]) -> None:
        """Change who may read a document; its passages are written again as they are, vectors too. Raises NotFound."""
        check_groups(groups)

        async def change(head: Record | None) -> tuple[Record, Sequence[Piece]] | None:
            if head is None or head.gone:
                return None
            pieces = await self._pieces(head, vectors=True)
            record = replace(
                head, number=head.number + 1, batch=str(uuid.uuid4()), groups=tuple(sorted(groups)), past=False, tidy=False
            )
            return record, pieces

        with reaching("written"):
            if not await self._change(key_of(tenant, doc_id), change):
                raise NotFound(f"no document {doc_id!r}")

    async def keyword(self, lookup: Lookup, k: int) -> list[Passage]:
        """The k best passages by BM25 that the lookup's groups may read; words of titles and headings count twice."""
        words = asked(lookup.text)
        return await self._search.best(lookup, words, WORDS, k) if words else []

    async def vector(self, lookup: Lookup, vector: Vector, k: int) -> list[Passage]:
        if not self._space.dim:
            return []
        check_vector(vector, self._space)
        return await self._search.best(lookup, list(vector), DENSE, k)

    async def passages(self, tenant: str, passage_ids: Sequence[str], groups: frozenset[str]) -> dict[str, Passage]:
        found = [await self._passage(tenant, passage_id, groups) for passage_id in passage_ids]
        return {passage.id: passage for passage in found if passage is not None}

    async def _passage(self, tenant: str, passage_id: str, groups: frozenset[str]) -> Passage | None:
        if not (named := number_of(passage_id)):
            return None
        doc_id, n = named
        with reaching("read"):
            for _ in range(ROUNDS):
                head = await self._readable(tenant, doc_id, groups)
                if head is None:
                    return None
                points = await self._client.retrieve(self._names.passages, [piece_id(head.batch, n)])
                if points and points[0].payload:
                    return passage_of(head, points[0].payload, 0.0)
                if await self._records.present([head]):
                    return None
        raise StoreUnavailable(f"document {doc_id!r} changes faster than it can be read")

    async def document(
        self, tenant: str, doc_id: str, groups: frozenset[str], *, edition: int | None = None
    ) -> Document | None:
        with reaching("read"):
            for _ in range(ROUNDS):
                head = await self._readable(tenant, doc_id, groups)
                if head is None:
                    return None
                number: int | None = head.origin
                if edition not in (None, head.edition):
                    origins = await self._records.origins(head.key)
                    number = next((one.number for one in origins if one.edition == edition), None)
                origin = await self._records.whole(head.key, number) if number else None
                # The text is read a moment after the record that admits the reader, so that is asked again.
                if await self._records.present([head]):
                    return self._as_of(head, origin) if origin else None
        raise StoreUnavailable(f"document {doc_id!r} changes faster than it can be read")

    async def documents(self, tenant: str, groups: frozenset[str], *, after: str = "", limit: int = 100) -> list[Document]:
        """Documents the groups may read, by id. The engine sorts no names, so each page reads the names of all of them."""
        wanted = readable(groups)
        if not (wanted and storable(tenant)) or limit < 1:
            return []
        with reaching("read"):
            found = {one.key: one for one in await self._records.among(tenant, wanted) if one.doc > after}
            listed: list[Document] = []
            for some in _slices(sorted(found.values(), key=lambda one: one.doc), limit):
                present = await self._records.present(some)
                for one in some:
                    head = present.get(one.key) or await self._readable(tenant, one.doc, groups)
                    if head is not None and not head.gone:
                        listed.append(document_of(head))
                if len(listed) >= limit:
                    break
        return listed[:limit]

    async def readable(self, tenant: str, doc_ids: Sequence[str], groups: frozenset[str]) -> frozenset[str]:
        with reaching("read"):
            found = [one for one in dict.fromkeys(doc_ids) if await self._readable(tenant, one, groups) is not None]
        return frozenset(found)

    async def editions(self, tenant: str, doc_id: str, groups: frozenset[str]) -> list[Edition]:
        with reaching("read"):
            head = await self._readable(tenant, doc_id, groups)
            return [edition_of(origin) for origin in await self._records.origins(head.key)] if head else []

    async def catalogue(self, tenant: str) -> Mapping[str, Mapping[str, str]]:
        if not storable(tenant):
            return {}
        with reaching("read"):
            latest: dict[str, Record] = {}
            for one in sorted(await self._records.among(tenant, None), key=lambda one: one.number):
                latest[one.doc] = one
        return {doc: dict(latest[doc].meta) for doc in sorted(latest)}

    async def _check_generation(self, tenant: str, generation: int | None) -> None:
        if generation is not None and await self._records.count(tenant=tenant) != generation:
            raise overtaken(generation)

    async def stats(self, tenant: str) -> IndexStats:
        """Counts over all documents of the tenant; while a document is being written its passages may count twice.

        The generation is the number of records: each change adds one, in the very write that makes it, and none goes away.
        """
        if not storable(tenant):
            return IndexStats(documents=0, passages=0, generation=0, analyzer=ANALYZER, space=self._space)
        with reaching("read"):
            passages = await self._client.count(
                self._names.passages, models.Filter(must=[*equals(tenant=tenant)]), exact=True
            )
            return IndexStats(
                documents=await self._records.count(tenant=tenant, past=False, gone=False),
                passages=passages.count,
                generation=await self._records.count(tenant=tenant),
                analyzer=ANALYZER,
                space=self._space,
            )

    async def close(self) -> None:
        await self._client.close()

    async def _change(self, key: str, change: Change) -> bool:
        """Bring a document into the state that `change` makes of its present one; False if it makes none."""
        for _ in range(ATTEMPTS):
            head = await self._records.head(key)
            if head and not head.tidy:
                await self._records.tidy(head)
            changed = await change(head)
            if changed is None:
                return False
            record, pieces = changed
            points = [piece.point(record) for piece in pieces]
            for start in range(0, len(points), WRITTEN):
                await self._client.upsert(self._names.passages, points[start : start + WRITTEN])
            if await self._records.add(record):
                self._search.see(record.batch)
                await self._records.tidy(record)
                return True
            # Another writer was faster; its number is this record's, so nobody will ever read this batch.
            await self._client.delete(
                self._names.passages, models.FilterSelector(filter=models.Filter(must=[*equals(batch=record.batch)]))
            )
        raise StoreUnavailable("a document is being changed by too many writers at once")

    async def _pieces(self, record: Record, *, vectors: bool = False) -> list[Piece]:
        wanted = models.Filter(must=[*equals(batch=record.batch)])
        points = scroll(self._client, self._names.passages, wanted, True, vectors=vectors)
        return pieces_of([point async for point in points])

    async def _readable(self, tenant: str, doc_id: str, groups: frozenset[str]) -> Record | None:
        """The present record of a document, if there is one and it admits the groups."""
        head = await self._records.head(key_of(tenant, doc_id)) if groups else None
        return None if head is None or head.gone or groups.isdisjoint(head.groups) else head

    @staticmethod
    def _as_of(head: Record, origin: Record) -> Document:
        if origin.number == head.origin:
            return document_of(head, origin.text)
        former = replace(head, title=origin.title, edition=origin.edition, stored_at=origin.stored_at)
        # What an outsider wrote does not become trusted because the text after it is.
        return document_of(replace(former, trusted=head.trusted and origin.trusted), origin.text)


def _slices(records: Sequence[Record], size: int) -> Iterator[Sequence[Record]]:
    return (records[start : start + size] for start in range(0, len(records), size))
