"""Handing out and taking away everything there is of a person or a tenant. Proof that it was done stays in the audit log."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import anyio

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Conflict, InvalidInput, NotFound, QuarterdeckError
from quarterdeck.core.events import CancelRequested, RunStarted
from quarterdeck.core.ids import check_id, content_hash, hashed_id
from quarterdeck.store.base import Audit, Entry, Erasing, Journal, Put, Record, Records, RunRow
from quarterdeck.store.codec import encode
from quarterdeck.workflow.undoing import KIND as UNDO
from quarterdeck.workflow.undoing import attempts

__all__ = ["KIND", "Belongings", "ErasureView", "Privacy"]

KIND = "erasure"
RUNNING, DONE = "running", "done"
# What is not of a person though a person made it: amounts that budgets go by, addresses of the tenant, and this itself.
_NOT_OF_A_PERSON = frozenset({KIND, "budget", "webhook", "agent", "configuration"})
_NOT_OF_A_TENANT = frozenset({KIND})
_PAGE = 200
_LEASE_S = 60.0
_PAUSE_S = 1.0

log = logging.getLogger(__name__)


class Belongings(Protocol):
    """What else holds data of people: an index, caches, snapshots. Each call may be repeated."""

    async def told(self, tenant: str, user: str | None) -> Sequence[Mapping[str, Any]]:
        """What there is of a person, or None for the whole tenant, as JSON values."""
        ...

    async def erase(self, tenant: str, user: str | None, run_ids: Sequence[str]) -> int:
        """Take it away, with what belongs to these runs; returns how many things."""
        ...

    async def scrub(self) -> None:
        """See to it that nothing deleted can be read in files, as far as that is in this program's hands."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureView:
    """How an erasure stands.

    Attributes:
        subject: ``user`` or ``tenant``.
        name: Whose data, while it is being erased; then its SHA-256.
        status: ``running`` or ``done``.
        runs, records, things: How many were erased so far; things are documents and snapshots.
        waiting: Runs that still have to end.
    """

    id: str
    subject: str
    name: str
    status: str
    runs: int
    records: int
    things: int
    waiting: int


class Privacy:
    """Exports and erasures of a principal's tenant. Who may ask for them is decided by the caller.

    An erasure is a record, and each of its steps can be repeated: after a crash it goes on in whatever process finds it due.
    Runs are asked to end first.
    """

    def __init__(
        self,
        journal: Journal,
        records: Records,
        erasing: Erasing,
        belongings: Belongings,
        wake: Callable[[str, str], Awaitable[None]],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._journal = journal
        self._records = records
        self._erasing = erasing
        self._belongings = belongings
        self._wake = wake
        self._now = now

    async def erase(self, principal: Principal, user: str | None) -> ErasureView:
        """Begin to erase a person's data, or with None the tenant's. One that runs already is told as it stands."""
        tenant = principal.tenant
        name = tenant if user is None else check_id(user, "user")
        subject = "tenant" if user is None else "user"
        erasure_id = hashed_id(KIND, tenant, subject, name)
        standing = await self._records.get(tenant, KIND, erasure_id)
        if standing is not None and standing.status == RUNNING:
            return _view(standing)
        data = {"subject": subject, "name": name, "runs": 0, "records": 0, "things": 0, "waiting": 0}
        record = Record(kind=KIND, id=erasure_id, data={**data, "by": principal.user}, status=RUNNING, wake_at=self._now())
        begun = _audit(principal.user, subject, name, "begun")
        await self._records.write(tenant, [Put(record=record, expect=standing.version if standing else 0), begun])
        return _view(record)

    async def erasure(self, principal: Principal, erasure_id: str) -> ErasureView:
        """How one stands. Raises NotFound."""
        record = await self._records.get(principal.tenant, KIND, erasure_id)
        if record is None:
            raise NotFound(f"there is no erasure {erasure_id[:64]}")
        return _view(record)

    async def export(self, principal: Principal, user: str | None) -> AsyncIterator[Mapping[str, Any]]:
        """Everything there is of a person, or with None of the tenant: runs with their events, records, documents."""
        tenant = principal.tenant
        subject, name = ("tenant", tenant) if user is None else ("user", check_id(user, "user"))
        by = f"user:{principal.user}"
        audit = Audit(actor=by, subject=f"{subject}:{name}", action="export", object=f"{subject}:{name}", decision="allow")
        await self._records.write(tenant, [audit])
        async for row in self._runs(tenant, user):
            events = [_event(entry) async for entry in self._journal.read(tenant, row.run_id)]
            yield {"kind": "run", "run_id": row.run_id, "agent": row.agent, "user": row.user, "events": events}
        for record in await self._erasing.records_of(tenant, user, _kept(user)):
            yield {"kind": record.kind, "id": record.id, "owner": record.owner, "data": record.data}
        for thing in await self._belongings.told(tenant, user):
            yield thing

    async def once(self) -> int:
        """Take every erasure that is due a step further; returns how many are done now."""
        done = 0
        for tenant, erasure_id in await self._records.due(KIND):
            record = await self._records.get(tenant, KIND, erasure_id)
            if record is None or record.status != RUNNING:
                continue
            try:
                done += await self._step(tenant, await self._taken(tenant, record))
            except Conflict:  # another process has it
                continue
        return done

    async def serve(self) -> None:
        """Erase until cancelled. What cannot be done now is tried again."""
        while True:
            try:
                await self.once()
            except QuarterdeckError as error:
                log.warning("an erasure cannot go on now", exc_info=error)
            await anyio.sleep(_PAUSE_S)

    async def _taken(self, tenant: str, record: Record) -> Record:
        """The record, leased to this process. Raises Conflict if another has it."""
        leased = _with(record, record.data, wake_at=self._now() + timedelta(seconds=_LEASE_S))
        await self._records.write(tenant, [Put(record=leased, expect=record.version)])
        return _with(leased, record.data, wake_at=leased.wake_at, version=record.version + 1)

    async def _step(self, tenant: str, record: Record) -> bool:
        data = dict(record.data)
        user = data["name"] if data["subject"] == "user" else None
        ended, orders, waiting = await self._ended(tenant, user, str(data["by"]))
        # What belongs to runs goes before them: a crash in between finds the runs again, and so the rest.
        data["things"] += await self._belongings.erase(tenant, user, ended)
        data["runs"] += await self._erasing.erase_runs(tenant, ended, orders)
        data["waiting"] = waiting
        if waiting:
            again = self._now() + timedelta(seconds=_PAUSE_S)
            await self._records.write(tenant, [Put(record=_with(record, data, wake_at=again), expect=record.version)])
            return False
        data["records"] += await self._erasing.erase_records(tenant, user, _kept(user))
        await self._erasing.scrub()
        await self._belongings.scrub()
        audit = _audit(str(data["by"]), data["subject"], data["name"], "done", content_hash(data))
        data["name"] = content_hash(data["name"])
        final = Record(kind=KIND, id=record.id, data=data, status=DONE)
        await self._records.write(tenant, [Put(record=final, expect=record.version), audit])
        return True

    async def _ended(self, tenant: str, user: str | None, by: str) -> tuple[list[str], list[str], int]:
        """Runs that have ended, the blobs of what people ordered with them, and how many others are asked to end."""
        ended: list[str] = []
        orders: list[str] = []
        waiting = 0
        async for row in self._runs(tenant, user):
            if row.status.ended:
                ended.append(row.run_id)
                orders += await self._orders(tenant, row.run_id)
                continue
            waiting += 1
            event = CancelRequested(by=by, reason="everything of this person is being erased")
            await self._journal.post(tenant, row.run_id, Entry(event=event, key="cancel:erasure"))
            await self._wake(tenant, row.run_id)
        return ended, orders, waiting

    async def _orders(self, tenant: str, run_id: str) -> list[str]:
        """Hash of what a run was to do, where that is a person's; of an agent's run it is the agent, everybody's."""
        async for entry in self._journal.read(tenant, run_id):
            started = entry.event
            return [started.config_hash] if isinstance(started, RunStarted) and started.work != "agent" else []
        return []

    async def _runs(self, tenant: str, user: str | None) -> AsyncIterator[RunRow]:
        """Runs of a person, and those of others that take back what was done for him; or all of the tenant."""
        before: str | None = None
        while rows := await self._journal.runs(tenant, user=user, before=before, limit=_PAGE):
            for row in rows:
                yield row
            before = rows[-1].run_id
        undone = [] if user is None else await self._erasing.records_of(tenant, user, ())
        for run_id in [run_id for record in undone if record.kind == UNDO for run_id in attempts(record)]:
            other = await self._journal.find(tenant, run_id)
            if other is not None and other.user != user:
                yield other


def confirmed(tenant: str, given: str) -> None:
    """Raises InvalidInput unless a tenant that is to be erased is named as the caller's own."""
    if given != tenant:
        raise InvalidInput("to erase a tenant name it: only one's own can be erased")


def _kept(user: str | None) -> frozenset[str]:
    return _NOT_OF_A_TENANT if user is None else _NOT_OF_A_PERSON


def _with(record: Record, data: Mapping[str, Any], *, wake_at: datetime | None, version: int | None = None) -> Record:
    return Record(
        kind=KIND,
        id=record.id,
        data=data,
        status=record.status,
        wake_at=wake_at,
        version=record.version if version is None else version,
    )


def _view(record: Record) -> ErasureView:
    data = record.data
    numbers = {name: int(data[name]) for name in ("runs", "records", "things", "waiting")}
    return ErasureView(id=record.id, subject=data["subject"], name=data["name"], status=record.status, **numbers)


def _audit(by: str, subject: str, name: str, decision: str, hashed: str = "") -> Audit:
    """Whose data it was stands there as a hash: who knows the name can show that it was done."""
    who = f"user:{by}"
    return Audit(
        actor=who,
        subject=f"{subject}:{content_hash(name)}",
        action=KIND,
        object=f"{subject}:{content_hash(name)}",
        decision=decision,
        args_hash=hashed,
    )


def _event(entry: Entry) -> Mapping[str, Any]:
    kind, data = encode(entry.event)
    return {
        "seq": entry.seq,
        "at": None if entry.at is None else entry.at.isoformat(),
        "kind": kind,
        "data": json.loads(data),
    }
