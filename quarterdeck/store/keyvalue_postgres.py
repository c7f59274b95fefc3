"""State by key (row R12) in a Postgres database."""

from __future__ import annotations

from typing import Any

from quarterdeck.store.instants import Clock
from quarterdeck.store.keyvalue import check_key, state_uri, uri_key
from quarterdeck.store.postgres import PostgresConnection, PostgresDatabase

__all__ = ["PostgresKeyValue"]

_SAVE = """INSERT INTO keyvalue (tenant, key, bytes, updated_at)
VALUES (%(tenant)s, %(key)s, %(bytes)s, coalesce(%(now)s::timestamptz, now()))
ON CONFLICT (tenant, key) DO UPDATE SET bytes = excluded.bytes, updated_at = excluded.updated_at"""
_LOAD = "SELECT bytes FROM keyvalue WHERE tenant = %(tenant)s AND key = %(key)s"
_CLEAR_ONE = "DELETE FROM keyvalue WHERE tenant = %(tenant)s AND key = %(key)s"
_CLEAR_ALL = "DELETE FROM keyvalue WHERE tenant = %(tenant)s"


class PostgresKeyValue:
    """`KeyValue` in a Postgres database."""

    scheme = "postgresql"

    def __init__(self, database: PostgresDatabase, *, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock

    async def save(self, tenant: str, key: str, payload: bytes) -> str:
        """Keep `payload`, replacing what was there; returns a URI for `load_uri`."""
        check_key(tenant, key)
        values = {"tenant": tenant, "key": key, "bytes": payload, "now": self._clock() if self._clock else None}

        async def unit(connection: PostgresConnection) -> None:
            await connection.execute(_SAVE, values)

        await self._database.run(tenant, unit)
        return state_uri(self.scheme, tenant, key)

    async def load(self, tenant: str, key: str) -> bytes | None:
        check_key(tenant, key)

        async def query(connection: PostgresConnection) -> Any:
            return await (await connection.execute(_LOAD, {"tenant": tenant, "key": key}, binary=True)).fetchone()

        row = await self._database.run(tenant, query)
        return None if row is None else row[0]

    async def load_uri(self, tenant: str, uri: str) -> bytes | None:
        """What `save` kept under the URI it returned; None for another tenant's."""
        key = uri_key(self.scheme, tenant, uri)
        return None if key is None else await self.load(tenant, key)

    async def clear(self, tenant: str, key: str | None = None) -> int:
        """Forget one key, or without a key all of the tenant's. Returns how many were forgotten."""
        check_key(tenant, key if key is not None else "all")
        statement = _CLEAR_ALL if key is None else _CLEAR_ONE

        async def unit(connection: PostgresConnection) -> int:
            return (await connection.execute(statement, {"tenant": tenant, "key": key})).rowcount

        return await self._database.run(tenant, unit)
