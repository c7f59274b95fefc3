"""The embedded index: one SQLite file with full text, keywords, vectors and permissions, changed in one transaction.

Keywords are FTS5 over text the analyzer has already split; vectors are compared exactly, in memory. Permission is a relation
from group to passage, asked inside the query. Good for about 100,000 passages in a process; beyond that an index server is
the better choice.

Scores of words come from statistics over the whole file, as in every search engine, so a score is not shown to people as it
is: ``knowledge.search`` replaces it by one that rests on what the reader may see.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from anyio import to_thread

from quarterdeck.core.answers import Passage
from quarterdeck.core.errors import Misconfigured, NotFound, StoreUnavailable
from quarterdeck.knowledge.analyze import ANALYZER, query_terms
from quarterdeck.knowledge.base import KEYWORDS, Chunk, Document, Edition, IndexStats, Lookup, Space, Vector
from quarterdeck.knowledge.indexes import sqlite_writes as writes
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
from quarterdeck.knowledge.indexes.sqlite_file import connect, prepare, snapshot, transaction
from quarterdeck.store.instants import Clock, from_micros, to_micros, utc_now

if TYPE_CHECKING:
    from quarterdeck.knowledge.indexes.sqlite_vectors import Matrix

__all__ = ["SqliteIndex"]

T = TypeVar("T")

READERS = 4  # connections that search at the same time
# A term in more than 30 % of the passages says little and makes a search of 100,000 passages take 70 ms of CPU. Where it
# is cheap to look up it stays: without it nDCG@10 on Cranfield (1,400 passages) falls from 0.535 to 0.532.
COMMON_SHARE = 0.3
COMMON_FROM = 5_000  # passages

# EXISTS and not `rowid IN (SELECT ...)`: for the latter the planner runs the match once for every visible passage, which
# takes seconds at 10,000 passages. The inner query has a LIMIT, so it is not flattened and only k rows are joined.
_KEYWORD = """
SELECT hit.score, passage.doc, passage.n, passage.text, passage.heading, passage.start, passage.end,
       edition.n, edition.title, document.uri, document.trusted, document.groups
FROM (SELECT rowid AS id, bm25(fts, 2.0, 1.0) AS score FROM fts
      WHERE fts MATCH :match
        AND EXISTS(SELECT 1 FROM acl WHERE acl.tenant = :tenant AND acl.passage = fts.rowid
                   AND acl.grp IN (SELECT value FROM json_each(:groups)))
        AND (:where = '{}' OR EXISTS(
             SELECT 1 FROM passage AS p JOIN document AS d ON d.tenant = p.tenant AND d.id = p.doc
             WHERE p.id = fts.rowid AND p.tenant = :tenant AND NOT EXISTS(
               SELECT 1 FROM json_each(:where) AS wanted WHERE NOT EXISTS(
                 SELECT 1 FROM json_each(wanted.value) AS one JOIN json_each(d.meta) AS held
                 ON held.key = wanted.key AND held.value = one.value))))
      ORDER BY score, rowid LIMIT :k) AS hit
JOIN passage ON passage.id = hit.id AND passage.tenant = :tenant
JOIN document ON document.tenant = :tenant AND document.id = passage.doc
JOIN edition ON edition.tenant = :tenant AND edition.doc = document.id AND edition.n = document.edition
ORDER BY hit.score, hit.id
"""
# How common a word is, is asked of the file and not of the tenant: it decides what is worth looking up, never who sees it.
_COUNT_PASSAGES = "SELECT coalesce(sum(passages), 0) FROM tenant"
_COUNT_TERM = "SELECT count(*) FROM (SELECT 1 FROM fts WHERE fts MATCH :match LIMIT :most)"

_READABLE_PASSAGE = """
SELECT passage.id, passage.doc, passage.n, passage.text, passage.heading, passage.start, passage.end,
       edition.n, edition.title, document.uri, document.trusted, document.groups
FROM passage JOIN document ON document.tenant = :tenant AND document.id = passage.doc
JOIN edition ON edition.tenant = :tenant AND edition.doc = document.id AND edition.n = document.edition
WHERE EXISTS(SELECT 1 FROM acl WHERE acl.tenant = :tenant AND acl.passage = passage.id
             AND acl.grp IN (SELECT value FROM json_each(:groups)))
"""
_PASSAGE = _READABLE_PASSAGE + "AND passage.tenant = :tenant AND passage.doc = :doc AND passage.n = :n"
# The plus sign keeps the planner from walking through all passages of the tenant.
_PASSAGES = _READABLE_PASSAGE + "AND +passage.tenant = :tenant AND passage.id IN (SELECT value FROM json_each(:ids))"  # noqa: S608

_READABLE = """EXISTS(
  SELECT 1 FROM json_each(document.groups) AS held JOIN json_each(:groups) AS mine ON held.value = mine.value)"""
_DOCUMENT_COLUMNS = """document.id, edition.title, document.uri, document.trusted, document.groups, document.meta,
  edition.n, edition.stored_at"""
_DOCUMENT = f"""
SELECT {_DOCUMENT_COLUMNS}, edition.text
FROM document JOIN edition ON edition.tenant = :tenant AND edition.doc = :doc
  AND edition.n = coalesce(:edition, document.edition)
WHERE document.tenant = :tenant AND document.id = :doc AND {_READABLE}
"""  # noqa: S608 - put together from constants of this file
_DOCUMENTS = f"""
SELECT {_DOCUMENT_COLUMNS}, ''
FROM document JOIN edition ON edition.tenant = :tenant AND edition.doc = document.id AND edition.n = document.edition
WHERE document.tenant = :tenant AND document.id > :after AND {_READABLE} ORDER BY document.id LIMIT :limit
"""  # noqa: S608
_ADMITTED = f"""
SELECT document.id FROM document
WHERE document.tenant = :tenant AND document.id IN (SELECT value FROM json_each(:docs)) AND {_READABLE}
"""  # noqa: S608
_EDITIONS = f"""
SELECT edition.n, edition.title, edition.sha256, edition.characters, edition.stored_at
FROM document JOIN edition ON edition.tenant = :tenant AND edition.doc = document.id
WHERE document.tenant = :tenant AND document.id = :doc AND {_READABLE} ORDER BY edition.n DESC
"""  # noqa: S608
_CATALOGUE = "SELECT id, meta FROM document WHERE tenant = :tenant ORDER BY id"
_STATS = "SELECT documents, passages, generation FROM tenant WHERE tenant = :tenant"


class SqliteIndex:
    """`KnowledgeIndex` in one SQLite file. Many processes may read and write it."""

    def __init__(
        self,
        writer: sqlite3.Connection,
        readers: Sequence[sqlite3.Connection],
        *,
        space: Space,
        matrix: Matrix | None,
        clock: Clock,
    ) -> None:
        """
        Args:
            matrix: For the vectors of an index that has any.
        """
        self._writer = writer
        self._space = space
        self._matrix = matrix
        self._clock = clock
        self._writing = threading.Lock()
        self._count = len(readers)
        self._idle: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        for reader in readers:
            self._idle.put(reader)

    @classmethod
    async def open(cls, path: Path, space: Space = KEYWORDS, *, clock: Clock = utc_now) -> SqliteIndex:
        """Open the index at `path`, or begin one there.

        Raises:
            Misconfigured: The file is no index, or was written with another analyzer, embedder or schema. Or numpy is
                missing.
            StoreUnavailable: It cannot be opened now.
        """
        return await to_thread.run_sync(cls._open, path, space, clock)

    @classmethod
    def _open(cls, path: Path, space: Space, clock: Clock) -> SqliteIndex:
        matrix = _matrix(space)
        connections: list[sqlite3.Connection] = []
        try:
            connections.append(connect(path))
            prepare(connections[0], path, space)
            connections += (connect(path) for _ in range(READERS))
            for reader in connections[1:]:
                reader.execute("PRAGMA query_only = on")
        except BaseException as error:
            for connection in connections:
                connection.close()
            if isinstance(error, sqlite3.OperationalError):
                raise StoreUnavailable(f"the index {path} cannot be opened: {error}") from error
            if isinstance(error, sqlite3.DatabaseError):
                raise Misconfigured(f"{path} is no knowledge index ({error}); move it away and ingest again") from error
            raise
        return cls(connections[0], connections[1:], space=space, matrix=matrix, clock=clock)

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
        at = to_micros(self._clock())
        await self._write(lambda db: writes.replace(db, document, chunks, vectors, at, generation))

    async def delete(self, tenant: str, doc_ids: Sequence[str], *, generation: int | None = None) -> int:
        """Forget documents of the tenant; returns how many there were."""
        known = [doc_id for doc_id in doc_ids if storable(tenant, doc_id)]
        return await self._write(lambda db: writes.delete(db, tenant, known, generation)) if known else 0

    async def set_groups(self, tenant: str, doc_id: str, groups: frozenset[str]) -> None:
        """Change who may read a document, without indexing it again. Raises NotFound."""
        check_groups(groups)
        if not storable(tenant, doc_id):
            raise NotFound(f"no document {doc_id!r}")
        await self._write(lambda db: writes.set_groups(db, tenant, doc_id, groups))

    async def keyword(self, lookup: Lookup, k: int) -> list[Passage]:
        """The k best passages by BM25 (title and headings twice the body) that the lookup's groups may read."""
        wanted = query_terms(lookup.text)
        values = _asked(lookup)
        if not wanted or values is None or k < 1:
            return []
        return await self._read(lambda db: _keyword(db, lookup.tenant, values, wanted, k))

    async def vector(self, lookup: Lookup, vector: Vector, k: int) -> list[Passage]:
        """The k passages nearest to `vector`, compared with all that the lookup's groups may read."""
        matrix, values = self._matrix, _asked(lookup)
        if matrix is None:
            return []
        check_vector(vector, self._space)
        if values is None or k < 1:
            return []
        return await self._read(lambda db: _nearest(db, matrix, lookup.tenant, values, vector, k))

    async def passages(self, tenant: str, passage_ids: Sequence[str], groups: frozenset[str]) -> dict[str, Passage]:
        """Those of these passages that there are and the groups may read, by id."""
        named = [name for passage_id in passage_ids if (name := number_of(passage_id))]
        if not named or not storable(tenant):
            return {}
        allowed = _json(readable(groups))
        asked = [{"tenant": tenant, "doc": doc, "n": n, "groups": allowed} for doc, n in named]
        rows = await self._read(lambda db: _each(db, _PASSAGE, asked))
        found = (_passage(tenant, row[1:], 0.0) for row in rows)
        return {passage.id: passage for passage in found}

    async def document(
        self, tenant: str, doc_id: str, groups: frozenset[str], *, edition: int | None = None
    ) -> Document | None:
        """One document, if the groups may read it; by default its present edition."""
        if not storable(tenant, doc_id) or not is_edition(edition):
            return None
        values = {"tenant": tenant, "doc": doc_id, "groups": _json(readable(groups)), "edition": edition}
        row = await self._read(lambda db: db.execute(_DOCUMENT, values).fetchone())
        return None if row is None else _document(tenant, row)

    async def documents(self, tenant: str, groups: frozenset[str], *, after: str = "", limit: int = 100) -> list[Document]:
        """Documents the groups may read, by id from the one behind `after`, each with an empty text."""
        if not storable(tenant, after):
            return []
        values = {"tenant": tenant, "groups": _json(readable(groups)), "after": after, "limit": page(limit)}
        rows = await self._read(lambda db: db.execute(_DOCUMENTS, values).fetchall())
        return [_document(tenant, row) for row in rows]

    async def readable(self, tenant: str, doc_ids: Sequence[str], groups: frozenset[str]) -> frozenset[str]:
        """Those of these documents that there are and the groups may read."""
        known = [doc_id for doc_id in doc_ids if storable(doc_id)]
        if not known or not storable(tenant):
            return frozenset()
        values = {"tenant": tenant, "docs": _json(known), "groups": _json(readable(groups))}
        rows = await self._read(lambda db: db.execute(_ADMITTED, values).fetchall())
        return frozenset(doc for (doc,) in rows)

    async def editions(self, tenant: str, doc_id: str, groups: frozenset[str]) -> list[Edition]:
        """The texts a document had, newest first."""
        if not storable(tenant, doc_id):
            return []
        values = {"tenant": tenant, "doc": doc_id, "groups": _json(readable(groups))}
        rows = await self._read(lambda db: db.execute(_EDITIONS, values).fetchall())
        return [
            Edition(number=number, title=title, sha256=sha256, characters=characters, stored_at=from_micros(at))
            for number, title, sha256, characters, at in rows
        ]

    async def catalogue(self, tenant: str) -> Mapping[str, Mapping[str, str]]:
        """The metadata of every document of the tenant, by id."""
        if not storable(tenant):
            return {}
        rows = await self._read(lambda db: db.execute(_CATALOGUE, {"tenant": tenant}).fetchall())
        return {doc: json.loads(meta) for doc, meta in rows}

    async def stats(self, tenant: str) -> IndexStats:
        """Counts over the tenant's documents alone."""
        known = storable(tenant)
        row = await self._read(lambda db: db.execute(_STATS, {"tenant": tenant}).fetchone()) if known else None
        documents, passages, generation = row or (0, 0, 0)
        return IndexStats(
            documents=documents, passages=passages, generation=generation, analyzer=ANALYZER, space=self._space
        )

    async def close(self) -> None:
        """Wait for what is under way and let go of the file."""
        await to_thread.run_sync(self._close)

    def _close(self) -> None:
        with self._writing:
            for _ in range(self._count):
                self._idle.get().close()
            self._count = 0
            self._writer.close()

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        # An abandoned search gives its connection back by itself, so a caller whose time is over need not wait for it.
        return await to_thread.run_sync(self._read_now, work, abandon_on_cancel=True)

    def _read_now(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if not self._count:
            raise StoreUnavailable("the index is closed")
        reader = self._idle.get()
        try:
            return work(reader)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the index cannot be read: {error}") from error
        finally:
            self._idle.put(reader)

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await to_thread.run_sync(self._write_now, work)

    def _write_now(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with self._writing, transaction(self._writer) as db:
                return work(db)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the index cannot be written: {error}") from error


def _matrix(space: Space) -> Matrix | None:
    if not space.dim:
        return None
    try:
        from quarterdeck.knowledge.indexes.sqlite_vectors import Matrix
    except ImportError as error:
        raise Misconfigured("an index with vectors needs numpy: pip install 'quarterdeck[vectors]'") from error
    return Matrix(space.dim)


def _asked(lookup: Lookup) -> dict[str, str] | None:
    """Tenant, groups and where as parameters; None if nothing can meet them."""
    groups, where = readable(lookup.groups), criteria(lookup)
    if not groups or not all(where.values()) or not storable(lookup.tenant):
        return None
    return {"tenant": lookup.tenant, "groups": _json(groups), "where": _json(where)}


def _keyword(db: sqlite3.Connection, tenant: str, values: Mapping[str, str], wanted: Sequence[str], k: int) -> list[Passage]:
    rows = db.execute(_KEYWORD, {**values, "match": _match(_telling(db, wanted)), "k": k})
    return [_passage(tenant, row[1:], -row[0]) for row in rows]  # FTS5 gives the better match the smaller number


def _each(db: sqlite3.Connection, statement: str, asked: Iterable[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """The row of each that has one, all as of one moment."""
    with snapshot(db):
        return [row for values in asked if (row := db.execute(statement, values).fetchone()) is not None]


def _nearest(
    db: sqlite3.Connection, matrix: Matrix, tenant: str, values: Mapping[str, str], vector: Vector, k: int
) -> list[Passage]:
    with snapshot(db):
        found = matrix.nearest(db, values, vector, k)
        rows = db.execute(_PASSAGES, {**values, "ids": _json([passage for passage, _ in found])})
        passages = {row[0]: row[1:] for row in rows}
    return [_passage(tenant, passages[passage], cosine) for passage, cosine in found]


def _telling(db: sqlite3.Connection, wanted: Sequence[str]) -> Sequence[str]:
    """The terms without the common ones; all of them if they are all common."""
    passages = db.execute(_COUNT_PASSAGES).fetchone()[0]
    if passages <= COMMON_FROM:
        return wanted
    most = max(COMMON_FROM, int(COMMON_SHARE * passages))
    counts = (db.execute(_COUNT_TERM, {"match": _match([term]), "most": most + 1}).fetchone()[0] for term in wanted)
    return [term for term, count in zip(wanted, counts, strict=True) if count <= most] or wanted


def _match(wanted: Iterable[str]) -> str:
    # Terms are letters and digits only, so the quotes cannot be closed from within and no FTS5 syntax can be sent.
    return " OR ".join(f'"{term}"' for term in wanted)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _passage(tenant: str, row: tuple[Any, ...], score: float) -> Passage:
    doc, n, text, heading, start, end, edition, title, uri, trusted, groups = row
    return Passage(
        id=f"{doc}-{n}",
        doc_id=doc,
        title=title,
        text=text,
        label=label_of(tenant, f"{doc}-{n}", json.loads(groups), bool(trusted)),
        heading_path=tuple(json.loads(heading)),
        start=start,
        end=end,
        edition=edition,
        score=score,
        uri=uri,
    )


def _document(tenant: str, row: tuple[Any, ...]) -> Document:
    doc, title, uri, trusted, groups, meta, edition, stored_at, text = row
    return Document(
        id=doc,
        tenant=tenant,
        title=title,
        text=text,
        groups=frozenset(json.loads(groups)),
        trusted=bool(trusted),
        uri=uri,
        meta=json.loads(meta),
        edition=edition,
        stored_at=from_micros(stored_at),
    )
