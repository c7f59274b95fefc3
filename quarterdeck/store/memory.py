"""The twin of the SQLite store that ends with the process: for the library face, tests and evaluations.

Events are the very objects it is given: nothing is encoded, copied or written, so a run costs microseconds. Between two
awaits of one event loop its methods are atomic; it is not for several threads at once.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, islice
from typing import Any

from quarterdeck.core.errors import Conflict, Fenced, InvalidInput, NotFound
from quarterdeck.core.events import RetryRequested, RunStarted, StateFolded
from quarterdeck.core.runs import RunStatus
from quarterdeck.store.audit import GENESIS, audit_row
from quarterdeck.store.base import Appended, Audit, Beside, Claim, Entry, Put, Record, RunRow
from quarterdeck.store.blobs import BLOB_GRACE
from quarterdeck.store.codec import json_text
from quarterdeck.store.instants import Clock, utc_now
from quarterdeck.store.keyvalue import MemoryKeyValue
from quarterdeck.store.standing import ENDED, after_append, after_post, check_end, claimable, failure, open_to

__all__ = ["MemoryJournal", "MemoryRecords", "MemoryStore"]


class MemoryStore:
    """Journal, records and state by key, in memory.

    Args:
        keep: How many ended runs, and how many audit rows of a tenant, are kept; the oldest go first. None keeps all.
    """

    def __init__(self, *, clock: Clock = utc_now, keep: int | None = None) -> None:
        self.records = MemoryRecords(clock=clock, keep=keep)
        self.journal = MemoryJournal(self.records, clock=clock, keep=keep)
        self.keyvalue = MemoryKeyValue()

    async def close(self) -> None:
        """Nothing to let go of."""


class MemoryRecords:
    """`Records` in memory."""

    def __init__(self, *, clock: Clock = utc_now, keep: int | None = None) -> None:
        self._clock = clock
        self._keep = keep
        self._rows: dict[tuple[str, str, str], tuple[Record, str]] = {}  # with the data's JSON: nobody shares a dict with us
        self._audit: dict[str, deque[dict[str, Any]]] = {}

    async def get(self, tenant: str, kind: str, id: str) -> Record | None:
        row = self._rows.get((tenant, kind, id))
        return None if row is None else _record(*row)

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
        rows = [row for key, row in self._rows.items() if key[:2] == (tenant, kind)]
        rows.sort(key=lambda row: _age(row[0]), reverse=True)
        if before is not None:
            last = self._rows.get((tenant, kind, before))
            rows = [row for row in rows if last is not None and _age(row[0]) < _age(last[0])]
        wanted = (
            row
            for row in rows
            if status in (None, row[0].status) and owner in (None, row[0].owner) and ref in (None, row[0].ref)
        )
        return [_record(*row) for row in islice(wanted, limit)]

    async def write(self, tenant: str, rows: Sequence[Beside]) -> None:
        """Write rows at one stroke. Raises Conflict when an expected version does not stand."""
        self.check(tenant, rows)
        self.apply(tenant, rows, self._clock())

    async def due(self, kind: str, limit: int = 100) -> list[tuple[str, str]]:
        """(tenant, id) of records that are due, longest first; see `Records.due`."""
        now = self._clock()
        rows = ((tenant, record) for (tenant, of, _), (record, _) in self._rows.items() if of == kind)
        found = [(record.wake_at, tenant, record.id) for tenant, record in rows if record.wake_at and record.wake_at <= now]
        return [(tenant, found_id) for _, tenant, found_id in sorted(found)[:limit]]

    async def forget(self, kind: str, statuses: Sequence[str], before: datetime) -> int:
        """Delete records of a kind, of every tenant, last written before an instant; see `Records.forget`."""
        old = [
            key
            for key, (record, _) in self._rows.items()
            if record.kind == kind and record.status in statuses and record.updated_at and record.updated_at < before
        ]
        for key in old:
            del self._rows[key]
        return len(old)

    async def audit_rows(self, tenant: str, after: int = 0, limit: int = 1000) -> list[Mapping[str, Any]]:
        """Audit rows in order: tenant, seq, at, the fields of `Audit`, prev and hash."""
        return list(islice((row for row in self._audit.get(tenant, ()) if row["seq"] > after), limit))

    async def audit_head(self, tenant: str) -> tuple[int, str] | None:
        """Seq and hash of the tenant's last audit row."""
        rows = self._audit.get(tenant)
        return (rows[-1]["seq"], rows[-1]["hash"]) if rows else None

    async def audit_heads(self) -> Mapping[str, tuple[int, str]]:
        """Seq and hash of the last audit row of every tenant that has some."""
        return {tenant: (rows[-1]["seq"], rows[-1]["hash"]) for tenant, rows in self._audit.items()}

    def check(self, tenant: str, rows: Sequence[Beside]) -> None:
        """Raise Conflict if `apply` could not write all of them."""
        versions: dict[tuple[str, str, str], int] = {}
        for row in rows:
            if isinstance(row, Put):
                key = (tenant, row.record.kind, row.record.id)
                standing = self._rows.get(key)
                version = versions.get(key, standing[0].version if standing else 0)
                if row.expect not in (None, version):
                    raise Conflict(f"{key[1]} {key[2]} is at version {version}, not {row.expect}: read it again")
                versions[key] = version + 1

    def apply(self, tenant: str, rows: Sequence[Beside], now: datetime) -> None:
        """Write rows that were checked."""
        for row in rows:
            if isinstance(row, Audit):
                trail = self._audit.setdefault(tenant, deque(maxlen=self._keep))
                seq, prev = (trail[-1]["seq"] + 1, trail[-1]["hash"]) if trail else (1, GENESIS)
                trail.append(audit_row(tenant, seq, now, row, prev))
            else:
                self._put(tenant, row.record, now)

    def forget_runs(self, runs: Set[tuple[str, str]]) -> None:
        """Drop the records that belong to these runs."""
        self._rows = {key: row for key, row in self._rows.items() if (key[0], row[0].ref) not in runs}

    def _put(self, tenant: str, record: Record, now: datetime) -> None:
        key = (tenant, record.kind, record.id)
        standing = self._rows.get(key)
        stored = Record(
            kind=record.kind,
            id=record.id,
            data={},
            status=record.status,
            owner=record.owner,
            ref=record.ref,
            version=standing[0].version + 1 if standing else 1,
            wake_at=record.wake_at,
            created_at=standing[0].created_at if standing else now,
            updated_at=now,
        )
        self._rows[key] = (stored, json_text(record.data))


def _record(record: Record, data: str) -> Record:
    return Record(
        kind=record.kind,
        id=record.id,
        data=json.loads(data),
        status=record.status,
        owner=record.owner,
        ref=record.ref,
        version=record.version,
        wake_at=record.wake_at,
        created_at=record.created_at,
        updated_at=record.updated_at,
    )


def _age(record: Record) -> tuple[datetime | None, str]:
    return record.created_at, record.id


@dataclass(slots=True, kw_only=True)
class _Run:
    """A run's row and events; the only thing here that changes in place."""

    tenant: str
    run_id: str
    started: RunStarted
    created_at: datetime
    updated_at: datetime
    status: str = RunStatus.READY
    epoch: int = 0
    attempts: int = 0
    wake_at: datetime | None = None
    code: str | None = None
    folded: Entry | None = None
    entries: list[Entry] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)

    def add(self, entry: Entry, now: datetime) -> Entry | None:
        """Store an entry; None if the run has its key."""
        key = entry.key or entry.event.key
        if key is not None:
            if key in self.keys:
                return None
            self.keys.add(key)
        stored = Entry(event=entry.event, key=key, seq=len(self.entries) + 1, at=now)
        self.entries.append(stored)
        match entry.event:
            case RetryRequested():
                self.code = None
            case StateFolded():
                self.folded = stored
        return stored

    def claimed(self) -> tuple[Entry, ...]:
        """The events a worker begins with."""
        if self.folded is None or not isinstance(self.folded.event, StateFolded):
            return tuple(self.entries)
        rest = self.entries[self.folded.event.upto :]
        return (self.folded, *(entry for entry in rest if entry is not self.folded))


class MemoryJournal:
    """`Journal` in memory."""

    def __init__(self, records: MemoryRecords, *, clock: Clock = utc_now, keep: int | None = None) -> None:
        self._records = records
        self._clock = clock
        self._keep = keep
        self._runs: dict[tuple[str, str], _Run] = {}  # oldest first
        self._open: dict[tuple[str, str], _Run] = {}  # those that have not ended
        self._ended: deque[tuple[str, str]] = deque()
        self._blobs: dict[tuple[str, str], tuple[bytes, datetime]] = {}

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
        if (tenant, run_id) in self._runs:
            return False
        self._records.check(tenant, beside)
        now = self._clock()
        run = _Run(tenant=tenant, run_id=run_id, started=event, created_at=now, updated_at=now)
        for entry in (started, *then):
            run.add(entry, now)
        self._records.apply(tenant, beside, now)
        if order is not None:
            self._blobs[tenant, event.config_hash] = (order, now)
        self._runs[tenant, run_id] = self._open[tenant, run_id] = run
        return True

    async def claim(self, tenant: str, run_id: str, *, below: int | None = None) -> Claim | None:
        """Take the run: epoch + 1, attempts + 1, status running. See `Journal.claim`."""
        run = self._open.get((tenant, run_id))
        if run is None or not claimable(run.status, run.attempts, below):
            return None
        run.epoch += 1
        run.attempts += 1
        run.status, run.wake_at, run.updated_at = RunStatus.RUNNING, None, self._clock()
        return Claim(
            run_id=run_id,
            tenant=tenant,
            epoch=run.epoch,
            head=len(run.entries),
            attempts=run.attempts,
            entries=run.claimed(),
        )

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
        """Append a worker's events at one stroke, with the rows beside them. See `Journal.append`."""
        run = self._runs.get((claim.tenant, claim.run_id))
        if run is None or run.epoch != claim.epoch:
            raise Fenced(f"run {claim.run_id} was claimed by another worker after epoch {claim.epoch}, or deleted")
        if beside:
            self._records.check(claim.tenant, beside)
        now, foreign = self._clock(), len(run.entries) != folded
        check_end(claim.run_id, status, foreign=foreign)
        stored = [new for entry in entries if (new := run.add(entry, now)) is not None]
        then = after_append(run.status, status, foreign=foreign)
        run.wake_at = wake_at if then == (status or run.status) else None
        run.attempts, run.updated_at = 0, now
        if then != run.status:
            run.status = then
            if then == RunStatus.FAILED:
                run.code = failure(entries)
            if then in ENDED:
                self._end((claim.tenant, claim.run_id))
        if beside:
            self._records.apply(claim.tenant, beside, now)
        return Appended(head=len(run.entries), foreign=foreign, entries=stored)

    async def post(self, tenant: str, run_id: str, entry: Entry, *, beside: Sequence[Beside] = ()) -> bool:
        """Append from outside (approval, steer, cancel), without an epoch. See `Journal.post`."""
        run = self._runs.get((tenant, run_id))
        if run is None or not open_to(run.status, entry.event) or (entry.key or entry.event.key) in run.keys:
            return False
        self._records.check(tenant, beside)
        now = self._clock()
        run.add(entry, now)
        then = after_post(run.status, entry.event)
        if then != run.status:
            if run.status in ENDED:  # it is tried again
                self._open[tenant, run_id] = run
                run.attempts = 0
            run.status, run.wake_at, run.updated_at = then, None, now
        self._records.apply(tenant, beside, now)
        return True

    async def read(self, tenant: str, run_id: str, after: int = 0) -> AsyncIterator[Entry]:
        """The events with a larger seq, in order. Of an unknown run there are none."""
        run = self._runs.get((tenant, run_id))
        for entry in run.entries[after:] if run is not None else ():
            yield entry

    async def find(self, tenant: str, run_id: str) -> RunRow | None:
        """The run, None if this tenant has no such run."""
        run = self._runs.get((tenant, run_id))
        return None if run is None else _row(run)

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
        wanted = (
            run
            for run in self._newest(tenant, before)
            if status in (None, run.status)
            and user in (None, run.started.principal.user)
            and session_id in (None, run.started.session_id)
            and request_id in (None, run.started.request_id)
            and code in (None, run.code)
        )
        return [_row(run) for run in islice(wanted, limit)]

    def _newest(self, tenant: str, before: str | None) -> Iterator[_Run]:
        passed = before is None
        for run in reversed(self._runs.values()):
            if run.tenant == tenant and passed:
                yield run
            passed = passed or (run.tenant, run.run_id) == (tenant, before)

    async def due(self, limit: int = 100, *, stalled_s: float = 0.0) -> list[tuple[str, str]]:
        """(tenant, run id) of runs that want a worker, see `Journal.due`: ready ones first, oldest first."""
        now = self._clock()
        ready, woken, stalled = [], [], []
        for key, run in self._open.items():
            if run.status == RunStatus.READY:
                ready.append(key)
            elif run.status == RunStatus.WAITING and run.wake_at is not None and run.wake_at <= now:
                woken.append((run.wake_at, key))
            elif run.status == RunStatus.RUNNING and 0 < stalled_s <= (now - run.updated_at).total_seconds():
                stalled.append((run.updated_at, key))
        by_time = ([key for _, key in sorted(found)[:limit]] for found in (woken, stalled))
        return [*ready[:limit], *chain.from_iterable(by_time)]

    async def heads(self, runs: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], tuple[int, RunStatus]]:
        """Seq of the last event and status of each of these (tenant, run id) that exists."""
        found = ((key, self._runs.get(key)) for key in runs)
        return {key: (len(run.entries), RunStatus(run.status)) for key, run in found if run is not None}

    async def put_blob(self, tenant: str, data: bytes) -> str:
        """Keep bytes under their SHA-256 (hexadecimal), once per tenant."""
        sha256 = hashlib.sha256(data).hexdigest()
        self._blobs[tenant, sha256] = (data, self._clock())
        return sha256

    async def get_blob(self, tenant: str, sha256: str) -> bytes:
        """The bytes kept under a hash. Raises NotFound."""
        try:
            return self._blobs[tenant, sha256][0]
        except KeyError:
            raise NotFound(f"there is no blob {sha256[:64]}") from None

    async def purge(self, before: datetime) -> int:
        """See `Journal.purge`."""
        gone = [key for key, run in self._runs.items() if run.status in ENDED and run.updated_at < before]
        for key in gone:
            del self._runs[key]
        self._records.forget_runs(set(gone))
        self._ended = deque(key for key in self._ended if key in self._runs)
        used = {(tenant, run.started.config_hash) for (tenant, _), run in self._runs.items()}
        stale = min(before, self._clock() - BLOB_GRACE)
        self._blobs = {key: blob for key, blob in self._blobs.items() if key in used or blob[1] >= stale}
        return len(gone)

    async def probe(self) -> None:
        """Memory is always there."""

    async def close(self) -> None:
        """Nothing to let go of."""

    def _end(self, key: tuple[str, str]) -> None:
        del self._open[key]
        if self._keep is not None:
            self._ended.append(key)
            if len(self._ended) > self._keep:
                oldest = self._ended.popleft()
                if oldest not in self._open:  # else it was tried again, and stands here anew when it ends
                    self._runs.pop(oldest, None)


def _row(run: _Run) -> RunRow:
    return RunRow(
        run_id=run.run_id,
        tenant=run.tenant,
        agent=run.started.agent,
        user=run.started.principal.user,
        session_id=run.started.session_id,
        status=RunStatus(run.status),
        head=len(run.entries),
        attempts=run.attempts,
        wake_at=run.wake_at,
        created_at=run.created_at,
        updated_at=run.updated_at,
        code=run.code,
    )
