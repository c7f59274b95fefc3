"""Where runs and the rows beside them rest: protocols and their values."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from quarterdeck.core.events import Event
from quarterdeck.core.runs import RunStatus

__all__ = [
    "Appended",
    "Audit",
    "Beside",
    "Claim",
    "Entry",
    "Erasing",
    "Journal",
    "KeyValue",
    "Put",
    "Record",
    "Records",
    "RunRow",
    "ref_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An event in its envelope. `key` is the event's own unless somebody outside gives one (an Idempotency-Key).

    Attributes:
        seq: Position in the run, from 1; 0 before it is stored.
        at: When it was stored, by the store's clock, aware UTC; None before.
    """

    event: Event
    key: str | None = None
    seq: int = 0
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run as the store sees it, without its events.

    Attributes:
        head: Seq of the last event.
        attempts: Claims since a worker last appended.
        wake_at: When it wants to be advanced again, None for not by time.
        code: Of the error a failed run ended with: ``poison`` for a dead letter; None for others.
    """

    run_id: str
    tenant: str
    agent: str
    user: str
    session_id: str | None
    status: RunStatus
    head: int
    attempts: int
    wake_at: datetime | None
    created_at: datetime
    updated_at: datetime
    code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to append to a run, until somebody claims it again.

    Attributes:
        epoch: The fence: appends with an older epoch are refused.
        attempts: Which claim this is since a worker last appended, from 1.
        entries: Everything that happened so far; of a long run, its newest `StateFolded` and what came after that state.
    """

    run_id: str
    tenant: str
    epoch: int
    head: int
    attempts: int
    entries: Sequence[Entry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """What an append gave.

    Attributes:
        entries: Those appended, with seq and time; one whose key the run already had is left out.
        foreign: True when events of others lie between what was folded and this append: read and fold before waiting.
    """

    head: int
    foreign: bool
    entries: Sequence[Entry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A row beside the journal: an approval, a session, an idempotency answer. JSON of one kind, found by id or column.

    Attributes:
        kind: ``approval``, ``session``, ...: a closed set, one per caller.
        status, owner: Columns to find it by.
        ref: A third column: the run, session or document it belongs to.
        version: Rises by one with each put, from 1; 0 before the first.
        wake_at: When it is due to be looked at by whoever serves its kind, None for never.
    """

    kind: str
    id: str
    data: Mapping[str, Any]
    status: str = ""
    owner: str = ""
    ref: str = ""
    version: int = 0
    wake_at: datetime | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


def ref_of(user: str) -> str:
    """The `ref` of a record that is of this person as well as of its owner; no run has such an id."""
    return f"from:{user}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """Write a record. With `expect`, only if its present version is that (0: it must not exist); else Conflict."""

    record: Record
    expect: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """One row of the audit log; chained and stamped by the store in the transaction it is written in.

    Attributes:
        actor: Who acted: ``user:..`` or ``agent:..``.
        subject: On whose behalf.
        action: ``decision``, ``approval``, ``effect``, ``run``, ``login``, ``config``, ``export``.
        object: What it was about: run, call, draft.
        args_hash: SHA-256 of the arguments, empty when there are none. The arguments themselves stay out.
    """

    actor: str
    subject: str
    action: str
    object: str
    decision: str
    args_hash: str = ""


Beside = Put | Audit  # what may be written in the transaction of an event


class Journal(Protocol):
    """The runs of all tenants. Safe to use from many tasks; every method may raise StoreUnavailable."""

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
        """Begin a run, status ready. False if the run id exists: nothing is written.

        Args:
            started: Its event is a RunStarted.
            then: Events that follow at once: those of the run it is a fork of.
            order: What the event's `config_hash` is the hash of, kept as a blob if it is not yet; None where it has been. So
                what a person sent is never there without the run that an erasure finds it by.
        """
        ...

    async def claim(self, tenant: str, run_id: str, *, below: int | None = None) -> Claim | None:
        """Take the run: epoch + 1, attempts + 1, status running. None if it ended, is paused, or is unknown.

        Args:
            below: None as well if it was claimed so often, or more often, since a worker last appended.
        """
        ...

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
        """Append a worker's events in one transaction, with the rows beside them. Durable when it returns.

        Args:
            folded: The last seq the worker has folded. A `waiting` or `paused` over unseen events becomes `ready`; a `done`
                over them is refused.
            status: New status, None to keep it.
            wake_at: New wake-up time; None clears it.

        Raises:
            Fenced: The run was claimed by another since.
            Conflict: A `Put` beside it expected another version, or a `done` would pass over unseen events. Nothing is
                written.
        """
        ...

    async def post(self, tenant: str, run_id: str, entry: Entry, *, beside: Sequence[Beside] = ()) -> bool:
        """Append from outside (approval, steer, cancel), without an epoch. A waiting run becomes ready.

        A paused run becomes ready only by a ResumeRequested or CancelRequested, a failed one by a RetryRequested, which
        also counts its attempts anew. Returns False if the run ended otherwise, is unknown, or has the key: nothing is
        written then. Raises Conflict as `append` does.
        """
        ...

    def read(self, tenant: str, run_id: str, after: int = 0) -> AsyncIterator[Entry]:
        """The events with a larger seq, in order. Of an unknown run there are none."""
        ...

    async def find(self, tenant: str, run_id: str) -> RunRow | None:
        """The run, None if this tenant has no such run."""
        ...

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
        """Runs of a tenant, newest first (run ids sort by time when they are uuid7); `before` is a run id to go on from.

        Args:
            request_id: That began them; a batch is one request and many runs.
        """
        ...

    async def due(self, limit: int = 100, *, stalled_s: float = 0.0) -> list[tuple[str, str]]:
        """(tenant, run id) of runs that want a worker: ready, wake_at passed, or running and untouched for `stalled_s`.

        At most `limit` of each kind, in this order: a backlog of one must not hide the others.
        Running ones are listed only when `stalled_s` is above 0. The dispatcher knows which of them it is advancing.
        """
        ...

    async def heads(self, runs: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], tuple[int, RunStatus]]:
        """Seq of the last event and status of each of these (tenant, run id) that exists: for whoever follows many runs."""
        ...

    async def put_blob(self, tenant: str, data: bytes) -> str:
        """Keep bytes under their SHA-256 (hexadecimal), once per tenant."""
        ...

    async def get_blob(self, tenant: str, sha256: str) -> bytes:
        """The bytes kept under a hash. Raises NotFound."""
        ...

    async def purge(self, before: datetime) -> int:
        """Delete ended runs last touched before an instant, the records whose `ref` they are, and blobs nothing refers to.

        A fork has its own events and keeps the blobs alive it shares. Returns the number of runs.
        """
        ...

    async def probe(self) -> None:
        """Raises StoreUnavailable if events cannot be stored now. Costs nothing while they can."""
        ...

    async def close(self) -> None:
        """Finish what is queued and let go of the files."""
        ...


class Records(Protocol):
    """Rows beside the journal, in the same database. The tenant is a parameter of every call."""

    async def get(self, tenant: str, kind: str, id: str) -> Record | None: ...

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
        ...

    async def write(self, tenant: str, rows: Sequence[Beside]) -> None:
        """Write rows in one transaction of their own. Raises Conflict when an expected version does not stand."""
        ...

    async def due(self, kind: str, limit: int = 100) -> list[tuple[str, str]]:
        """(tenant, id) of records of a kind, of every tenant, whose `wake_at` has come, longest due first.

        It is compared with the store's clock. Who acts on one first writes it with a later `wake_at` and the version it
        read: of several processes one succeeds.
        """
        ...

    async def forget(self, kind: str, statuses: Sequence[str], before: datetime) -> int:
        """Delete records of a kind, of every tenant, with one of these statuses and last written before an instant.

        Returns how many.
        """
        ...

    async def audit_rows(self, tenant: str, after: int = 0, limit: int = 1000) -> list[Mapping[str, Any]]:
        """Audit rows in order: seq, at, the fields of `Audit`, prev and hash."""
        ...

    async def audit_head(self, tenant: str) -> tuple[int, str] | None:
        """Seq and hash of the tenant's last audit row, kept apart from the rows so that a cut-off end shows."""
        ...

    async def audit_heads(self) -> Mapping[str, tuple[int, str]]:
        """The same of every tenant that has audit rows."""
        ...


class Erasing(Protocol):
    """Takes everything of a person or a tenant away, whatever its age. Every method may be called again after a crash."""

    async def records_of(self, tenant: str, owner: str | None, kept: Collection[str]) -> list[Record]:
        """Records of this owner and those that refer to him (`ref_of`), or all; but for the `kept` kinds, oldest first."""
        ...

    async def erase_runs(self, tenant: str, run_ids: Sequence[str], blobs: Sequence[str]) -> int:
        """Delete those of these runs that have ended, and the records whose `ref` they are; returns how many runs.

        With them go the blobs of their events, and those with these hashes, unless something else refers to them.
        """
        ...

    async def erase_records(self, tenant: str, owner: str | None, kept: Collection[str]) -> int:
        """Delete what `records_of` tells."""
        ...

    async def scrub(self) -> None:
        """See to it that nothing deleted can be read in the engine's files, as far as that is in this program's hands."""
        ...


class KeyValue(Protocol):
    """State by key (row R12): bytes that outlive the process. Keys are ids or paths of ids joined by '/'."""

    @property
    def scheme(self) -> str:
        """What its URIs begin with: ``scheme://tenant/key``."""
        ...

    async def save(self, tenant: str, key: str, payload: bytes) -> str:
        """Keep `payload`, replacing what was there; returns a URI for `load_uri`."""
        ...

    async def load(self, tenant: str, key: str) -> bytes | None: ...

    async def load_uri(self, tenant: str, uri: str) -> bytes | None:
        """What `save` kept under the URI it returned; None for another tenant's. Raises InvalidInput for no such URI."""
        ...

    async def clear(self, tenant: str, key: str | None = None) -> int:
        """Forget one key, or without a key all of the tenant's. Returns how many were forgotten."""
        ...
