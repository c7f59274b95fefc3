"""Records and the audit log in SQLite: rows written in the transaction of an event, or in one of their own."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from quarterdeck.core.errors import Conflict
from quarterdeck.store.audit import GENESIS, Unchained, clean_audit
from quarterdeck.store.base import Beside, Put, Record
from quarterdeck.store.codec import json_text
from quarterdeck.store.instants import Clock, from_micros, iso_text, to_micros, utc_now
from quarterdeck.store.sqlite import SqliteDatabase

__all__ = ["Prepared", "SqliteRecords", "prepare", "record_of", "write_rows"]

_COLUMNS = "kind, id, data, status, owner, ref, version, created_at, updated_at, wake_at"
_STANDING = "SELECT no, version, status, owner, ref, wake_at FROM records WHERE tenant = ? AND kind = ? AND id = ?"
_INSERT = """INSERT INTO records (tenant, kind, id, status, owner, ref, wake_at, version, created_at, updated_at, data)
VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?)"""
_UPDATE = "UPDATE records SET version = version + 1, updated_at = ?, data = ? WHERE no = ?"
_MOVE = """UPDATE records SET version = version + 1, updated_at = ?, data = ?, status = ?, owner = ?, ref = ?, wake_at = ?
WHERE no = ?"""
_GET = f"SELECT {_COLUMNS} FROM records WHERE tenant = ? AND kind = ? AND id = ?"  # noqa: S608 - constants only

# One statement per index; a filter behind "IS NULL OR" can use none. `ref <> ''` repeats the condition of its index.
_REST = """ AND (:status IS NULL OR status = :status) AND (:owner IS NULL OR owner = :owner) AND (:ref IS NULL OR ref = :ref)
AND (:before IS NULL OR (created_at, id) <
  (SELECT created_at, id FROM records WHERE tenant = :tenant AND kind = :kind AND id = :before))
ORDER BY created_at DESC, id DESC LIMIT :limit"""
_OF_KIND = f"SELECT {_COLUMNS} FROM records WHERE tenant = :tenant AND kind = :kind"  # noqa: S608 - constants only
_BY_REF = _OF_KIND + " AND ref = :ref AND ref <> ''" + _REST
_BY_OWNER = _OF_KIND + " AND owner = :owner AND owner <> ''" + _REST
_BY_STATUS = _OF_KIND + " AND status = :status AND status <> ''" + _REST
_BY_KIND = _OF_KIND + _REST

_DUE = """SELECT tenant, id FROM records WHERE kind = ? AND wake_at IS NOT NULL AND wake_at <= ?
ORDER BY wake_at, no LIMIT ?"""
_OLD = """SELECT no FROM records
WHERE no > :after AND kind = :kind AND status IN (SELECT value FROM json_each(:statuses)) AND updated_at < :before
ORDER BY no LIMIT :limit"""
# Asked again in the transaction that deletes: somebody may have written it since.
_FORGET = "DELETE FROM records WHERE no IN (SELECT value FROM json_each(?)) AND updated_at < ?"

_HEAD = "SELECT seq, hash FROM audit_heads WHERE tenant = ?"
_HEADS = "SELECT tenant, seq, hash FROM audit_heads"
_SET_HEAD = """INSERT INTO audit_heads (tenant, seq, hash) VALUES (?, ?, ?)
ON CONFLICT (tenant) DO UPDATE SET seq = excluded.seq, hash = excluded.hash"""
_AUDIT = """INSERT INTO audit (tenant, seq, at, actor, subject, action, object, decision, args_hash, prev, hash)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_AUDIT_ROWS = """SELECT seq, at, actor, subject, action, object, decision, args_hash, prev, hash
FROM audit WHERE tenant = ? AND seq > ? ORDER BY seq LIMIT ?"""

_SLICE = 100  # rows forgotten at once: others wait to write meanwhile

Prepared = tuple[Put, str] | Unchained  # a row with its JSON made


def prepare(tenant: str, beside: Sequence[Beside]) -> list[Prepared]:
    """Make the JSON in the caller's thread: the writer's thread is the one that everybody waits for."""
    return [
        (row, json_text(row.record.data)) if isinstance(row, Put) else Unchained.of(tenant, clean_audit(row))
        for row in beside
    ]


def write_rows(connection: sqlite3.Connection, tenant: str, rows: Sequence[Prepared], now: int) -> None:
    """Write rows in the present transaction.

    Raises:
        Conflict: A record does not stand at the expected version. What was written before it must be undone.
    """
    audits: list[Unchained] = []
    for row in rows:
        if isinstance(row, Unchained):
            audits.append(row)
        else:
            _put(connection, tenant, *row, now)
    if audits:
        _chain(connection, tenant, audits, now)


def _put(connection: sqlite3.Connection, tenant: str, put: Put, data: str, now: int) -> None:
    record = put.record
    standing = connection.execute(_STANDING, (tenant, record.kind, record.id)).fetchone()
    version = 0 if standing is None else standing[1]
    if put.expect is not None and put.expect != version:
        raise Conflict(f"{record.kind} {record.id} is at version {version}, not {put.expect}: read it again")
    wake = None if record.wake_at is None else to_micros(record.wake_at)
    columns = (record.status, record.owner, record.ref, wake)
    if standing is None:
        connection.execute(_INSERT, (tenant, record.kind, record.id, *columns, now, now, data))
    elif standing[2:] == columns:
        connection.execute(_UPDATE, (now, data, standing[0]))  # touches no index
    else:
        connection.execute(_MOVE, (now, data, *columns, standing[0]))


def _chain(connection: sqlite3.Connection, tenant: str, audits: Sequence[Unchained], now: int) -> None:
    seq, last = connection.execute(_HEAD, (tenant,)).fetchone() or (0, bytes.fromhex(GENESIS))
    at = iso_text(now)
    for audit in audits:
        seq, prev = seq + 1, last
        last = audit.hash(seq, at, prev.hex())
        connection.execute(_AUDIT, (tenant, seq, now, *audit.columns, prev, last))
    connection.execute(_SET_HEAD, (tenant, seq, last))


class SqliteRecords:
    """`Records` in a SQLite database."""

    def __init__(self, database: SqliteDatabase, *, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    async def get(self, tenant: str, kind: str, id: str) -> Record | None:
        row = await self._database.read(lambda c: c.execute(_GET, (tenant, kind, id)).fetchone())
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
        statement = _BY_REF if ref else _BY_OWNER if owner else _BY_STATUS if status else _BY_KIND
        values = {
            "tenant": tenant,
            "kind": kind,
            "status": status,
            "owner": owner,
            "ref": ref,
            "before": before,
            "limit": limit,
        }
        rows = await self._database.read(lambda c: c.execute(statement, values).fetchall())
        return [record_of(row) for row in rows]

    async def write(self, tenant: str, rows: Sequence[Beside]) -> None:
        """Write rows in one transaction of their own. Raises Conflict when an expected version does not stand."""
        prepared, clock = prepare(tenant, rows), self._clock
        await self._database.write(lambda c: write_rows(c, tenant, prepared, to_micros(clock())))

    async def due(self, kind: str, limit: int = 100) -> list[tuple[str, str]]:
        """(tenant, id) of records that are due, longest first; see `Records.due`."""
        now = to_micros(self._clock())
        return await self._database.read(lambda c: c.execute(_DUE, (kind, now, limit)).fetchall())

    async def forget(self, kind: str, statuses: Sequence[str], before: datetime) -> int:
        """Delete records of a kind, of every tenant, last written before an instant; see `Records.forget`."""
        instant, count = to_micros(before), 0
        wanted = {"after": 0, "kind": kind, "statuses": json.dumps(list(statuses)), "before": instant, "limit": _SLICE}
        while rows := await self._database.read(partial(_numbers, wanted)):
            count += await self._database.write(partial(_forget, rows, instant))
            wanted["after"] = rows[-1]
        return count

    async def audit_rows(self, tenant: str, after: int = 0, limit: int = 1000) -> list[Mapping[str, Any]]:
        """Audit rows in order: tenant, seq, at, the fields of `Audit`, prev and hash."""
        rows = await self._database.read(partial(_as_it_is, _AUDIT_ROWS, (tenant, after, limit)))
        return [_audit_row(tenant, row) for row in rows]

    async def audit_head(self, tenant: str) -> tuple[int, str] | None:
        """Seq and hash of the tenant's last audit row, kept apart from the rows so that a cut-off end shows."""
        rows = await self._database.read(partial(_as_it_is, _HEAD, (tenant,)))
        return _head(*rows[0]) if rows else None

    async def audit_heads(self) -> Mapping[str, tuple[int, str]]:
        """Seq and hash of the last audit row of every tenant that has some."""
        rows = await self._database.read(partial(_as_it_is, _HEADS, ()))
        return {tenant: _head(seq, own) for tenant, seq, own in rows}


def _numbers(values: Mapping[str, Any], connection: sqlite3.Connection) -> list[int]:
    return [no for (no,) in connection.execute(_OLD, values)]


def _forget(numbers: Sequence[int], before: int, connection: sqlite3.Connection) -> int:
    return connection.execute(_FORGET, (json.dumps(numbers), before)).rowcount


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
        created_at=from_micros(row[7]),
        updated_at=from_micros(row[8]),
        wake_at=None if row[9] is None else from_micros(row[9]),
    )


def _as_it_is(statement: str, values: Sequence[Any], connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
    """Rows of the audit log, though somebody wrote text there that is none: a check has to name such a row."""
    connection.text_factory = _decoded
    try:
        return connection.execute(statement, values).fetchall()
    finally:
        connection.text_factory = str


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return repr(text)


def _head(seq: Any, own: Any) -> tuple[int, str]:
    return seq if isinstance(seq, int) else 0, _hex(own)


def _audit_row(tenant: str, row: tuple[Any, ...]) -> Mapping[str, Any]:
    """A row as it is read. What somebody else wrote may hold a value of any kind in any column, and is told as that."""
    told = [value if isinstance(value, str) else repr(value) for value in row[2:8]]
    texts = dict(zip(("actor", "subject", "action", "object", "decision", "args_hash"), told, strict=True))
    return {"tenant": tenant, "seq": row[0], "at": _instant(row[1]), **texts, "prev": _hex(row[8]), "hash": _hex(row[9])}


def _hex(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else repr(value)


def _instant(value: Any) -> str:
    try:
        return from_micros(value).isoformat()
    except (TypeError, OverflowError):
        return repr(value)
