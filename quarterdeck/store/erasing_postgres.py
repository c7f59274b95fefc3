"""Taking everything of a person or a tenant out of a Postgres database."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from quarterdeck.store.base import Record, ref_of
from quarterdeck.store.postgres import PATIENCE, PostgresConnection, PostgresDatabase, together
from quarterdeck.store.records_postgres import record_of

__all__ = ["PostgresErasing"]

_ENDED = "('done', 'failed', 'cancelled')"
_ERASE = f"""WITH gone AS (
  DELETE FROM runs WHERE tenant = %(tenant)s AND run_id = ANY(%(runs)s::text[]) AND status IN {_ENDED}
  RETURNING no, run_id),
emptied AS (DELETE FROM events USING gone WHERE tenant = %(tenant)s AND run = gone.no RETURNING blob),
orphaned AS (DELETE FROM records USING gone WHERE tenant = %(tenant)s AND ref = gone.run_id AND ref <> '')
SELECT (SELECT count(*) FROM gone), (SELECT array_agg(DISTINCT blob) FROM emptied WHERE blob IS NOT NULL)"""  # noqa: S608
_BLOBS = """DELETE FROM blobs WHERE tenant = %(tenant)s AND sha256 = ANY(%(blobs)s::bytea[])
AND NOT EXISTS (SELECT FROM runs r WHERE r.tenant = %(tenant)s AND r.config = blobs.sha256)
AND NOT EXISTS (SELECT FROM events e WHERE e.tenant = %(tenant)s AND e.blob = blobs.sha256)"""
_WANTED = """FROM records WHERE tenant = %(tenant)s AND (%(owner)s::text IS NULL OR owner = %(owner)s OR ref = %(person)s)
AND kind <> ALL(%(kept)s::text[])"""
_COLUMNS = "kind, id, data, status, owner, ref, version, created_at, updated_at, wake_at"
_READ = f"SELECT {_COLUMNS} {_WANTED} ORDER BY created_at, kind, id"
_DELETE = f"DELETE {_WANTED}"


class PostgresErasing:
    """`Erasing` in a Postgres database."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def records_of(self, tenant: str, owner: str | None, kept: Collection[str]) -> list[Record]:
        """See `Erasing.records_of`."""

        async def query(connection: PostgresConnection) -> Any:
            values = {"tenant": tenant, **_whose(owner), "kept": sorted(kept)}
            return await (await connection.execute(_READ, values, binary=True)).fetchall()

        return [record_of(row) for row in await self._database.run(tenant, query, patience=PATIENCE)]

    async def erase_runs(self, tenant: str, run_ids: Sequence[str], blobs: Sequence[str]) -> int:
        """See `Erasing.erase_runs`."""

        async def unit(connection: PostgresConnection) -> int:
            async with together(connection):
                cursor = await connection.execute(_ERASE, {"tenant": tenant, "runs": list(run_ids)}, binary=True)
                row = await cursor.fetchone()
                assert row is not None
                gone = [*(row[1] or ()), *map(bytes.fromhex, blobs)]
                if gone:
                    await connection.execute(_BLOBS, {"tenant": tenant, "blobs": gone}, binary=True)
            return int(row[0])

        return await self._database.run(tenant, unit, patience=PATIENCE)

    async def erase_records(self, tenant: str, owner: str | None, kept: Collection[str]) -> int:
        """See `Erasing.erase_records`."""
        return await self._count(tenant, _DELETE, {**_whose(owner), "kept": sorted(kept)})

    async def scrub(self) -> None:
        """Nothing: the server clears away rows that were deleted by itself (autovacuum), and its log by its own rules."""

    async def _count(self, tenant: str, statement: str, values: Mapping[str, Any]) -> int:
        async def unit(connection: PostgresConnection) -> int:
            return (await connection.execute(statement, {"tenant": tenant, **values}, binary=True)).rowcount

        return await self._database.run(tenant, unit, patience=PATIENCE)


def _whose(owner: str | None) -> dict[str, str | None]:
    return {"owner": owner, "person": None if owner is None else ref_of(owner)}
