"""The index in Postgres as something to copy from, whichever analyzer and embedder it was written with."""

from __future__ import annotations

import json
from collections.abc import Sequence

from psycopg.rows import TupleRow

from quarterdeck.core.errors import Misconfigured
from quarterdeck.knowledge.base import Chunk, Document
from quarterdeck.knowledge.indexes.passages import storable
from quarterdeck.store.postgres import PostgresConnection, PostgresDatabase, together

__all__ = ["PostgresArchive"]

_STANDS = "SELECT to_regclass('quarterdeck_knowledge.document') IS NOT NULL"
_IDS = "SELECT id FROM quarterdeck_knowledge.document WHERE tenant = %s ORDER BY id"
_DOCUMENT = """SELECT e.title, e.text, d.groups, d.trusted, d.uri, d.meta
FROM quarterdeck_knowledge.document AS d
JOIN quarterdeck_knowledge.edition AS e ON e.tenant = d.tenant AND e.doc = d.id AND e.n = d.edition
WHERE d.tenant = %s AND d.id = %s"""
_CHUNKS = """SELECT text, start, stop, heading FROM quarterdeck_knowledge.passage WHERE tenant = %s AND doc = %s
ORDER BY start, n"""
_ONE_MOMENT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"


class PostgresArchive:
    """`knowledge.ingest_copy.Archive` of a database, where row-level security shows one tenant at a time."""

    def __init__(self, database: PostgresDatabase, tenants: Sequence[str]) -> None:
        self._database = database
        self._tenants = tenants

    @classmethod
    async def open(cls, url: str, tenants: Sequence[str]) -> PostgresArchive:
        """
        Args:
            tenants: Those there may be: a login that sees one tenant at a time cannot find them out.

        Raises:
            Misconfigured: There is no index in the database.
            StoreUnavailable: It cannot be reached.
        """
        database = PostgresDatabase(url, wait_s=10.0, answer_s=60.0, max_connections=2)
        await database.open()
        archive = cls(database, tenants)
        try:
            if not (await archive._rows("", _STANDS))[0][0]:
                raise Misconfigured("there is no knowledge index in that database")
        except BaseException:
            await database.close()
            raise
        return archive

    async def tenants(self) -> list[str]:
        return [tenant for tenant in self._tenants if await self.ids(tenant)]

    async def ids(self, tenant: str) -> list[str]:
        return [doc for (doc,) in await self._rows(tenant, _IDS, tenant)] if storable(tenant) else []

    async def read(self, tenant: str, doc_id: str) -> tuple[Document, Sequence[Chunk]] | None:
        async def look(connection: PostgresConnection) -> tuple[TupleRow | None, list[TupleRow]]:
            async with together(connection):
                await connection.execute(_ONE_MOMENT)
                row = await (await connection.execute(_DOCUMENT, (tenant, doc_id))).fetchone()
                return row, await (await connection.execute(_CHUNKS, (tenant, doc_id))).fetchall()

        found, chunks = await self._database.run(tenant, look)
        if found is None:
            return None
        title, text, groups, trusted, uri, meta = found
        document = Document(
            id=doc_id,
            tenant=tenant,
            title=title,
            text=text,
            groups=frozenset(groups),
            trusted=trusted,
            uri=uri,
            meta=meta,
        )
        return document, [
            Chunk(text=text, start=start, end=stop, heading_path=tuple(json.loads(heading)))
            for text, start, stop, heading in chunks
        ]

    async def close(self) -> None:
        await self._database.close()

    async def _rows(self, tenant: str, statement: str, *values: str) -> list[TupleRow]:
        async def look(connection: PostgresConnection) -> list[TupleRow]:
            return await (await connection.execute(statement.encode(), values)).fetchall()

        return await self._database.run(tenant, look)
