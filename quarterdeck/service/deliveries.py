"""What is told to the outside, to whom and by which way: the values and protocols of notices.

A notice says that something happened in a run. Each target that wants it gets a delivery: a record written in the
transaction of the event, so that a crash loses none and what was rolled back sends none. The outbox hands it to the sink of
its kind, again and again until the sink says it arrived: at least once, always with the same notice id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from quarterdeck.core.errors import SchemaMismatch
from quarterdeck.core.events import Event
from quarterdeck.core.ids import hashed_id
from quarterdeck.store.base import Beside, Put, Record

__all__ = [
    "NOTICES",
    "Delivery",
    "DeliveryStatus",
    "Happened",
    "Notice",
    "Sent",
    "Sink",
    "Subscribers",
    "Target",
    "Verdict",
    "from_record",
    "posted",
    "to_record",
]

KIND = "delivery"

NOTICES: Mapping[str, str] = {
    "run_finished": "a run gave its answer",
    "run_failed": "a run ended without an answer",
    "run_cancelled": "a run was ended because somebody wanted it to",
    "approval_needed": "a draft waits for a person",
    "approval_decided": "a person, or the clock, decided a draft",
    "write_in_doubt": "a person must say whether a started write happened",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """That something happened: ids and states, and nothing anybody said.

    Attributes:
        id: The same in every attempt and for every target; the receiver tells repeats by it.
        type: A key of `NOTICES`, or of a kind of its own that its target understands.
        data: JSON values.
    """

    id: str
    type: str
    tenant: str
    run_id: str
    at: datetime
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a notice goes.

    Attributes:
        sink: Name of the way: ``webhook``, ``stream``, ``mail``.
        address: As the sink understands it: id of a webhook, name of a stream, address of a mailbox.
        content: What this target is told beyond the notice, because it may read it.
    """

    sink: str
    address: str
    content: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """An event that is about to be stored, with its notice, for whoever says who is to be told.

    Attributes:
        agent: Of the run.
        user: Who asked.
        beside: What is written with the event: of a draft that waits, its record.
    """

    notice: Notice
    event: Event
    agent: str
    user: str
    beside: Sequence[Beside] = ()


class DeliveryStatus(StrEnum):
    """Where a delivery stands. `dead` is not tried again by itself."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A notice on its way to one target.

    Attributes:
        attempts: Times it was handed to the sink, since `first_at`.
        first_at: When it came to be, or was last sent again by hand: how long it is tried counts from here.
        due_at: When it is next tried, None when it is not.
        error: What the last attempt said, empty if none failed.
    """

    id: str
    notice: Notice
    target: Target
    status: DeliveryStatus = DeliveryStatus.WAITING
    attempts: int = 0
    first_at: datetime
    due_at: datetime | None = None
    error: str = ""


class Verdict(StrEnum):
    """What an attempt gave. `failed` is tried again, `refused` is not."""

    DELIVERED = "delivered"
    FAILED = "failed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """How an attempt went.

    Attributes:
        detail: In words for a person, without secrets and without what the receiver said.
        retry_after_s: What the receiver asked for, None if it did not.
    """

    verdict: Verdict
    detail: str = ""
    retry_after_s: float | None = None


class Sink(Protocol):
    """A way out: webhooks, event streams, mail."""

    async def send(self, delivery: Delivery) -> Sent:
        """Hand it over, within a bounded time. May be called again with the same delivery, at any process."""
        ...


class Subscribers(Protocol):
    """Knows who wants to be told of what."""

    async def targets(self, happened: Happened) -> Sequence[Target]:
        """Who is to be told of this event. Raises StoreUnavailable: then the event is not stored either."""
        ...


def posted(notice: Notice, target: Target, now: datetime) -> Put:
    """The row that has a notice delivered; to be written in the transaction of what it is about."""
    own = hashed_id(notice.id, target.sink, target.address)
    # Without an expected version: an event whose append is repeated must not fail on its own delivery.
    return Put(record=to_record(Delivery(id=own, notice=notice, target=target, first_at=now, due_at=now)))


def to_record(delivery: Delivery) -> Record:
    """A delivery as a row; it goes with its run."""
    notice, target = delivery.notice, delivery.target
    data = {
        "notice": notice.id,
        "type": notice.type,
        "tenant": notice.tenant,
        "at": notice.at.isoformat(),
        "data": notice.data,
        "sink": target.sink,
        "address": target.address,
        "content": target.content,
        "attempts": delivery.attempts,
        "first_at": delivery.first_at.isoformat(),
        "error": delivery.error,
    }
    return Record(
        kind=KIND,
        id=delivery.id,
        data=data,
        status=delivery.status,
        owner=f"{target.sink}:{target.address}",
        ref=notice.run_id,
        wake_at=delivery.due_at,
    )


def from_record(record: Record) -> Delivery:
    """Raises SchemaMismatch for a row this version cannot read."""
    data = record.data
    try:
        return Delivery(
            id=record.id,
            notice=Notice(
                id=data["notice"],
                type=data["type"],
                tenant=data["tenant"],
                run_id=record.ref,
                at=datetime.fromisoformat(data["at"]),
                data=data["data"],
            ),
            target=Target(sink=data["sink"], address=data["address"], content=data["content"]),
            status=DeliveryStatus(record.status),
            attempts=int(data["attempts"]),
            first_at=datetime.fromisoformat(data["first_at"]),
            due_at=record.wake_at,
            error=data["error"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SchemaMismatch(f"delivery {record.id} was written by another version: {error}") from error
