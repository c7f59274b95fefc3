"""The tables of an index in Postgres, in a schema of their own, and what they were made with.

Rows are seen under row-level security by the role that everything of a tenant is read with. Under it Postgres uses an index
only for comparisons that are known to tell nothing of other rows: equality is, overlap of arrays and text search are not. So
who may read stands twice, as rows of `reader` where few passages must be found, and as an array where many are passed by.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from psycopg import errors

from quarterdeck.core.errors import Misconfigured
from quarterdeck.knowledge.analyze import ANALYZER
from quarterdeck.knowledge.base import Space
from quarterdeck.store.migrate import Connection

__all__ = ["prepare"]

_VERSION = "2"
_MOST_NUMBERS = 2_000  # of a vector, that pgvector can put into an index
_LEAST_PGVECTOR = (0, 8)  # searches on until enough rows pass the filter

_LOCK = "SELECT pg_advisory_xact_lock(8247327418894)"  # any number nobody else locks
_STANDS = "SELECT to_regclass('quarterdeck_knowledge.identity') IS NOT NULL"
_IDENTITY = "SELECT name, value FROM quarterdeck_knowledge.identity"
_INSERT_IDENTITY = "INSERT INTO quarterdeck_knowledge.identity (name, value) VALUES (%s, %s)"
_PGVECTOR = "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
_MAKE_PGVECTOR = "CREATE EXTENSION IF NOT EXISTS vector"

# A role nobody logs in as; connections take it on, so that even an owner's or a superuser's login works under the policies.
# Roles belong to the whole server: another database of it may have made it already.
_ROLE = """DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'quarterdeck_app') THEN
    BEGIN
      CREATE ROLE quarterdeck_app NOLOGIN;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
      NULL;
    END;
  END IF;
  BEGIN
    GRANT quarterdeck_app TO CURRENT_USER;
  EXCEPTION WHEN insufficient_privilege THEN
    NULL;  -- an administrator says who may take it on; whoever may not is told below
  END;
END $$"""
_TAKE_ROLE = "SET LOCAL ROLE quarterdeck_app"

# Text is compared byte by byte (collation C): faster, and the same order in every engine and installation.
_SCHEMA = """
CREATE SCHEMA quarterdeck_knowledge;
GRANT USAGE ON SCHEMA quarterdeck_knowledge TO quarterdeck_app;
CREATE TABLE quarterdeck_knowledge.identity (name text PRIMARY KEY, value text NOT NULL);
GRANT SELECT ON quarterdeck_knowledge.identity TO quarterdeck_app;
CREATE TABLE quarterdeck_knowledge.tenant (
  tenant text COLLATE "C" PRIMARY KEY,
  documents bigint NOT NULL,
  passages bigint NOT NULL,
  terms bigint NOT NULL,                   -- of all passages, for their average length
  generation bigint NOT NULL
) WITH (fillfactor = 20);                  -- one row per tenant, rewritten and locked by every change
CREATE TABLE quarterdeck_knowledge.document (
  tenant text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  edition integer NOT NULL,
  uri text NOT NULL,
  trusted boolean NOT NULL,
  groups text[] COLLATE "C" NOT NULL,
  meta jsonb NOT NULL,
  next integer NOT NULL,                   -- number of the next new passage
  PRIMARY KEY (tenant, id));
CREATE TABLE quarterdeck_knowledge.edition (
  tenant text COLLATE "C" NOT NULL,
  doc text COLLATE "C" NOT NULL,
  n integer NOT NULL,
  title text NOT NULL,
  text text NOT NULL,
  sha256 text NOT NULL,
  characters integer NOT NULL,
  stored_at timestamptz NOT NULL,
  PRIMARY KEY (tenant, doc, n));
CREATE TABLE quarterdeck_knowledge.reader (
  tenant text COLLATE "C" NOT NULL,
  grp text COLLATE "C" NOT NULL,
  doc text COLLATE "C" NOT NULL,
  passages integer NOT NULL,               -- of the document
  PRIMARY KEY (tenant, grp, doc) INCLUDE (passages));
CREATE INDEX reader_doc ON quarterdeck_knowledge.reader (tenant, doc);
CREATE TABLE quarterdeck_knowledge.passage (
  tenant text COLLATE "C" NOT NULL,
  id bigint GENERATED ALWAYS AS IDENTITY,
  doc text COLLATE "C" NOT NULL,
  n integer NOT NULL,
  heading text NOT NULL,                   -- JSON
  start integer NOT NULL,
  stop integer NOT NULL,
  terms integer NOT NULL,                  -- how many, those of the title and the headings with them
  groups text[] COLLATE "C" NOT NULL,
  text text NOT NULL,
  PRIMARY KEY (tenant, id));
CREATE UNIQUE INDEX passage_n ON quarterdeck_knowledge.passage (tenant, doc, n);
CREATE TABLE quarterdeck_knowledge.post (
  tenant text COLLATE "C" NOT NULL,
  term text COLLATE "C" NOT NULL,          -- an English word's stem
  passage bigint NOT NULL,
  often real NOT NULL,                     -- twice for each time in the title or a heading
  terms integer NOT NULL,                  -- of the passage
  PRIMARY KEY (tenant, term, passage) INCLUDE (often, terms));
CREATE INDEX post_passage ON quarterdeck_knowledge.post (passage);
"""
# The numbers of a deleted document are never given again, so that an old citation points at nothing else. Its name may tell
# what it was about, so only the SHA-256 of that is kept.
_FORMER = """
CREATE TABLE quarterdeck_knowledge.former (
  tenant text COLLATE "C" NOT NULL,
  doc_sha256 text COLLATE "C" NOT NULL,
  edition integer NOT NULL,
  next integer NOT NULL,
  PRIMARY KEY (tenant, doc_sha256));
"""
_FROM_VERSION_1 = "UPDATE quarterdeck_knowledge.identity SET value = '2' WHERE name = 'schema'"
_VECTOR = """
CREATE TABLE quarterdeck_knowledge.vector (
  tenant text COLLATE "C" NOT NULL,
  passage bigint PRIMARY KEY,
  doc text COLLATE "C" NOT NULL,
  groups text[] COLLATE "C" NOT NULL,
  numbers vector({dim}) NOT NULL);
CREATE INDEX vector_doc ON quarterdeck_knowledge.vector (tenant, doc);
CREATE INDEX vector_nearest ON quarterdeck_knowledge.vector USING hnsw (numbers vector_cosine_ops);
"""
_SECURED = """
ALTER TABLE quarterdeck_knowledge.{table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON quarterdeck_knowledge.{table} TO quarterdeck_app
  USING (tenant = nullif(current_setting('quarterdeck.tenant', true), ''));
GRANT SELECT, INSERT, UPDATE, DELETE ON quarterdeck_knowledge.{table} TO quarterdeck_app;
"""
_TABLES = ("tenant", "document", "edition", "reader", "passage", "post", "former")


def prepare(connection: Connection, space: Space) -> None:
    """Make the tables where there are none, or check that they were made as this program would make them.

    Processes that open an index at the same time take turns.

    Raises:
        Misconfigured: They were not; or the login may not make them, or pgvector is missing.
    """
    wanted = _wanted(space)
    connection.execute("BEGIN")
    try:
        connection.execute(_LOCK)
        if not _one(connection, _STANDS):
            _make(connection, space, wanted)
        _migrate(connection, wanted)
        _check(connection, space, wanted)
        connection.execute(_TAKE_ROLE)
    except errors.InsufficientPrivilege as error:
        connection.execute("ROLLBACK")
        raise Misconfigured(
            f"the database login may not set up or use the knowledge index ({error.diag.message_primary}): "
            "an administrator makes it once, and grants quarterdeck_app to the login"
        ) from error
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _make(connection: Connection, space: Space, wanted: Mapping[str, str]) -> None:
    if space.dim:
        _make_pgvector(connection)
    connection.execute(_ROLE)
    connection.execute(_SCHEMA)
    connection.execute(_FORMER)
    if space.dim:
        connection.execute(_VECTOR.format(dim=space.dim))
    for table in (*_TABLES, *(["vector"] if space.dim else [])):
        connection.execute(_SECURED.format(table=table))
    for row in wanted.items():
        connection.execute(_INSERT_IDENTITY, row)


def _migrate(connection: Connection, wanted: Mapping[str, str]) -> None:
    if dict(connection.execute(_IDENTITY)) == {**wanted, "schema": "1"}:
        connection.execute(_FORMER)
        connection.execute(_SECURED.format(table="former"))
        connection.execute(_FROM_VERSION_1)


def _make_pgvector(connection: Connection) -> None:
    try:
        connection.execute(_MAKE_PGVECTOR)
    except (errors.FeatureNotSupported, errors.UndefinedFile, errors.InsufficientPrivilege) as error:
        raise Misconfigured(
            f"an index with vectors needs the extension pgvector ({error.diag.message_primary}): have it installed on the "
            "database server, and CREATE EXTENSION vector done by an administrator"
        ) from error


def _check(connection: Connection, space: Space, wanted: Mapping[str, str]) -> None:
    found = dict(connection.execute(_IDENTITY))
    for name, value in wanted.items():
        if found.get(name) != value:
            raise Misconfigured(
                f"the index in this database was made with {name} {found.get(name)!r}, this program has {value!r}: "
                "drop its schema quarterdeck_knowledge and ingest again to re-index"
            )
    if not space.dim:
        return
    version = str(_one(connection, _PGVECTOR))
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < _LEAST_PGVECTOR:
        raise Misconfigured(f"pgvector {version} leaves out what a filter hides: update it to 0.8 or later")


def _wanted(space: Space) -> Mapping[str, str]:
    if space.dim > _MOST_NUMBERS:
        raise Misconfigured(
            f"{space.embedder} makes vectors of {space.dim} numbers, pgvector finds those of up to {_MOST_NUMBERS} quickly: "
            "ask the model for shorter ones"
        )
    return {"analyzer": ANALYZER, "embedder": space.embedder, "dim": str(space.dim), "schema": _VERSION}


def _one(connection: Connection, statement: str) -> Any:
    row = connection.execute(statement).fetchone()
    return None if row is None else row[0]
