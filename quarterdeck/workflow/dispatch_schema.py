"""The queue's own tables: the SQL its package ships, applied once and written down beside our migrations."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
from procrastinate.schema import SchemaManager
from psycopg.rows import scalar_row

from quarterdeck.core.errors import SchemaMismatch

__all__ = ["PART", "apply_schema"]

PART = "procrastinate"

_WHOLE = "schema.sql"  # today's schema at once: for a database that has none of it
_OWN = {
    # Whether a run has another job is asked at each fetch and each end of one. Without this it is a scan of all there are,
    # and as the planner cannot know how many wait in a table that is mostly empty, one of them for each: with 10,000 jobs
    # waiting, a fetch took 1.6 s.
    "jobs_open_by_lock.sql": "CREATE INDEX procrastinate_jobs_open_by_lock "
    "ON procrastinate_jobs (lock) WHERE status IN ('todo', 'doing')",
    # The queue knows no tenants, and whoever works on it needs no right to what is a tenant's.
    "grants.sql": """GRANT SELECT, INSERT, UPDATE, DELETE ON procrastinate_jobs, procrastinate_events, procrastinate_workers,
  procrastinate_periodic_defers TO quarterdeck_dispatch;
GRANT USAGE ON SEQUENCE procrastinate_jobs_id_seq, procrastinate_events_id_seq, procrastinate_periodic_defers_id_seq
  TO quarterdeck_dispatch;
GRANT SELECT ON schema_parts TO PUBLIC""",
}
_LOCK = 0x71_64_71_75_65_75_65  # any number nobody else locks: replicas that start together take turns
_PATIENCE = "30s"

_NAMES = "SELECT name FROM schema_parts WHERE part = %s"
_ADD = "INSERT INTO schema_parts (part, name, checksum, applied_at) VALUES (%s, %s, %s, now())"
_THERE = "SELECT to_regclass('procrastinate_jobs') IS NOT NULL"


async def apply_schema(connection: psycopg.AsyncConnection[object]) -> Sequence[str]:
    """Bring the queue's tables to the version of the installed package.

    Later versions bring files that are applied in the order of their names, each in a transaction of its own: some of what
    they do (a new value of an enumeration) can only be used after a commit. Files are not compared with what was applied:
    the package may mend a comment in one without changing what it does.

    Args:
        connection: In autocommit mode, of a login that may create tables, to a database that has our own.

    Returns:
        Names of the files applied now; none when the tables are up to date, which takes one query and no right.

    Raises:
        SchemaMismatch: The tables exist, but nothing says which version of them.
    """
    if await _applied(connection) >= set(_files()):
        return ()
    await connection.execute("SELECT set_config('lock_timeout', %s, false)", (_PATIENCE,))
    await connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
    try:
        return await _bring_up(connection)
    finally:
        await connection.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))


async def _bring_up(connection: psycopg.AsyncConnection[object]) -> Sequence[str]:
    done = await _applied(connection)
    ran: list[str] = []
    if not done:
        await _refuse_unknown(connection)
        async with connection.transaction():
            await _run(connection, _WHOLE, SchemaManager.get_schema())
            for name, path in _migrations():  # the schema of today has them all in it
                await _note(connection, name, path.read_bytes())
        ran.append(_WHOLE)
        done = await _applied(connection)
    for name, path in _migrations():
        if name not in done:
            async with connection.transaction():
                await _run(connection, name, path.read_text("utf-8"))
            ran.append(name)
    for name, statement in _OWN.items():
        if name not in done:
            async with connection.transaction():
                await _run(connection, name, statement)
            ran.append(name)
    return ran


async def _refuse_unknown(connection: psycopg.AsyncConnection[object]) -> None:
    cursor = connection.cursor(row_factory=scalar_row)
    if await (await cursor.execute(_THERE)).fetchone():
        raise SchemaMismatch(
            "the database holds a Procrastinate queue of another program: give another database, or drop its tables"
        )


async def _run(connection: psycopg.AsyncConnection[object], name: str, statements: str) -> None:
    await connection.execute(statements.encode())
    await _note(connection, name, statements.encode())


async def _note(connection: psycopg.AsyncConnection[object], name: str, content: bytes) -> None:
    await connection.execute(_ADD, (PART, name, hashlib.sha256(content).hexdigest()))


async def _applied(connection: psycopg.AsyncConnection[object]) -> set[str]:
    cursor = connection.cursor(row_factory=scalar_row)
    return set(await (await cursor.execute(_NAMES, (PART,))).fetchall())


def _files() -> Iterator[str]:
    yield _WHOLE
    yield from (name for name, _ in _migrations())
    yield from _OWN


def _migrations() -> list[tuple[str, Path]]:
    folder = Path(SchemaManager.get_migrations_path())
    return sorted((path.name, path) for path in folder.glob("*.sql"))
