"""The embedded store: one data folder, one SQLite database in it."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from quarterdeck.store.erasing_sqlite import SqliteErasing
from quarterdeck.store.instants import Clock, utc_now
from quarterdeck.store.journal_sqlite import SqliteJournal
from quarterdeck.store.keyvalue import SqliteKeyValue
from quarterdeck.store.migrate import load, migrate
from quarterdeck.store.records_sqlite import SqliteRecords
from quarterdeck.store.sqlite import SqliteDatabase, connect, unusable

__all__ = ["DATABASE_NAME", "SqliteStore", "migrate_sqlite", "open_sqlite"]

DATABASE_NAME = "quarterdeck.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteStore:
    """What rests in one database, under the protocols it is used by."""

    database: SqliteDatabase
    journal: SqliteJournal
    records: SqliteRecords
    keyvalue: SqliteKeyValue
    erasing: SqliteErasing

    async def close(self) -> None:
        """Finish what is queued and let go of the file. May be called again."""
        await self.database.close()


async def migrate_sqlite(folder: str | os.PathLike[str], target: int | None = None) -> None:
    """Bring the schema up or down to a version, the newest by default. What a version does not have goes with the step down.

    Raises:
        SchemaMismatch: It was written by a newer or another program.
        StoreUnavailable: It cannot be opened, or is damaged.
    """
    path = Path(folder) / DATABASE_NAME

    def work() -> None:
        connection = connect(path)
        try:
            migrate(connection, load("sqlite"), target)
        except sqlite3.Error as error:
            raise unusable(path, error) from error
        finally:
            connection.close()

    await to_thread.run_sync(work)


def open_sqlite(folder: str | os.PathLike[str], *, clock: Clock = utc_now) -> SqliteStore:
    """Open the store of a data folder, making both if need be. Blocks for some milliseconds: for the start of a program.

    Several processes may have it open; only one of them may advance runs (`FolderLock`).

    Raises:
        SchemaMismatch: It was written by a newer or another program.
        StoreUnavailable: It cannot be opened.
    """
    database = SqliteDatabase.open(Path(folder) / DATABASE_NAME)
    return SqliteStore(
        database=database,
        journal=SqliteJournal(database, clock=clock),
        records=SqliteRecords(database, clock=clock),
        keyvalue=SqliteKeyValue(database, clock=clock),
        erasing=SqliteErasing(database),
    )
