"""Taking everything of a person or a tenant out of a SQLite database, and out of the bytes of its file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from anyio import to_thread

from quarterdeck.core.errors import StoreUnavailable
from quarterdeck.store.base import Record, ref_of
from quarterdeck.store.records_sqlite import record_of
from quarterdeck.store.sqlite import SqliteDatabase

__all__ = ["SqliteErasing", "scrub"]

_ENDED = "('done', 'failed', 'cancelled')"
_RUNS = f"""SELECT no FROM runs WHERE tenant = :tenant AND run_id IN (SELECT value FROM json_each(:runs))
AND status IN {_ENDED}"""  # noqa: S608 - constants only
_BLOBS = "SELECT DISTINCT blob FROM events WHERE run = ? AND blob IS NOT NULL"
_EVENTS = "DELETE FROM events WHERE run = ?"
_OF_RUN = "DELETE FROM records WHERE tenant = ? AND ref <> '' AND ref = (SELECT run_id FROM runs WHERE no = ?)"
_RUN = "DELETE FROM runs WHERE no = ?"
_BLOB = """DELETE FROM blobs WHERE tenant = :tenant AND sha256 = :sha256
AND NOT EXISTS (SELECT 1 FROM events WHERE blob = :sha256 AND run IN (SELECT no FROM runs WHERE tenant = :tenant))
AND NOT EXISTS (SELECT 1 FROM runs WHERE tenant = :tenant AND config = :sha256)"""
_WANTED = """FROM records WHERE tenant = :tenant AND (:owner IS NULL OR owner = :owner OR ref = :person)
AND kind NOT IN (SELECT value FROM json_each(:kept))"""
_COLUMNS = "kind, id, data, status, owner, ref, version, created_at, updated_at, wake_at"
_READ = f"SELECT {_COLUMNS} {_WANTED} ORDER BY no"
_DELETE = f"DELETE {_WANTED}"


class SqliteErasing:
    """`Erasing` in a SQLite database."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def records_of(self, tenant: str, owner: str | None, kept: Collection[str]) -> list[Record]:
        """See `Erasing.records_of`."""
        values = {"tenant": tenant, **_whose(owner), "kept": json.dumps(sorted(kept))}
        rows = await self._database.read(lambda c: c.execute(_READ, values).fetchall())
        return [record_of(row) for row in rows]

    async def erase_runs(self, tenant: str, run_ids: Sequence[str], blobs: Sequence[str]) -> int:
        """See `Erasing.erase_runs`."""
        also = [bytes.fromhex(sha256) for sha256 in blobs]
        return await self._database.write(partial(_erase_runs, tenant, json.dumps(list(run_ids)), also))

    async def erase_records(self, tenant: str, owner: str | None, kept: Collection[str]) -> int:
        """See `Erasing.erase_records`."""
        values = {"tenant": tenant, **_whose(owner), "kept": json.dumps(sorted(kept))}
        return await self._database.write(lambda c: c.execute(_DELETE, values).rowcount)

    async def scrub(self) -> None:
        """See `Erasing.scrub`. Others wait to write meanwhile: about a second for each 100 MB."""
        path = await self._database.read(lambda c: c.execute("PRAGMA database_list").fetchone()[2])
        await to_thread.run_sync(scrub, Path(path))


def _whose(owner: str | None) -> dict[str, str | None]:
    return {"owner": owner, "person": None if owner is None else ref_of(owner)}


def scrub(path: Path) -> None:
    """Write a database's file anew without what was deleted, its full-text tables too. Blocks. Raises StoreUnavailable."""
    connection = sqlite3.connect(path, timeout=30.0, isolation_level=None)
    try:
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%USING fts5%'"
        ):
            # Words of deleted rows rest in its segments until these are merged.
            quoted = name.replace('"', '""')
            connection.execute(f'INSERT INTO "{quoted}"("{quoted}") VALUES (\'optimize\')')  # noqa: S608 - a quoted name
        connection.execute("VACUUM")
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise StoreUnavailable(
                f"the write-ahead log of {path} is being read and still holds what was deleted: try again"
            )
    except sqlite3.Error as error:
        raise StoreUnavailable(f"the database {path} cannot be written anew now: {error}") from error
    finally:
        connection.close()


def _erase_runs(tenant: str, runs: str, also: Sequence[bytes], connection: sqlite3.Connection) -> int:
    numbers = [no for (no,) in connection.execute(_RUNS, {"tenant": tenant, "runs": runs}).fetchall()]
    blobs = set(also)
    for no in numbers:
        blobs |= {sha256 for (sha256,) in connection.execute(_BLOBS, (no,)).fetchall()}
        connection.execute(_EVENTS, (no,))
        connection.execute(_OF_RUN, (tenant, no))
        connection.execute(_RUN, (no,))
    for sha256 in blobs:
        connection.execute(_BLOB, {"tenant": tenant, "sha256": sha256})
    return len(numbers)
