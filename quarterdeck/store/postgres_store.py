"""The store of a fleet: one Postgres database, for as many processes as there are."""

from __future__ import annotations

from dataclasses import dataclass

from quarterdeck.store.erasing_postgres import PostgresErasing
from quarterdeck.store.instants import Clock
from quarterdeck.store.journal_postgres import PostgresJournal
from quarterdeck.store.keyvalue_postgres import PostgresKeyValue
from quarterdeck.store.postgres import PostgresDatabase, check_postgres, migrate_postgres
from quarterdeck.store.records_postgres import PostgresRecords

__all__ = ["PostgresStore", "open_postgres"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresStore:
    """What rests in one database, under the protocols it is used by."""

    database: PostgresDatabase
    journal: PostgresJournal
    records: PostgresRecords
    keyvalue: PostgresKeyValue
    erasing: PostgresErasing

    async def close(self) -> None:
        """Let go of all connections. May be called again."""
        await self.database.close()


async def open_postgres(
    url: str,
    *,
    wait_s: float = 0.8,
    answer_s: float = 10.0,
    max_connections: int = 10,
    migrate: bool = True,
    clock: Clock | None = None,
) -> PostgresStore:
    """Open the store in a database, bringing its schema up to date if need be.

    Args:
        wait_s: How long whoever stores something waits for a connection.
        answer_s: How long they then wait for the database to answer.
        max_connections: Of this process; two more when it looks for runs that want a worker.
        migrate: False for a login that may not change the schema: it must be of this version.
        clock: None for the database's own, the only one that all processes share.

    Raises:
        SchemaMismatch: It was written by a newer or another program, or lacks what this one needs.
        StoreUnavailable: It cannot be reached.
        Misconfigured: The URL is none of a Postgres database.
    """
    database = PostgresDatabase(url, wait_s=wait_s, answer_s=answer_s, max_connections=max_connections)
    await (migrate_postgres(url) if migrate else check_postgres(url))
    await database.open()
    return PostgresStore(
        database=database,
        journal=PostgresJournal(database, clock=clock),
        records=PostgresRecords(database, clock=clock),
        keyvalue=PostgresKeyValue(database, clock=clock),
        erasing=PostgresErasing(database),
    )
