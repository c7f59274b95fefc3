"""Started writes nobody knows the end of, as rows beside the journal: put when raised, found by whoever resolves them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from quarterdeck.agent.state import CallState, RunState
from quarterdeck.core.events import InDoubt
from quarterdeck.core.ids import hashed_id
from quarterdeck.store.base import Put, Record, Records
from quarterdeck.store.codec import from_json, to_json

__all__ = [
    "KIND",
    "OPEN",
    "RESOLVED",
    "WITHDRAWN",
    "Doubt",
    "closed",
    "from_record",
    "id_of",
    "moved",
    "reopened",
    "to_record",
]

KIND = "doubt"
OPEN, RESOLVED, WITHDRAWN = "open", "resolved", "withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A write that was started and whose end nobody saw.

    Attributes:
        started_seq: Seq of the start it is about.
        not_before: Until then the worker that started it may still be alive, and no answer is taken.
        four_eyes: Whoever asked for it may not say what became of it.
        approvers: Roles and people who were asked to approve it, and so have seen its arguments.
    """

    run_id: str
    call_id: str
    tool: str
    args: dict[str, Any]
    started_seq: int
    started_at: datetime
    not_before: datetime
    requested_by: str
    four_eyes: bool = False
    approvers: tuple[str, ...] = ()


def id_of(run_id: str, call_id: str, started_seq: int) -> str:
    """The id of a doubt's row: one per attempt."""
    return hashed_id(run_id, call_id, str(started_seq))


def to_record(run_id: str, state: RunState, call: CallState, event: InDoubt) -> Record:
    """The row of a doubt that is being raised."""
    assert call.started_at is not None  # only what was started is in doubt
    terms = call.decision.terms if call.decision is not None else None
    doubt = Doubt(
        run_id=run_id,
        call_id=event.id,
        tool=call.call.name,
        args=call.call.args,
        started_seq=event.started_seq,
        started_at=call.started_at,
        not_before=event.not_before,
        requested_by=state.started.principal.user if state.started else "",
        four_eyes=terms is not None and terms.four_eyes,
        approvers=() if terms is None else tuple(name for level in terms.levels for name in level.by + level.escalate_to),
    )
    return Record(
        kind=KIND,
        id=id_of(run_id, event.id, event.started_seq),
        data=to_json(doubt),
        status=OPEN,
        owner=doubt.requested_by,
        ref=run_id,
    )


def from_record(record: Record) -> Doubt:
    """The doubt of a row."""
    return from_json(Doubt, record.data)


def moved(record: Record, status: str) -> Put:
    """The row with another status, if nobody has touched it since it was read."""
    row = Record(kind=KIND, id=record.id, data=record.data, status=status, owner=record.owner, ref=record.ref)
    return Put(record=row, expect=record.version)


async def closed(records: Records, tenant: str, run_id: str, calls: Iterable[CallState]) -> list[Put]:
    """Rows that withdraw the open doubts of a run that ends before a person has spoken."""
    return [moved(record, WITHDRAWN) for record in await _rows(records, tenant, run_id, calls) if record.status == OPEN]


async def reopened(records: Records, tenant: str, run_id: str, calls: Iterable[CallState]) -> list[Put]:
    """Rows that put withdrawn doubts to people again, because their run is tried again."""
    return [moved(record, OPEN) for record in await _rows(records, tenant, run_id, calls) if record.status == WITHDRAWN]


async def _rows(records: Records, tenant: str, run_id: str, calls: Iterable[CallState]) -> list[Record]:
    found = [await records.get(tenant, KIND, id_of(run_id, call.call.id, call.started_seq)) for call in calls]
    return [record for record in found if record is not None]
