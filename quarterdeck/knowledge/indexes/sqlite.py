"""The embedded index: one SQLite file with full text, keywords and permissions, changed in one transaction.

Keywords are FTS5 over text the analyzer has already split. Permission is a relation from group to passage, asked inside the
query. Good for about 100,000 passages in a process; beyond that an index server is the better choice.

Scores come from statistics over the whole file, as in every search engine, so a score is not shown to people as it is:
``knowledge.search`` replaces it by one that rests on what the reader may see.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from anyio import to_thread

from quarterdeck.core.answers import Passage
from quarterdeck.core.errors import InvalidInput, Misconfigured, NotFound, StoreUnavailable
from quarterdeck.core.labels import Integrity, Label, Readers
from quarterdeck.knowledge.analyze import ANALYZER, presplit, query_terms
from quarterdeck.knowledge.base import Chunk, Document, IndexStats, Lookup

__all__ = ["SqliteIndex"]

T = TypeVar("T")

READERS = 4  # connections that search at the same time
BUSY_S = 30.0  # seconds a writer waits for the writer of another process
# A term in more than 30 % of the passages says little and makes a search of 100,000 passages take 70 ms of CPU. Where it
# is cheap to look up it stays: without it nDCG@10 on Cranfield (1,400 passages) falls from 0.535 to 0.532.
COMMON_SHARE = 0.3
COMMON_FROM = 5_000  # passages

_SCHEMA = (
    "CREATE TABLE identity(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE tenant(tenant TEXT PRIMARY KEY, documents INTEGER NOT NULL, passages INTEGER NOT NULL,
         generation INTEGER NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE document(tenant TEXT NOT NULL, id TEXT NOT NULL, title TEXT NOT NULL, text TEXT NOT NULL,
         uri TEXT NOT NULL, trusted INTEGER NOT NULL, groups TEXT NOT NULL, meta TEXT NOT NULL, next INTEGER NOT NULL,
         PRIMARY KEY(tenant, id))""",
    """CREATE TABLE passage(id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, doc TEXT NOT NULL, n INTEGER NOT NULL,
         text TEXT NOT NULL, heading TEXT NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL, UNIQUE(tenant, doc, n))""",
    """CREATE TABLE acl(tenant TEXT NOT NULL, grp TEXT NOT NULL, passage INTEGER NOT NULL,
         PRIMARY KEY(tenant, grp, passage)) WITHOUT ROWID""",
    "CREATE INDEX acl_passage ON acl(passage)",  # for forgetting a document
    "CREATE VIRTUAL TABLE fts USING fts5(title, body, tokenize='porter unicode61')",
)
_IDENTITY = {"analyzer": ANALYZER, "embedder": "none", "schema": "1"}

_SELECT_IDENTITY = "SELECT name, value FROM identity"
_INSERT_IDENTITY = "INSERT INTO identity(name, value) VALUES(?, ?)"
_HAS_TABLES = "SELECT EXISTS(SELECT 1 FROM sqlite_master)"

# EXISTS and not `rowid IN (SELECT ...)`: for the latter the planner runs the match once for every visible passage, which
# takes seconds at 10,000 passages. The inner query has a LIMIT, so it is not flattened and only k rows are joined.
_KEYWORD = """
SELECT passage.doc, passage.n, passage.text, passage.heading, passage.start, passage.end,
       document.title, document.uri, document.trusted, document.groups, hit.score
FROM (SELECT rowid AS id, bm25(fts, 2.0, 1.0) AS score FROM fts
      WHERE fts MATCH :match
        AND EXISTS(SELECT 1 FROM acl WHERE acl.tenant = :tenant AND acl.passage = fts.rowid
                   AND acl.grp IN (SELECT value FROM json_each(:groups)))
        AND (:where = '{}' OR EXISTS(
             SELECT 1 FROM passage AS p JOIN document AS d ON d.tenant = p.tenant AND d.id = p.doc
             WHERE p.id = fts.rowid AND p.tenant = :tenant AND NOT EXISTS(
               SELECT 1 FROM json_each(:where) AS wanted WHERE NOT EXISTS(
                 SELECT 1 FROM json_each(d.meta) AS held WHERE held.key = wanted.key AND held.value = wanted.value))))
      ORDER BY score, rowid LIMIT :k) AS hit
JOIN passage ON passage.id = hit.id AND passage.tenant = :tenant
JOIN document ON document.tenant = :tenant AND document.id = passage.doc
ORDER BY hit.score, hit.id
"""
# How common a word is, is asked of the file and not of the tenant: it decides what is worth looking up, never who sees it.
_COUNT_PASSAGES = "SELECT coalesce(sum(passages), 0) FROM tenant"
_COUNT_TERM = "SELECT count(*) FROM (SELECT 1 FROM fts WHERE fts MATCH :match LIMIT :most)"

_PASSAGE = """
SELECT passage.doc, passage.n, passage.text, passage.heading, passage.start, passage.end,
       document.title, document.uri, document.trusted, document.groups, 0.0
FROM passage JOIN document ON document.tenant = :tenant AND document.id = passage.doc
WHERE passage.tenant = :tenant AND passage.doc = :doc AND passage.n = :n
  AND EXISTS(SELECT 1 FROM acl WHERE acl.tenant = :tenant AND acl.passage = passage.id
             AND acl.grp IN (SELECT value FROM json_each(:groups)))
"""
_DOCUMENT = """
SELECT id, title, text, uri, trusted, groups, meta FROM document
WHERE tenant = :tenant AND id = :doc AND EXISTS(
  SELECT 1 FROM json_each(document.groups) AS held JOIN json_each(:groups) AS mine ON held.value = mine.value)
"""
_CATALOGUE = "SELECT id, meta FROM document WHERE tenant = :tenant ORDER BY id"
_STATS = "SELECT documents, passages, generation FROM tenant WHERE tenant = :tenant"

_OLD_PASSAGES = "SELECT n, text FROM passage WHERE tenant = :tenant AND doc = :doc ORDER BY start"
_NEXT = "SELECT next FROM document WHERE tenant = :tenant AND id = :doc"
_DELETE_FTS = "DELETE FROM fts WHERE rowid IN (SELECT id FROM passage WHERE tenant = :tenant AND doc = :doc)"
_DELETE_ACL = (
    "DELETE FROM acl WHERE tenant = :tenant AND passage IN (SELECT id FROM passage WHERE tenant = :tenant AND doc = :doc)"
)
_DELETE_PASSAGES = "DELETE FROM passage WHERE tenant = :tenant AND doc = :doc"
_DELETE_DOCUMENT = "DELETE FROM document WHERE tenant = :tenant AND id = :doc"
_INSERT_DOCUMENT = """
INSERT INTO document(tenant, id, title, text, uri, trusted, groups, meta, next)
VALUES(:tenant, :doc, :title, :text, :uri, :trusted, :groups, :meta, :next)
"""
_INSERT_PASSAGE = """
INSERT INTO passage(tenant, doc, n, text, heading, start, end)
VALUES(:tenant, :doc, :n, :text, :heading, :start, :end)
"""
_INSERT_FTS = "INSERT INTO fts(rowid, title, body) VALUES(:id, :title, :body)"
_INSERT_ACL = """
INSERT INTO acl(tenant, grp, passage)
SELECT :tenant, allowed.value, passage.id FROM passage JOIN json_each(:groups) AS allowed
WHERE passage.tenant = :tenant AND passage.doc = :doc
"""
_SET_GROUPS = "UPDATE document SET groups = :groups WHERE tenant = :tenant AND id = :doc"
_CHANGED = """
INSERT INTO tenant(tenant, documents, passages, generation) VALUES(:tenant, :documents, :passages, 1)
ON CONFLICT(tenant) DO UPDATE SET documents = documents + :documents, passages = passages + :passages,
  generation = generation + 1
"""


class SqliteIndex:
    """`KnowledgeIndex` in one SQLite file. Many processes may read and write it."""

    def __init__(self, writer: sqlite3.Connection, readers: Sequence[sqlite3.Connection]) -> None:
        self._writer = writer
        self._writing = threading.Lock()
        self._count = len(readers)
        self._idle: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        for reader in readers:
            self._idle.put(reader)

    @classmethod
    async def open(cls, path: Path) -> SqliteIndex:
        """Open the index at `path`, or begin one there.

        Raises:
            Misconfigured: The file is no index, or was written with another analyzer, embedder or schema.
            StoreUnavailable: It cannot be opened now.
        """
        return await to_thread.run_sync(cls._open, path)

    @classmethod
    def _open(cls, path: Path) -> SqliteIndex:
        connections: list[sqlite3.Connection] = []
        try:
            connections.append(_connect(path))
            _prepare(connections[0], path)
            connections += (_connect(path) for _ in range(READERS))
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
        return cls(connections[0], connections[1:])

    async def upsert(self, document: Document, chunks: Sequence[Chunk]) -> None:
        """Replace all passages of the document. A chunk whose text stood there before keeps its passage id.

        A number that was given once is not given to other text while the document exists, so an old citation never points
        at something else. Raises InvalidInput if a chunk is not its span of the text.
        """
        for chunk in chunks:
            if document.text[chunk.start : chunk.end] != chunk.text:
                raise InvalidInput(
                    f"chunk {chunk.start}:{chunk.end} of document {document.id!r} is not the text of its span"
                )
        await self._write(lambda db: _replace(db, document, chunks))

    async def delete(self, tenant: str, doc_ids: Sequence[str]) -> int:
        """Forget documents of the tenant; returns how many there were."""
        return await self._write(lambda db: _delete(db, tenant, doc_ids))

    async def set_groups(self, tenant: str, doc_id: str, groups: frozenset[str]) -> None:
        """Change who may read a document, without indexing it again. Raises NotFound."""
        await self._write(lambda db: _set_groups(db, tenant, doc_id, groups))

    async def keyword(self, lookup: Lookup, k: int) -> list[Passage]:
        """The k best passages by BM25 (title and headings twice the body) that the lookup's groups may read."""
        wanted = query_terms(lookup.text)
        if not wanted or not lookup.groups or k < 1:
            return []
        return await self._read(lambda db: _keyword(db, lookup, wanted, k))

    async def passage(self, tenant: str, passage_id: str, groups: frozenset[str]) -> Passage | None:
        """One passage, if the groups may read it."""
        doc, _, n = passage_id.rpartition("-")
        if not (doc and n.isascii() and n.isdigit() and len(n) < 10):
            return None
        values = {"tenant": tenant, "doc": doc, "n": int(n), "groups": _json(groups)}
        row = await self._read(lambda db: db.execute(_PASSAGE, values).fetchone())
        # `vpn-01` is read as the number 1, but only `vpn-1` is the passage's name.
        return None if row is None or (found := _passage(tenant, row)).id != passage_id else found

    async def document(self, tenant: str, doc_id: str, groups: frozenset[str]) -> Document | None:
        """One document, if the groups may read it."""
        values = {"tenant": tenant, "doc": doc_id, "groups": _json(groups)}
        row = await self._read(lambda db: db.execute(_DOCUMENT, values).fetchone())
        return None if row is None else _document(tenant, row)

    async def catalogue(self, tenant: str) -> Mapping[str, Mapping[str, str]]:
        """The metadata of every document of the tenant, by id."""
        rows = await self._read(lambda db: db.execute(_CATALOGUE, {"tenant": tenant}).fetchall())
        return {doc: json.loads(meta) for doc, meta in rows}

    async def stats(self, tenant: str) -> IndexStats:
        """Counts over the tenant's documents alone."""
        row = await self._read(lambda db: db.execute(_STATS, {"tenant": tenant}).fetchone())
        documents, passages, generation = row or (0, 0, 0)
        return IndexStats(documents=documents, passages=passages, generation=generation, analyzer=ANALYZER)

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
            with self._writing, _transaction(self._writer) as db:
                return work(db)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the index cannot be written: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = wal")
    # The files it was made from can be ingested again, so losing the last commits in a power cut loses nothing.
    connection.execute("PRAGMA synchronous = normal")
    return connection


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new file, or check that an old one was written as this program would write it."""
    with _transaction(db):
        if not db.execute(_HAS_TABLES).fetchone()[0]:
            for statement in _SCHEMA:
                db.execute(statement)
            db.executemany(_INSERT_IDENTITY, _IDENTITY.items())
    try:
        found = dict(db.execute(_SELECT_IDENTITY).fetchall())
    except sqlite3.OperationalError as error:
        raise Misconfigured(f"{path} is another program's database, no knowledge index") from error
    for name, value in _IDENTITY.items():
        if found.get(name) != value:
            raise Misconfigured(
                f"the index {path} was written with {name} {found.get(name)!r}, this program has {value!r}: "
                "delete the file and ingest again to re-index"
            )


def _replace(db: sqlite3.Connection, document: Document, chunks: Sequence[Chunk]) -> None:
    key = {"tenant": document.tenant, "doc": document.id}
    groups = _json(document.groups)
    numbers: dict[str, list[int]] = defaultdict(list)
    old = db.execute(_OLD_PASSAGES, key).fetchall()
    for n, text in reversed(old):
        numbers[text].append(n)
    row = db.execute(_NEXT, key).fetchone()
    following = row[0] if row else 1
    _clear(db, key)
    # Passages refer to their document only by name, so it can be written last, when its next number is known.
    for chunk in chunks:
        if numbers[chunk.text]:
            n = numbers[chunk.text].pop()
        else:
            n, following = following, following + 1
        heading = json.dumps(chunk.heading_path, ensure_ascii=False)
        span = {"n": n, "text": chunk.text, "heading": heading, "start": chunk.start, "end": chunk.end}
        rowid = db.execute(_INSERT_PASSAGE, {**key, **span}).lastrowid
        title = presplit(" ".join((document.title, *chunk.heading_path)))
        db.execute(_INSERT_FTS, {"id": rowid, "title": title, "body": presplit(chunk.text)})
    db.execute(
        _INSERT_DOCUMENT,
        {
            **key,
            "title": document.title,
            "text": document.text,
            "uri": document.uri,
            "trusted": document.trusted,
            "groups": groups,
            "meta": json.dumps(dict(document.meta), ensure_ascii=False),
            "next": following,
        },
    )
    db.execute(_INSERT_ACL, {**key, "groups": groups})
    _count(db, document.tenant, documents=0 if row else 1, passages=len(chunks) - len(old))


def _clear(db: sqlite3.Connection, key: Mapping[str, str]) -> tuple[int, int]:
    """Forget a document; returns how many documents and passages that was."""
    db.execute(_DELETE_FTS, key)
    db.execute(_DELETE_ACL, key)
    passages = db.execute(_DELETE_PASSAGES, key).rowcount
    return db.execute(_DELETE_DOCUMENT, key).rowcount, passages


def _delete(db: sqlite3.Connection, tenant: str, doc_ids: Sequence[str]) -> int:
    cleared = [_clear(db, {"tenant": tenant, "doc": doc_id}) for doc_id in doc_ids]
    documents, passages = sum(docs for docs, _ in cleared), sum(found for _, found in cleared)
    if documents:
        _count(db, tenant, documents=-documents, passages=-passages)
    return documents


def _set_groups(db: sqlite3.Connection, tenant: str, doc_id: str, groups: frozenset[str]) -> None:
    values = {"tenant": tenant, "doc": doc_id, "groups": _json(groups)}
    if not db.execute(_SET_GROUPS, values).rowcount:
        raise NotFound(f"no document {doc_id!r}")
    db.execute(_DELETE_ACL, {"tenant": tenant, "doc": doc_id})
    db.execute(_INSERT_ACL, values)
    _count(db, tenant, documents=0, passages=0)


def _count(db: sqlite3.Connection, tenant: str, *, documents: int, passages: int) -> None:
    db.execute(_CHANGED, {"tenant": tenant, "documents": documents, "passages": passages})


def _keyword(db: sqlite3.Connection, lookup: Lookup, wanted: Sequence[str], k: int) -> list[Passage]:
    values = {
        "match": _match(_telling(db, wanted)),
        "tenant": lookup.tenant,
        "groups": _json(lookup.groups),
        "where": json.dumps(dict(lookup.where), ensure_ascii=False),
        "k": k,
    }
    return [_passage(lookup.tenant, row) for row in db.execute(_KEYWORD, values)]


def _telling(db: sqlite3.Connection, wanted: Sequence[str]) -> Sequence[str]:
    """The terms without the common ones; all of them if they are all common."""
    passages = db.execute(_COUNT_PASSAGES).fetchone()[0]
    if passages <= COMMON_FROM:
        return wanted
    most = max(COMMON_FROM, int(COMMON_SHARE * passages))
    counts = (db.execute(_COUNT_TERM, {"match": _match([term]), "most": most + 1}).fetchone()[0] for term in wanted)
    return [term for term, count in zip(wanted, counts, strict=True) if count <= most] or wanted


def _match(wanted: Sequence[str]) -> str:
    # Terms are letters and digits only, so the quotes cannot be closed from within and no FTS5 syntax can be sent.
    return " OR ".join(f'"{term}"' for term in wanted)


def _json(groups: Collection[str]) -> str:
    return json.dumps(sorted(groups), ensure_ascii=False)


def _label(tenant: str, passage_id: str, groups: Sequence[str], trusted: bool) -> Label:
    names = (
        f"tenant:{tenant}" if group == "everyone" else group if group.startswith("user:") else f"group:{group}"
        for group in groups
    )
    return Label(
        integrity=Integrity.TRUSTED if trusted else Integrity.UNTRUSTED, readers=Readers.of(*names), sources=(passage_id,)
    )


def _passage(tenant: str, row: tuple[Any, ...]) -> Passage:
    doc, n, text, heading, start, end, title, uri, trusted, groups, score = row
    return Passage(
        id=f"{doc}-{n}",
        doc_id=doc,
        title=title,
        text=text,
        label=_label(tenant, f"{doc}-{n}", json.loads(groups), bool(trusted)),
        heading_path=tuple(json.loads(heading)),
        start=start,
        end=end,
        score=-score,  # FTS5 gives the better match the smaller number
        uri=uri,
    )


def _document(tenant: str, row: tuple[Any, ...]) -> Document:
    doc, title, text, uri, trusted, groups, meta = row
    return Document(
        id=doc,
        tenant=tenant,
        title=title,
        text=text,
        groups=frozenset(json.loads(groups)),
        trusted=bool(trusted),
        uri=uri,
        meta=json.loads(meta),
    )
