"""Numbered migrations, forward and back, and the refusal to work on a schema this program does not know.

A migration is a pair of files ``NNNN_name.up.sql`` and ``NNNN_name.down.sql``. The table ``schema_versions`` says which of
them a database has, with a checksum, so that an edited migration is found as well as a missing one.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Protocol

from quarterdeck.core.errors import Misconfigured, SchemaMismatch
from quarterdeck.store.instants import to_micros, utc_now

__all__ = ["POSTGRES", "SQLITE", "Connection", "Dialect", "Migration", "applied", "check", "load", "migrate"]

_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.up\.sql\Z")
_COMMENT = re.compile(r"--[^\n]*")

_CREATE = """CREATE TABLE IF NOT EXISTS schema_versions (
  version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at BIGINT NOT NULL)"""
_APPLIED = "SELECT version, checksum FROM schema_versions ORDER BY version"
_ADD = "INSERT INTO schema_versions (version, name, checksum, applied_at) VALUES (?, ?, ?, ?)"
_REMOVE = "DELETE FROM schema_versions WHERE version = ?"


class Connection(Protocol):
    """A connection in autocommit mode, of any engine."""

    def execute(self, statement: str, /, *values: Any) -> Any:
        """Run a statement, with a sequence of values if it has places for them; returns its rows."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What engines do differently here.

    Attributes:
        begin: Statements that begin a transaction nobody else migrates beside.
        tables: Query for the names of the tables, but for those other packages keep beside ours.
        statements: Divides a script into what can be executed at once.
        place: Stands for a value.
    """

    begin: Sequence[str]
    tables: str
    statements: Callable[[str], Iterable[str]]
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step of the schema. `version` counts from 1 without a gap."""

    version: int
    name: str
    up: str
    down: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the statements, so that a comment can be mended without a migration."""
        pieces = _COMMENT.sub("", self.up).split(";")[:-1]
        return hashlib.sha256("\n".join(" ".join(f"{piece};".split()) for piece in pieces).encode()).hexdigest()


def load(engine: str) -> tuple[Migration, ...]:
    """The migrations shipped for an engine (``sqlite``, ``postgres``), in order."""
    folder = resources.files("quarterdeck.store") / "migrations" / engine
    found: list[Migration] = []
    for file in folder.iterdir():
        if match := _NAME.match(file.name):
            down = folder / f"{match[1]}_{match[2]}.down.sql"
            found.append(
                Migration(version=int(match[1]), name=match[2], up=file.read_text("utf-8"), down=down.read_text("utf-8"))
            )
    found.sort(key=lambda migration: migration.version)
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise Misconfigured(f"the migrations for {engine} are not numbered 1, 2, 3, ...: the installation is damaged")
    return tuple(found)


def _pieces(script: str) -> Iterator[str]:
    """The statements of a script, without comments. Semicolons inside strings and triggers are understood."""
    pending = ""
    for piece in _COMMENT.sub("", script).split(";")[:-1]:
        pending += piece + ";"
        if sqlite3.complete_statement(pending):
            yield " ".join(pending.split())
            pending = ""


SQLITE = Dialect(
    begin=("BEGIN IMMEDIATE",),
    tables="SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name",
    statements=_pieces,
    place="?",
)
POSTGRES = Dialect(
    begin=("BEGIN", "SELECT pg_advisory_xact_lock(8247327418893)"),  # any number nobody else locks
    tables="""SELECT table_name::text FROM information_schema.tables
        WHERE table_schema = current_schema() AND table_name NOT LIKE 'procrastinate\\_%' ORDER BY 1""",
    statements=lambda script: (script,),
    place="%s",
)


def applied(connection: Connection, dialect: Dialect = SQLITE) -> dict[int, str]:
    """Version to checksum of the migrations a database has; empty for a new one.

    Raises:
        SchemaMismatch: It has tables, but not ours.
    """
    tables = [name for (name,) in connection.execute(dialect.tables)]
    if "schema_versions" in tables:
        return dict(connection.execute(_APPLIED))
    if tables:
        raise SchemaMismatch(
            f"the database holds tables of another program ({', '.join(tables[:3])}): give another database"
        )
    return {}


def check(present: dict[int, str], migrations: Sequence[Migration]) -> None:
    """Make sure that everything a database has is known to this program.

    Raises:
        SchemaMismatch: It was written by a newer version, or with a migration that was edited or left out since.
    """
    known = {migration.version: migration for migration in migrations}
    for position, (version, checksum) in enumerate(sorted(present.items()), 1):
        if version not in known:
            raise SchemaMismatch(
                f"the database has schema version {version}, this program knows versions up to {len(migrations)}: "
                "start the newer program, or migrate the database down with it"
            )
        if checksum != known[version].checksum:
            raise SchemaMismatch(
                f"schema version {version} ({known[version].name}) of the database differs from the one of this program"
            )
        if version != position:
            raise SchemaMismatch(f"the database has schema version {version} but lacks version {position}")


def migrate(
    connection: Connection, migrations: Sequence[Migration], target: int | None = None, *, dialect: Dialect = SQLITE
) -> None:
    """Bring the schema up or down to a version, the newest by default; one transaction each.

    Processes that start at the same time take turns, and the later ones find nothing left to do.

    Raises:
        SchemaMismatch: What is there is not what this program knows; nothing is changed.
    """
    goal = len(migrations) if target is None else target
    if not 0 <= goal <= len(migrations):
        raise Misconfigured(f"there is no schema version {goal}: this program knows 0 to {len(migrations)}")
    present = applied(connection, dialect)
    check(present, migrations)
    while len(present) != goal:
        for statement in dialect.begin:
            connection.execute(statement)
        try:
            # Read again under the lock: another process may have been faster.
            present = applied(connection, dialect)
            check(present, migrations)
            connection.execute(_CREATE)
            _step(connection, migrations, len(present), goal, dialect)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        present = applied(connection, dialect)


def _step(connection: Connection, migrations: Sequence[Migration], version: int, goal: int, dialect: Dialect) -> None:
    if version < goal:
        step = migrations[version]
        for statement in dialect.statements(step.up):
            connection.execute(statement)
        values = (step.version, step.name, step.checksum, to_micros(utc_now()))
        connection.execute(_ADD.replace("?", dialect.place), values)
    elif version > goal:
        for statement in dialect.statements(migrations[version - 1].down):
            connection.execute(statement)
        connection.execute(_REMOVE.replace("?", dialect.place), (version,))
