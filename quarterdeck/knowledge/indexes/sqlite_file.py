"""The file of the embedded index: its tables, what it was written with, connections and transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from quarterdeck.core.errors import Misconfigured
from quarterdeck.knowledge.analyze import ANALYZER
from quarterdeck.knowledge.base import KEYWORDS, Space
from quarterdeck.knowledge.indexes.passages import digest

__all__ = ["connect", "prepare", "snapshot", "transaction"]

BUSY_S = 30.0  # seconds a writer waits for the writer of another process

# A passage's id is never given again, so whoever has read vectors up to one id need only read those behind it.
_PASSAGE = """CREATE TABLE passage(id INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, doc TEXT NOT NULL,
  n INTEGER NOT NULL, text TEXT NOT NULL, heading TEXT NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL,
  UNIQUE(tenant, doc, n))"""
_DOCUMENT = """CREATE TABLE document(tenant TEXT NOT NULL, id TEXT NOT NULL, edition INTEGER NOT NULL, uri TEXT NOT NULL,
  trusted INTEGER NOT NULL, groups TEXT NOT NULL, meta TEXT NOT NULL, next INTEGER NOT NULL, PRIMARY KEY(tenant, id))"""
_EDITION = """CREATE TABLE edition(tenant TEXT NOT NULL, doc TEXT NOT NULL, n INTEGER NOT NULL, title TEXT NOT NULL,
  text TEXT NOT NULL, sha256 TEXT NOT NULL, characters INTEGER NOT NULL, stored_at INTEGER NOT NULL,
  PRIMARY KEY(tenant, doc, n))"""
# The numbers of a deleted document are never given again, so that an old citation points at nothing else. Its name may tell
# what it was about, so only the SHA-256 of that is kept.
_FORMER = """CREATE TABLE former(tenant TEXT NOT NULL, doc_sha256 TEXT NOT NULL, edition INTEGER NOT NULL,
  next INTEGER NOT NULL, PRIMARY KEY(tenant, doc_sha256)) WITHOUT ROWID"""
_VECTOR = "CREATE TABLE vector(passage INTEGER PRIMARY KEY, unit BLOB NOT NULL)"  # of length 1, 32-bit floats
_SCHEMA = (
    "CREATE TABLE identity(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE tenant(tenant TEXT PRIMARY KEY, documents INTEGER NOT NULL, passages INTEGER NOT NULL,
         generation INTEGER NOT NULL) WITHOUT ROWID""",
    _DOCUMENT,
    _EDITION,
    _PASSAGE,
    _FORMER,
    _VECTOR,
    """CREATE TABLE acl(tenant TEXT NOT NULL, grp TEXT NOT NULL, passage INTEGER NOT NULL,
         PRIMARY KEY(tenant, grp, passage)) WITHOUT ROWID""",
    "CREATE INDEX acl_passage ON acl(passage)",  # for forgetting a document
    "CREATE VIRTUAL TABLE fts USING fts5(title, body, tokenize='porter unicode61')",
)
_SCHEMA_VERSION = "3"
# Version 1 had no vectors, and one text for each document, in the document's own row.
_FROM_VERSION_1 = (
    "ALTER TABLE passage RENAME TO old_passage",
    _PASSAGE,
    """INSERT INTO passage(id, tenant, doc, n, text, heading, start, end)
         SELECT id, tenant, doc, n, text, heading, start, end FROM old_passage ORDER BY id""",
    "DROP TABLE old_passage",
    _EDITION,
    """INSERT INTO edition(tenant, doc, n, title, text, sha256, characters, stored_at)
         SELECT tenant, id, 1, title, text, digest(text), length(text),
           CAST(strftime('%s', 'now') AS INTEGER) * 1000000 FROM document""",
    "ALTER TABLE document RENAME TO old_document",
    _DOCUMENT,
    """INSERT INTO document(tenant, id, edition, uri, trusted, groups, meta, next)
         SELECT tenant, id, 1, uri, trusted, groups, meta, next FROM old_document""",
    "DROP TABLE old_document",
    _VECTOR,
    "INSERT INTO identity(name, value) VALUES('dim', '0')",
    "UPDATE identity SET value = '2' WHERE name = 'schema'",
)
# Version 2 forgot the numbers of a document with it.
_FROM_VERSION_2 = (_FORMER, "UPDATE identity SET value = '3' WHERE name = 'schema'")

_SELECT_IDENTITY = "SELECT name, value FROM identity"
_INSERT_IDENTITY = "INSERT INTO identity(name, value) VALUES(?, ?)"
_HAS_TABLES = "SELECT EXISTS(SELECT 1 FROM sqlite_master)"


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode, to be used by one thread at a time."""
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = wal")
    # The files it was made from can be ingested again, so losing the last commits in a power cut loses nothing.
    connection.execute("PRAGMA synchronous = normal")
    return connection


@contextmanager
def transaction(db: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE") -> Iterator[sqlite3.Connection]:
    """Everything in it happens or nothing; one writer at a time."""
    db.execute(begin)
    try:
        yield db
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


@contextmanager
def snapshot(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Statements in it see one state of the file: that of the first of them."""
    with transaction(db, "BEGIN"):
        yield db


def prepare(db: sqlite3.Connection, path: Path, space: Space) -> None:
    """Make the tables of a new file, or check that an old one was written as this program would write it.

    Raises:
        Misconfigured: It was not, or it is no index.
    """
    wanted = {"analyzer": ANALYZER, "embedder": space.embedder, "dim": str(space.dim), "schema": _SCHEMA_VERSION}
    with transaction(db):
        if not db.execute(_HAS_TABLES).fetchone()[0]:
            for statement in _SCHEMA:
                db.execute(statement)
            db.executemany(_INSERT_IDENTITY, wanted.items())
        try:
            found = dict(db.execute(_SELECT_IDENTITY).fetchall())
        except sqlite3.OperationalError as error:
            raise Misconfigured(f"{path} is another program's database, no knowledge index") from error
        if found == {"analyzer": ANALYZER, "embedder": KEYWORDS.embedder, "schema": "1"} and space == KEYWORDS:
            _migrate(db, _FROM_VERSION_1)
            found = {**wanted, "schema": "2"}
        if found == {**wanted, "schema": "2"}:
            _migrate(db, _FROM_VERSION_2)
            return
        for name, value in wanted.items():
            if found.get(name) != value:
                raise Misconfigured(
                    f"the index {path} was written with {name} {found.get(name)!r}, this program has {value!r}: "
                    "delete the file and ingest again to re-index"
                )


def _migrate(db: sqlite3.Connection, steps: Sequence[str]) -> None:
    db.create_function("digest", 1, digest, deterministic=True)
    for statement in steps:
        db.execute(statement)
