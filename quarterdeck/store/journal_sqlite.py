"""The journal in SQLite: runs, their events, and blobs."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from quarterdeck.core.errors import Fenced, InvalidInput, NotFound
from quarterdeck.core.events import Event, RetryRequested, RunStarted, StateFolded
from quarterdeck.core.runs import RunStatus
from quarterdeck.store.base import Appended, Beside, Claim, Entry, RunRow
from quarterdeck.store.blobs import BLOB_GRACE, Packed, hash_bytes, pack
from quarterdeck.store.codec import decode
from quarterdeck.store.instants import Clock, from_micros, to_micros, utc_now
from quarterdeck.store.records_sqlite import prepare, write_rows
from quarterdeck.store.sqlite import SqliteDatabase
from quarterdeck.store.standing import after_append, after_post, check_end, claimable, failure, open_to

__all__ = ["SqliteJournal"]

PAGE = 500  # events read at once
SLICE = 100  # runs deleted per transaction, so that others can write in between
DECODE_HERE = 200  # events decoded in the loop's thread; more would hold it up for milliseconds
_SEQ_BITS = 24

_CREATE = """INSERT INTO runs
(run_id, tenant, agent, user, session_id, request_id, config, status, head, epoch, attempts, wake_at, created_at, updated_at)
VALUES (?, ?, ?, ?, ?, ?, ?, 'ready', 1, 0, 0, NULL, ?, ?) ON CONFLICT (tenant, run_id) DO NOTHING"""
_STANDING = "SELECT no, head, epoch, attempts, status, wake_at FROM runs WHERE tenant = ? AND run_id = ?"
_CLAIMING = "SELECT no, head, epoch, attempts, status, folded_upto, folded_seq FROM runs WHERE tenant = ? AND run_id = ?"
_CLAIMED = "UPDATE runs SET status = 'running', epoch = ?, attempts = ?, wake_at = NULL, updated_at = ? WHERE no = ?"
_GROWN = "UPDATE runs SET head = ?, attempts = 0, updated_at = ? WHERE no = ?"  # touches no index: the hot path
_MOVED = "UPDATE runs SET head = ?, attempts = 0, updated_at = ?, status = ?, wake_at = ? WHERE no = ?"
_POSTED = "UPDATE runs SET head = ? WHERE no = ?"  # a running run's own clock is its worker's: a dead one must be noticed
_WOKEN = "UPDATE runs SET head = ?, status = 'ready', wake_at = NULL, updated_at = ? WHERE no = ?"

_FAILED = "UPDATE runs SET code = ? WHERE no = ?"
_RETRIED = "UPDATE runs SET code = NULL, attempts = 0 WHERE no = ?"
_FOLDED = "UPDATE runs SET folded_upto = ?, folded_seq = ? WHERE no = ?"

_INSERT_EVENT = """INSERT INTO events (id, kind, key, at, data, blob) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (run, key) WHERE key IS NOT NULL DO NOTHING"""
_EVENTS = """SELECT e.seq, e.kind, e.key, e.at, coalesce(b.bytes, e.data)
FROM events e LEFT JOIN blobs b ON b.tenant = ? AND b.sha256 = e.blob
WHERE e.id > ? AND e.id <= ? ORDER BY e.id"""
_EVENT = """SELECT e.seq, e.kind, e.key, e.at, coalesce(b.bytes, e.data)
FROM events e LEFT JOIN blobs b ON b.tenant = ? AND b.sha256 = e.blob WHERE e.id = ?"""
_READ = """SELECT e.seq, e.kind, e.key, e.at, coalesce(b.bytes, e.data)
FROM runs r JOIN events e ON e.id > (r.no << 24 | ?) AND e.id < (r.no + 1) << 24
LEFT JOIN blobs b ON b.tenant = r.tenant AND b.sha256 = e.blob
WHERE r.tenant = ? AND r.run_id = ? ORDER BY e.id LIMIT ?"""

_ROW = """SELECT run_id, tenant, agent, user, session_id, status, head, attempts, wake_at, created_at, updated_at, code
FROM runs WHERE tenant = :tenant"""
_FIND = _ROW + " AND run_id = :run_id"
# One statement per index; a filter behind "IS NULL OR" can use none.
_REST = """ AND (:status IS NULL OR status = :status) AND (:user IS NULL OR user = :user) AND (:code IS NULL OR code = :code)
AND (:session_id IS NULL OR session_id = :session_id)
AND (:before IS NULL OR no < (SELECT no FROM runs WHERE tenant = :tenant AND run_id = :before))
ORDER BY no DESC LIMIT :limit"""
_BY_SESSION = _ROW + " AND session_id = :session_id" + _REST
_BY_REQUEST = _ROW + " AND request_id = :request_id" + _REST
_BY_USER = _ROW + " AND user = :user" + _REST
_BY_CODE = _ROW + " AND code = :code AND code IS NOT NULL" + _REST
_BY_TENANT = _ROW + _REST
_HEAD = "SELECT head, status FROM runs WHERE tenant = ? AND run_id = ?"

# Each part repeats the condition of the index runs_open to the letter: SQLite uses a partial index only then.
_DUE = """SELECT tenant, run_id FROM (
  SELECT * FROM (SELECT tenant, run_id, 0 AS part, no AS place FROM runs
    WHERE status IN ('ready', 'running', 'waiting') AND status = 'ready' ORDER BY place LIMIT :limit)
  UNION ALL SELECT * FROM (SELECT tenant, run_id, 1, wake_at FROM runs
    WHERE status IN ('ready', 'running', 'waiting') AND status = 'waiting' AND wake_at <= :now ORDER BY wake_at LIMIT :limit)
  UNION ALL SELECT * FROM (SELECT tenant, run_id, 2, updated_at FROM runs
    WHERE status IN ('ready', 'running', 'waiting') AND status = 'running' AND updated_at <= :stalled
    ORDER BY updated_at LIMIT :limit))
ORDER BY part, place"""

_PUT_BLOB = """INSERT INTO blobs (tenant, sha256, bytes, created_at) VALUES (:tenant, :sha256, :bytes, :now)
ON CONFLICT (tenant, sha256) DO UPDATE SET created_at = :now WHERE created_at < :stale"""
_GET_BLOB = "SELECT bytes FROM blobs WHERE tenant = ? AND sha256 = ?"

_OLD = """SELECT no FROM runs
WHERE no > ? AND status IN ('done', 'failed', 'cancelled') AND updated_at < ? ORDER BY no LIMIT ?"""
_DELETE_EVENTS = "DELETE FROM events WHERE id > ? << 24 AND id < (? + 1) << 24"
_DELETE_RECORDS = """DELETE FROM records WHERE ref <> '' AND ref = (SELECT run_id FROM runs WHERE no = :no)
AND tenant = (SELECT tenant FROM runs WHERE no = :no)"""
_DELETE_RUN = "DELETE FROM runs WHERE no = ?"
# Asked again in the transaction that deletes: somebody may have had a failed one tried again.
_STILL_OLD = "SELECT no FROM runs WHERE no = ? AND status IN ('done', 'failed', 'cancelled') AND updated_at < ?"
_SWEEP_BLOBS = """DELETE FROM blobs WHERE created_at < ?
AND (tenant, sha256) NOT IN (SELECT tenant, config FROM runs WHERE config IS NOT NULL)
AND NOT EXISTS (
  SELECT 1 FROM events e JOIN runs r ON r.no = e.run WHERE e.blob = blobs.sha256 AND r.tenant = blobs.tenant)"""


class SqliteJournal:
    """`Journal` in a SQLite database."""

    def __init__(self, database: SqliteDatabase, *, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    def _now(self) -> int:
        return to_micros(self._clock())

    async def create(
        self,
        tenant: str,
        run_id: str,
        started: Entry,
        *,
        then: Sequence[Entry] = (),
        beside: Sequence[Beside] = (),
        order: bytes | None = None,
    ) -> bool:
        """Begin a run, status ready. See `Journal.create`."""
        event = started.event
        if not isinstance(event, RunStarted):
            raise InvalidInput(f"run {run_id} cannot begin with an event of kind {event.kind!r}")
        entries = (started, *then)
        packed, rows = [pack(entry) for entry in entries], prepare(tenant, beside)
        config = hash_bytes(event.config_hash)
        columns = (event.agent, event.principal.user, event.session_id, event.request_id, config)

        def unit(connection: sqlite3.Connection) -> bool:
            now = self._now()
            cursor = connection.execute(_CREATE, (run_id, tenant, *columns, now, now))
            if cursor.rowcount == 0 or cursor.lastrowid is None:
                return False
            no, head = cursor.lastrowid, 0
            if order is not None and config is not None:
                _keep(connection, tenant, config, order, now)
            for entry, event in zip(entries, packed, strict=True):
                if _insert(connection, tenant, no, head + 1, event, now):
                    head += 1
                    _note(connection, no, head, entry.event)
            if then:
                connection.execute(_POSTED, (head, no))
            write_rows(connection, tenant, rows, now)
            return True

        return await self._database.write(unit)

    async def claim(self, tenant: str, run_id: str, *, below: int | None = None) -> Claim | None:
        """Take the run: epoch + 1, attempts + 1, status running. See `Journal.claim`."""

        def unit(connection: sqlite3.Connection) -> tuple[int, int, int, list[Any]] | None:
            standing = connection.execute(_CLAIMING, (tenant, run_id)).fetchone()
            if standing is None or not claimable(standing[4], standing[3], below):
                return None
            no, head, epoch, attempts, _, upto, folded = standing
            connection.execute(_CLAIMED, (epoch + 1, attempts + 1, self._now(), no))
            events = connection.execute(_EVENTS, (tenant, no << _SEQ_BITS | upto, no << _SEQ_BITS | head)).fetchall()
            if folded:
                first = connection.execute(_EVENT, (tenant, no << _SEQ_BITS | folded)).fetchone()
                events = [first, *(event for event in events if event[0] != folded)]
            return head, epoch + 1, attempts + 1, events

        taken = await self._database.write(unit)
        if taken is None:
            return None
        head, epoch, attempts, rows = taken
        entries = _entries(rows) if len(rows) <= DECODE_HERE else await self._database.read(lambda _: _entries(rows))
        return Claim(run_id=run_id, tenant=tenant, epoch=epoch, head=head, attempts=attempts, entries=entries)

    async def append(
        self,
        claim: Claim,
        entries: Sequence[Entry],
        *,
        folded: int,
        status: RunStatus | None = None,
        wake_at: datetime | None = None,
        beside: Sequence[Beside] = (),
    ) -> Appended:
        """Append a worker's events in one transaction, with the rows beside them. See `Journal.append`."""
        tenant, run_id = claim.tenant, claim.run_id
        packed, rows = [pack(entry) for entry in entries], prepare(tenant, beside)
        wake = None if wake_at is None else to_micros(wake_at)

        def unit(connection: sqlite3.Connection) -> tuple[int, bool, int, list[int]]:
            standing = connection.execute(_STANDING, (tenant, run_id)).fetchone()
            if standing is None or standing[2] != claim.epoch:
                raise Fenced(f"run {run_id} was claimed by another worker after epoch {claim.epoch}, or deleted")
            no, before, _, _, present, waking = standing
            foreign = before != folded
            check_end(run_id, status, foreign=foreign)
            now, head, kept = self._now(), before, []
            for place, event in enumerate(packed):
                if _insert(connection, tenant, no, head + 1, event, now):
                    head += 1
                    kept.append(place)
                    _note(connection, no, head, entries[place].event)
            then = after_append(present, status, foreign=foreign)
            if then == RunStatus.FAILED and then != present:
                connection.execute(_FAILED, (failure(entries), no))
            alarm = wake if then == (status or present) else None
            if then == present and alarm == waking:
                connection.execute(_GROWN, (head, now, no))
            else:
                connection.execute(_MOVED, (head, now, then, alarm, no))
            write_rows(connection, tenant, rows, now)
            return head, foreign, now, kept

        head, foreign, now, kept = await self._database.write(unit)
        at, first = from_micros(now), head - len(kept) + 1
        stored = [
            Entry(event=entries[place].event, key=packed[place].key, seq=seq, at=at) for seq, place in enumerate(kept, first)
        ]
        return Appended(head=head, foreign=foreign, entries=stored)

    async def post(self, tenant: str, run_id: str, entry: Entry, *, beside: Sequence[Beside] = ()) -> bool:
        """Append from outside (approval, steer, cancel), without an epoch. See `Journal.post`."""
        packed, rows = pack(entry), prepare(tenant, beside)

        def unit(connection: sqlite3.Connection) -> bool:
            standing = connection.execute(_STANDING, (tenant, run_id)).fetchone()
            if standing is None or not open_to(standing[4], entry.event):
                return False
            no, head, status, now = standing[0], standing[1], standing[4], self._now()
            if not _insert(connection, tenant, no, head + 1, packed, now):
                return False
            _note(connection, no, head + 1, entry.event)
            if after_post(status, entry.event) != status:
                connection.execute(_WOKEN, (head + 1, now, no))
            else:
                connection.execute(_POSTED, (head + 1, no))
            write_rows(connection, tenant, rows, now)
            return True

        return await self._database.write(unit)

    async def read(self, tenant: str, run_id: str, after: int = 0) -> AsyncIterator[Entry]:
        """The events with a larger seq, in order. Of an unknown run there are none."""
        while True:
            page = await self._database.read(partial(_page, (after, tenant, run_id, PAGE)))
            for entry in page:
                yield entry
            if len(page) < PAGE:
                return
            after = page[-1].seq

    async def find(self, tenant: str, run_id: str) -> RunRow | None:
        """The run, None if this tenant has no such run."""
        values = {"tenant": tenant, "run_id": run_id}
        row = await self._database.read(lambda c: c.execute(_FIND, values).fetchone())
        return None if row is None else _run(row)

    async def runs(
        self,
        tenant: str,
        *,
        status: RunStatus | None = None,
        user: str | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
        code: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> list[RunRow]:
        """Runs of a tenant, newest first; `before` is a run id to go on from."""
        given = ((request_id, _BY_REQUEST), (session_id, _BY_SESSION), (code, _BY_CODE), (user, _BY_USER))
        statement = next((found for value, found in given if value is not None), _BY_TENANT)
        values = {
            "tenant": tenant,
            "status": status,
            "user": user,
            "session_id": session_id,
            "request_id": request_id,
            "code": code,
            "before": before,
            "limit": limit,
        }
        rows = await self._database.read(lambda c: c.execute(statement, values).fetchall())
        return [_run(row) for row in rows]

    async def due(self, limit: int = 100, *, stalled_s: float = 0.0) -> list[tuple[str, str]]:
        """(tenant, run id) of runs that want a worker, see `Journal.due`: ready ones first, oldest first."""
        now = self._now()
        stalled = now - int(stalled_s * 1_000_000) if stalled_s > 0 else -1
        values = {"now": now, "stalled": stalled, "limit": limit}
        return await self._database.read(lambda c: c.execute(_DUE, values).fetchall())

    async def heads(self, runs: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], tuple[int, RunStatus]]:
        """Seq of the last event and status of each of these (tenant, run id) that exists."""

        def query(connection: sqlite3.Connection) -> dict[tuple[str, str], tuple[int, RunStatus]]:
            found = ((run, connection.execute(_HEAD, run).fetchone()) for run in runs)
            return {run: (row[0], RunStatus(row[1])) for run, row in found if row is not None}

        return await self._database.read(query)

    async def put_blob(self, tenant: str, data: bytes) -> str:
        """Keep bytes under their SHA-256 (hexadecimal), once per tenant."""
        digest = hashlib.sha256(data)
        await self._database.write(lambda c: _keep(c, tenant, digest.digest(), data, self._now()))
        return digest.hexdigest()

    async def get_blob(self, tenant: str, sha256: str) -> bytes:
        """The bytes kept under a hash. Raises NotFound."""
        values = (tenant, hash_bytes(sha256))
        row = await self._database.read(lambda c: c.execute(_GET_BLOB, values).fetchone())
        if row is None:
            raise NotFound(f"there is no blob {sha256[:64]}")
        data: bytes = row[0]
        return data

    async def purge(self, before: datetime) -> int:
        """See `Journal.purge`."""
        instant, last, count = to_micros(before), 0, 0
        while True:
            numbers = await self._database.read(partial(_old, (last, instant, SLICE)))
            if not numbers:
                break
            count += await self._database.write(partial(_delete, numbers, instant))
            last = numbers[-1]
        stale = min(instant, to_micros(self._clock() - BLOB_GRACE))
        await self._database.write(lambda c: c.execute(_SWEEP_BLOBS, (stale,)).rowcount)
        return count

    async def probe(self) -> None:
        """See `Journal.probe`."""
        await self._database.probe()

    async def close(self) -> None:
        """Finish what is queued and let go of the files."""
        await self._database.close()


def _insert(connection: sqlite3.Connection, tenant: str, no: int, seq: int, event: Packed, now: int) -> bool:
    """Store an event; False if the run has its key."""
    values = (no << _SEQ_BITS | seq, event.kind, event.key, now, event.data, event.sha256)
    if connection.execute(_INSERT_EVENT, values).rowcount == 0:
        return False
    if event.sha256 is not None and event.payload is not None:
        _keep(connection, tenant, event.sha256, event.payload, now)
    return True


def _note(connection: sqlite3.Connection, no: int, seq: int, event: Event) -> None:
    """Keep up the columns of the run that stand for what a rare event says."""
    match event:
        case RetryRequested():
            connection.execute(_RETRIED, (no,))
        case StateFolded(upto=upto):
            connection.execute(_FOLDED, (upto, seq, no))


def _keep(connection: sqlite3.Connection, tenant: str, sha256: bytes, data: bytes, now: int) -> None:
    """Store a blob, or make sure that the one there outlives the next sweep."""
    stale = now - BLOB_GRACE // timedelta(microseconds=2)
    connection.execute(_PUT_BLOB, {"tenant": tenant, "sha256": sha256, "bytes": data, "now": now, "stale": stale})


def _page(values: tuple[Any, ...], connection: sqlite3.Connection) -> list[Entry]:
    return _entries(connection.execute(_READ, values))


def _old(values: tuple[Any, ...], connection: sqlite3.Connection) -> list[int]:
    return [no for (no,) in connection.execute(_OLD, values)]


def _delete(numbers: Iterable[int], before: int, connection: sqlite3.Connection) -> int:
    old = [no for no in numbers if connection.execute(_STILL_OLD, (no, before)).fetchone()]
    for no in old:
        connection.execute(_DELETE_EVENTS, (no, no))
        connection.execute(_DELETE_RECORDS, {"no": no})
        connection.execute(_DELETE_RUN, (no,))
    return len(old)


def _entries(rows: Iterable[Any]) -> list[Entry]:
    return [Entry(event=decode(kind, data), key=key, seq=seq, at=from_micros(at)) for seq, kind, key, at, data in rows]


def _run(row: tuple[Any, ...]) -> RunRow:
    return RunRow(
        run_id=row[0],
        tenant=row[1],
        agent=row[2],
        user=row[3],
        session_id=row[4],
        status=RunStatus(row[5]),
        head=row[6],
        attempts=row[7],
        wake_at=None if row[8] is None else from_micros(row[8]),
        created_at=from_micros(row[9]),
        updated_at=from_micros(row[10]),
        code=row[11],
    )
