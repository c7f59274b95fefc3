"""The index in Postgres: for more passages than a process should hold, and for many processes.

Keywords are BM25 over the terms of the analyzer, words by their English stems. Vectors are found by pgvector's HNSW index,
or by comparing with all where few may be read. Tenants are apart by row-level security as well as in every statement; groups
are asked in each.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC
from functools import partial
from typing import Any, TypeVar

from psycopg.rows import TupleRow

from quarterdeck.core.answers import Passage
from quarterdeck.core.errors import NotFound
from quarterdeck.knowledge.analyze import ANALYZER, query_terms
from quarterdeck.knowledge.base import KEYWORDS, Chunk, Document, Edition, IndexStats, Lookup, Space, Vector
from quarterdeck.knowledge.indexes import postgres_statements as sql
from quarterdeck.knowledge.indexes import postgres_writes as writes
from quarterdeck.knowledge.indexes.passages import (
    check_document,
    check_groups,
    check_vector,
    criteria,
    is_edition,
    label_of,
    number_of,
    page,
    readable,
    storable,
)
from quarterdeck.knowledge.indexes.postgres_schema import prepare
from quarterdeck.store.instants import Clock, utc_now
from quarterdeck.store.postgres import PATIENCE, PostgresConnection, PostgresDatabase, administer, together

__all__ = ["PostgresIndex"]

T = TypeVar("T")

FEW = 2_000  # visible passages that are compared one by one; from there on the HNSW index is exact enough, and faster
COMMON_SHARE, COMMON_FROM = 0.3, 5_000  # as in the embedded index: a term that more of the passages hold says little
EFFORT = 100  # the least number of candidates the HNSW index looks at
_PER_PATIENCE = 250  # chunks that are written in the usual time


class PostgresIndex:
    """`KnowledgeIndex` in the schema ``quarterdeck_knowledge`` of a Postgres database, with pgvector if it has vectors."""

    def __init__(self, database: PostgresDatabase, *, space: Space, clock: Clock) -> None:
        self._database = database
        self._space = space
        self._clock = clock

    @classmethod
    async def open(
        cls,
        url: str,
        space: Space = KEYWORDS,
        *,
        wait_s: float = 0.8,
        answer_s: float = 10.0,
        max_connections: int = 10,
        clock: Clock = utc_now,
    ) -> PostgresIndex:
        """Open the index of a database, or begin one there.

        Args:
            wait_s: How long a search waits for a connection.
            answer_s: How long it then may take.

        Raises:
            Misconfigured: It was written with another analyzer or embedder; or the login may not set it up, or pgvector is
                missing.
            StoreUnavailable: The database cannot be reached.
        """
        await administer(url, partial(prepare, space=space))
        database = PostgresDatabase(
            url, wait_s=wait_s, answer_s=answer_s, max_connections=max_connections, settings=sql.BY_INDEX
        )
        await database.open()
        return cls(database, space=space, clock=clock)

    async def upsert(
        self,
        document: Document,
        chunks: Sequence[Chunk],
        vectors: Sequence[Vector | None] = (),
        *,
        generation: int | None = None,
    ) -> None:
        """Replace all passages of the document, in one transaction."""
        check_document(document, chunks, vectors, self._space)
        at = self._clock()
        await self._change(
            document.tenant,
            lambda db: writes.replace(db, document, chunks, vectors, self._space, at, generation),
            len(chunks),
        )

    async def delete(self, tenant: str, doc_ids: Sequence[str], *, generation: int | None = None) -> int:
        """Forget documents of the tenant; returns how many there were."""
        known = [doc_id for doc_id in doc_ids if storable(doc_id)]
        if not known or not storable(tenant):
            return 0
        return await self._change(
            tenant, lambda db: writes.delete(db, tenant, known, self._space, generation), 10 * len(known)
        )

    async def set_groups(self, tenant: str, doc_id: str, groups: frozenset[str]) -> None:
        """Change who may read a document, without indexing it again. Raises NotFound."""
        check_groups(groups)
        if not storable(tenant, doc_id):
            raise NotFound(f"no document {doc_id!r}")
        await self._change(tenant, lambda db: writes.set_groups(db, tenant, doc_id, groups, self._space), 10)

    async def keyword(self, lookup: Lookup, k: int) -> list[Passage]:
        """The k best passages by BM25 (title and headings twice the body) that the lookup's groups may read."""
        wanted = query_terms(lookup.text)
        values = _asked(lookup)
        if not wanted or values is None or k < 1:
            return []
        values |= {"words": writes.words(wanted), "common_from": COMMON_FROM, "common_share": COMMON_SHARE, "k": page(k)}
        rows = await self._rows(sql.KEYWORD, values)
        return [_passage(lookup.tenant, row[1:], row[0]) for row in rows]

    async def vector(self, lookup: Lookup, vector: Vector, k: int) -> list[Passage]:
        """The k passages nearest to `vector` that the lookup's groups may read; where these are many, nearly always."""
        if not self._space.dim:
            return []
        check_vector(vector, self._space)
        values = _asked(lookup)
        if values is None or k < 1:
            return []
        values |= {"vector": writes.written(vector), "k": page(k), "most": FEW + 1, "effort": str(min(max(EFFORT, k), 1000))}
        rows = await self._database.run(lookup.tenant, lambda db: _nearest(db, values))
        return [_passage(lookup.tenant, row[1:], row[0]) for row in rows]

    async def passages(self, tenant: str, passage_ids: Sequence[str], groups: frozenset[str]) -> dict[str, Passage]:
        """Those of these passages that there are and the groups may read, by id."""
        named = [name for passage_id in passage_ids if (name := number_of(passage_id))]
        if not named or not storable(tenant):
            return {}
        docs, numbers = [doc for doc, _ in named], [n for _, n in named]
        values = {"tenant": tenant, "docs": docs, "numbers": numbers, "groups": readable(groups)}
        found = (_passage(tenant, row, 0.0) for row in await self._rows(sql.PASSAGES, values))
        return {passage.id: passage for passage in found}

    async def document(
        self, tenant: str, doc_id: str, groups: frozenset[str], *, edition: int | None = None
    ) -> Document | None:
        """One document, if the groups may read it; by default its present edition."""
        if not storable(tenant, doc_id) or not is_edition(edition):
            return None
        values = {"tenant": tenant, "doc": doc_id, "groups": readable(groups), "edition": edition}
        rows = await self._rows(sql.DOCUMENT, values)
        return _document(tenant, rows[0]) if rows else None

    async def documents(self, tenant: str, groups: frozenset[str], *, after: str = "", limit: int = 100) -> list[Document]:
        """Documents the groups may read, by id from the one behind `after`, each with an empty text."""
        if not storable(tenant, after):
            return []
        values = {"tenant": tenant, "groups": readable(groups), "after": after, "limit": page(limit)}
        return [_document(tenant, row) for row in await self._rows(sql.DOCUMENTS, values)]

    async def readable(self, tenant: str, doc_ids: Sequence[str], groups: frozenset[str]) -> frozenset[str]:
        """Those of these documents that there are and the groups may read."""
        known = [doc_id for doc_id in doc_ids if storable(doc_id)]
        if not known or not storable(tenant):
            return frozenset()
        rows = await self._rows(sql.ADMITTED, {"tenant": tenant, "docs": known, "groups": readable(groups)})
        return frozenset(doc for (doc,) in rows)

    async def editions(self, tenant: str, doc_id: str, groups: frozenset[str]) -> list[Edition]:
        """The texts a document had, newest first."""
        if not storable(tenant, doc_id):
            return []
        rows = await self._rows(sql.EDITIONS, {"tenant": tenant, "doc": doc_id, "groups": readable(groups)})
        return [
            Edition(number=number, title=title, sha256=sha256, characters=characters, stored_at=at.astimezone(UTC))
            for number, title, sha256, characters, at in rows
        ]

    async def catalogue(self, tenant: str) -> Mapping[str, Mapping[str, str]]:
        """The metadata of every document of the tenant, by id."""
        return dict(await self._rows(sql.CATALOGUE, {"tenant": tenant})) if storable(tenant) else {}

    async def stats(self, tenant: str) -> IndexStats:
        """Counts over the tenant's documents alone."""
        rows = await self._rows(sql.STATS, {"tenant": tenant}) if storable(tenant) else []
        documents, passages, generation = rows[0] if rows else (0, 0, 0)
        return IndexStats(
            documents=documents, passages=passages, generation=generation, analyzer=ANALYZER, space=self._space
        )

    async def probe(self) -> None:
        """Raises StoreUnavailable unless the database answers."""
        await self._rows(sql.STATS, {"tenant": "."})

    async def close(self) -> None:
        """Let go of all connections."""
        await self._database.close()

    async def _rows(self, statement: str, values: Mapping[str, Any]) -> list[TupleRow]:
        async def unit(connection: PostgresConnection) -> list[TupleRow]:
            return await (await writes.ask(connection, statement, values)).fetchall()

        return await self._database.run(values["tenant"], unit)

    async def _change(self, tenant: str, work: Callable[[PostgresConnection], Awaitable[T]], size: int) -> T:
        """
        Args:
            size: About how many chunks it writes.
        """
        return await self._database.run(tenant, work, patience=min(PATIENCE, 1 + size / _PER_PATIENCE))


async def _nearest(connection: PostgresConnection, values: Mapping[str, Any]) -> list[TupleRow]:
    async with together(connection):
        await writes.ask(connection, sql.NEAREST_SETTINGS, values)
        visible = await (await writes.ask(connection, sql.VISIBLE, values)).fetchone()
        assert visible is not None  # a sum has a row
        statement = sql.NEAREST_OF_FEW if visible[0] <= FEW else sql.NEAREST
        return await (await writes.ask(connection, statement, values)).fetchall()


def _asked(lookup: Lookup) -> dict[str, Any] | None:
    """Tenant, groups and where as parameters; None if nothing can meet them."""
    groups, where = readable(lookup.groups), criteria(lookup)
    if not groups or not all(where.values()) or not storable(lookup.tenant):
        return None
    return {"tenant": lookup.tenant, "groups": groups, "where": json.dumps(where)}


def _passage(tenant: str, row: TupleRow, score: float) -> Passage:
    doc, n, text, heading, start, stop, edition, title, uri, trusted, groups = row
    return Passage(
        id=f"{doc}-{n}",
        doc_id=doc,
        title=title,
        text=text,
        label=label_of(tenant, f"{doc}-{n}", groups, trusted),
        heading_path=tuple(json.loads(heading)),
        start=start,
        end=stop,
        edition=edition,
        score=score,
        uri=uri,
    )


def _document(tenant: str, row: TupleRow) -> Document:
    doc, title, uri, trusted, groups, meta, edition, stored_at, text = row
    return Document(
        id=doc,
        tenant=tenant,
        title=title,
        text=text,
        groups=frozenset(groups),
        trusted=trusted,
        uri=uri,
        meta=meta,
        edition=edition,
        stored_at=stored_at.astimezone(UTC),
    )
