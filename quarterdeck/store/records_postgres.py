"""Records and the audit log in Postgres: rows written in the transaction of an event, or in one of their own."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from quarterdeck.core.errors import Conflict
from quarterdeck.store.audit import GENESIS, Unchained, clean_audit
from quarterdeck.store.base import Audit, Beside, Put, Record
from quarterdeck.store.codec import json_text
from quarterdeck.store.instants import Clock
from quarterdeck.store.postgres import PATIENCE, PostgresConnection, PostgresDatabase, together

__all__ = ["PostgresRecords", "Prepared", "prepare", "record_of", "send_rows"]

_COLUMNS = "kind, id, data, status, owner, ref, version, created_at, updated_at, wake_at"
_NOW = "coalesce(%(now)s::timestamptz, now())"
_KEY = "tenant = %(tenant)s AND kind = %(kind)s AND id = %(id)s"
_VALUES = (
    f"(%(tenant)s, %(kind)s, %(id)s, %(status)s, %(owner)s, %(ref)s, %(wake_at)s::timestamptz, 1, {_NOW}, {_NOW}, %(data)s)"
)
_INSERT = f"""INSERT INTO records (tenant, kind, id, status, owner, ref, wake_at, version, created_at, updated_at, data)
VALUES {_VALUES} ON CONFLICT (tenant, kind, id) """  # noqa: S608 - constants only, here and below
# One statement for each thing a caller may expect; the one that stands aside returns nothing.
_NEW = _INSERT + "DO NOTHING RETURNING version"
_ANY = (
    _INSERT
    + """DO UPDATE SET version = records.version + 1, updated_at = excluded.updated_at, data = excluded.data,
status = excluded.status, owner = excluded.owner, ref = excluded.ref, wake_at = excluded.wake_at RETURNING version"""
)
_PRESENT = f"""UPDATE records SET version = version + 1, updated_at = {_NOW}, data = %(data)s,
status = %(status)s, owner = %(owner)s, ref = %(ref)s,
wake_at = %(wake_at)s::timestamptz WHERE {_KEY} AND version = %(expect)s RETURNING version"""  # noqa: S608
_VERSION = f"SELECT version FROM records WHERE {_KEY}"  # noqa: S608
_GET = f"SELECT {_COLUMNS} FROM records WHERE {_KEY}"  # noqa: S608

_FIND = f"SELECT {_COLUMNS} FROM records WHERE tenant = %(tenant)s AND kind = %(kind)s"  # noqa: S608
# The second halves repeat the conditions of the indexes.
_FILTERS = {
    "status": " AND status = %(status)s AND status <> ''",
    "owner": " AND owner = %(owner)s AND owner <> ''",
    "ref": " AND ref = %(ref)s AND ref <> ''",
    "before": """ AND (created_at, id) <
  (SELECT created_at, id FROM records WHERE tenant = %(tenant)s AND kind = %(kind)s AND id = %(before)s)""",
}
_EMPTY = {"status": " AND status = ''", "owner": " AND owner = ''", "ref": " AND ref = ''"}
_NEWEST = " ORDER BY created_at DESC, id DESC LIMIT %(limit)s"

_DUE = f"""SELECT tenant, id FROM records WHERE kind = %(kind)s AND wake_at IS NOT NULL AND wake_at <= {_NOW}
ORDER BY wake_at, tenant, id LIMIT %(limit)s"""  # noqa: S608
_STALE = "kind = %(kind)s AND status = ANY(%(statuses)s::text[]) AND updated_at < %(before)s"
_STALE_TENANTS = f"SELECT DISTINCT tenant FROM records WHERE {_STALE}"  # noqa: S608
_FORGET = f"DELETE FROM records WHERE tenant = %(tenant)s AND {_STALE}"  # noqa: S608

# The instant is taken once the lock is held, so that the rows of a tenant do not go back in time.
_LOCK_HEAD = """SELECT seq, hash, coalesce(%(now)s::timestamptz, clock_timestamp())
FROM audit_heads WHERE tenant = %(tenant)s FOR UPDATE"""
_FIRST_HEAD = """INSERT INTO audit_heads (tenant, seq, hash) VALUES (%(tenant)s, 0, %(genesis)s)
ON CONFLICT (tenant) DO UPDATE SET seq = audit_heads.seq
RETURNING seq, hash, coalesce(%(now)s::timestamptz, clock_timestamp())"""
_CHAIN = """WITH added AS (
  INSERT INTO audit (tenant, seq, at, actor, subject, action, object, decision, args_hash, prev, hash)
  SELECT %(tenant)s, r.seq, %(at)s, r.actor, r.subject, r.action, r.object, r.decision, r.args_hash, r.prev, r.hash
  FROM unnest(%(seqs)b::bigint[], %(actors)b::text[], %(subjects)b::text[], %(actions)b::text[], %(objects)b::text[],
    %(decisions)b::text[], %(args_hashes)b::text[], %(prevs)b::bytea[], %(hashes)b::bytea[])
    AS r (seq, actor, subject, action, object, decision, args_hash, prev, hash))
UPDATE audit_heads SET seq = %(seq)s, hash = %(hash)s WHERE tenant = %(tenant)s"""
_HEAD = "SELECT seq, hash FROM audit_heads WHERE tenant = %s"
_HEADS = "SELECT tenant, seq, hash FROM audit_heads"
# Somebody may have put an instant there that no row has: one that Python does not know would fail the whole check.
_AUDIT_ROWS = """SELECT seq, CASE WHEN at BETWEEN '0001-01-02' AND '9999-12-30' THEN at END, actor, subject, action, object,
decision, args_hash, prev, hash
FROM audit WHERE tenant = %s AND seq > %s ORDER BY seq LIMIT %s"""

Prepared = tuple[Put, str] | Unchained  # a row with its JSON made


def prepare(tenant: str, beside: Sequence[Beside]) -> list[Prepared]:
    """Make the JSON, and put the rows into the one order in which all writers lock them: records by id, the audit head last.

    Records that are written twice keep their order.
    """
    puts = sorted((row for row in beside if isinstance(row, Put)), key=lambda put: (put.record.kind, put.record.id))
    audits = [Unchained.of(tenant, clean_audit(row)) for row in beside if isinstance(row, Audit)]
    return [*((put, json_text(put.record.data)) for put in puts), *audits]


async def send_rows(
    connection: PostgresConnection, tenant: str, rows: Sequence[Prepared], now: datetime | None
) -> Callable[[], Awaitable[None]]:
    """Write prepared rows in the present transaction. Nothing is settled before what is returned was awaited.

    In a pipeline they so leave together with what was sent before them.

    Raises:
        Conflict: A record does not stand at the expected version. What was written before it must be undone.
    """
    audits = [row for row in rows if isinstance(row, Unchained)]
    puts = [(row[0], await _put(connection, tenant, *row, now)) for row in rows if not isinstance(row, Unchained)]
    values = {"tenant": tenant, "now": now, "genesis": bytes.fromhex(GENESIS)}
    lock = await connection.execute(_LOCK_HEAD, values, binary=True) if audits else None

    async def settle() -> None:
        for put, cursor in puts:
            if await cursor.fetchone() is None:
                raise await _conflict(connection, tenant, put)
        if lock is not None:
            head = await lock.fetchone() or await (await connection.execute(_FIRST_HEAD, values, binary=True)).fetchone()
            assert head is not None
            await _chain(connection, tenant, audits, *head)

    return settle


async def _put(connection: PostgresConnection, tenant: str, put: Put, data: str, now: datetime | None) -> Any:
    record = put.record
    statement = _ANY if put.expect is None else _NEW if put.expect == 0 else _PRESENT
    values = {
        "tenant": tenant,
        "kind": record.kind,
        "id": record.id,
        "status": record.status,
        "owner": record.owner,
        "ref": record.ref,
        "wake_at": record.wake_at,
        "data": data,
        "expect": put.expect,
        "now": now,
    }
    return await connection.execute(statement, values, binary=True)


async def _conflict(connection: PostgresConnection, tenant: str, put: Put) -> Conflict:
    record = put.record
    cursor = await connection.execute(_VERSION, {"tenant": tenant, "kind": record.kind, "id": record.id})
    row = await cursor.fetchone()
    version = 0 if row is None else row[0]
    return Conflict(f"{record.kind} {record.id} is at version {version}, not {put.expect}: read it again")


async def _chain(
    connection: PostgresConnection, tenant: str, audits: Sequence[Unchained], seq: int, last: bytes, at: datetime
) -> None:
    seqs = range(seq + 1, seq + 1 + len(audits))
    hashes, instant = [last], at.isoformat()
    for place, audit in zip(seqs, audits, strict=True):
        hashes.append(audit.hash(place, instant, hashes[-1].hex()))
    names = ("actors", "subjects", "actions", "objects", "decisions", "args_hashes")
    columns = {
        "seqs": list(seqs),
        "prevs": hashes[:-1],
        "hashes": hashes[1:],
        **dict(zip(names, map(list, zip(*(audit.columns for audit in audits), strict=True)), strict=True)),
    }
    await connection.execute(_CHAIN, {"tenant": tenant, "at": at, "seq": seqs[-1], "hash": hashes[-1], **columns})


class PostgresRecords:
    """`Records` in a Postgres database."""

    def __init__(self, database: PostgresDatabase, *, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock

    async def get(self, tenant: str, kind: str, id: str) -> Record | None:
        async def query(connection: PostgresConnection) -> Any:
            cursor = await connection.execute(_GET, {"tenant": tenant, "kind": kind, "id": id}, binary=True)
            return await cursor.fetchone()

        row = await self._database.run(tenant, query)
        return None if row is None else record_of(row)

    async def find(
        self,
        tenant: str,
        kind: str,
        *,
        status: str | None = None,
        owner: str | None = None,
        ref: str | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> list[Record]:
        """Newest first (by creation, then id); `before` is a record id to go on from."""
        filters = {"status": status, "owner": owner, "ref": ref, "before": before}
        wanted = "".join(
            (_FILTERS if value or name == "before" else _EMPTY)[name] for name, value in filters.items() if value is not None
        )
        statement, values = _FIND + wanted + _NEWEST, {"tenant": tenant, "kind": kind, "limit": limit, **filters}

        async def query(connection: PostgresConnection) -> Any:
            return await (await connection.execute(statement, values, binary=True)).fetchall()

        return [record_of(row) for row in await self._database.run(tenant, query)]

    async def write(self, tenant: str, rows: Sequence[Beside]) -> None:
        """Write rows in one transaction of their own. Raises Conflict when an expected version does not stand."""
        prepared, now = prepare(tenant, rows), self._clock() if self._clock else None

        async def unit(connection: PostgresConnection) -> None:
            if len(prepared) == 1 and not isinstance(prepared[0], Unchained):
                settle = await send_rows(connection, tenant, prepared, now)  # one statement is a transaction
                await settle()
                return
            async with together(connection):
                settle = await send_rows(connection, tenant, prepared, now)
                await settle()

        await self._database.run(tenant, unit)

    async def due(self, kind: str, limit: int = 100) -> list[tuple[str, str]]:
        """(tenant, id) of records that are due, longest first, looked for across tenants; see `Records.due`."""
        values = {"kind": kind, "limit": limit, "now": self._clock() if self._clock else None}

        async def query(connection: PostgresConnection) -> Any:
            return await (await connection.execute(_DUE, values, binary=True)).fetchall()

        return [(row[0], row[1]) for row in await self._database.run_across(query)]

    async def forget(self, kind: str, statuses: Sequence[str], before: datetime) -> int:
        """Delete records of a kind, of every tenant, last written before an instant; see `Records.forget`.

        Whose there are is looked for across tenants; they are deleted tenant by tenant.
        """
        values = {"kind": kind, "statuses": list(statuses), "before": before}

        async def stale(connection: PostgresConnection) -> Any:
            return await (await connection.execute(_STALE_TENANTS, values, binary=True)).fetchall()

        count = 0
        for (tenant,) in await self._database.run_across(stale):

            async def unit(connection: PostgresConnection, tenant: str = tenant) -> int:
                return (await connection.execute(_FORGET, {"tenant": tenant, **values}, binary=True)).rowcount

            count += await self._database.run(tenant, unit, patience=PATIENCE)
        return count

    async def audit_rows(self, tenant: str, after: int = 0, limit: int = 1000) -> list[Mapping[str, Any]]:
        """Audit rows in order: tenant, seq, at, the fields of `Audit`, prev and hash."""

        async def query(connection: PostgresConnection) -> Any:
            return await (await connection.execute(_AUDIT_ROWS, (tenant, after, limit), binary=True)).fetchall()

        return [_audit_row(tenant, row) for row in await self._database.run(tenant, query)]

    async def audit_head(self, tenant: str) -> tuple[int, str] | None:
        """Seq and hash of the tenant's last audit row, kept apart from the rows so that a cut-off end shows."""

        async def query(connection: PostgresConnection) -> Any:
            return await (await connection.execute(_HEAD, (tenant,), binary=True)).fetchone()

        row = await self._database.run(tenant, query)
        return None if row is None else (row[0], row[1].hex())

    async def audit_heads(self) -> Mapping[str, tuple[int, str]]:
        """Seq and hash of the last audit row of every tenant that has some, looked for across tenants."""

        async def query(connection: PostgresConnection) -> Any:
            return await (await connection.execute(_HEADS, binary=True)).fetchall()

        return {tenant: (seq, own.hex()) for tenant, seq, own in await self._database.run_across(query)}


def record_of(row: tuple[Any, ...]) -> Record:
    """The record of a row with its columns in the order every statement here reads them."""
    return Record(
        kind=row[0],
        id=row[1],
        data=json.loads(row[2]),
        status=row[3],
        owner=row[4],
        ref=row[5],
        version=row[6],
        created_at=row[7],
        updated_at=row[8],
        wake_at=row[9],
    )


def _audit_row(tenant: str, row: tuple[Any, ...]) -> Mapping[str, Any]:
    texts = dict(zip(("actor", "subject", "action", "object", "decision", "args_hash"), row[2:8], strict=True))
    at = "none" if row[1] is None else row[1].isoformat()
    return {"tenant": tenant, "seq": row[0], "at": at, **texts, "prev": row[8].hex(), "hash": row[9].hex()}
