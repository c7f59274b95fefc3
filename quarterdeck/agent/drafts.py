"""Drafts as rows beside the journal: made when a call needs approval, found by whoever decides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from quarterdeck.agent.consents import Asked, context_of
from quarterdeck.agent.evidence import evidence_of
from quarterdeck.agent.state import RunState
from quarterdeck.core.decisions import Decision, Draft, DraftStatus, Endorsement
from quarterdeck.core.ids import content_hash, hashed_id
from quarterdeck.core.messages import ToolCall
from quarterdeck.core.tools import Tool
from quarterdeck.store.base import Put, Record, Records
from quarterdeck.store.codec import from_json, to_json

__all__ = ["KIND", "closed", "draft_of", "escalated", "from_record", "id_of", "reopened", "to_record"]

KIND = "approval"


def id_of(run_id: str, call_id: str, level: int = 1) -> str:
    """The id of a call's draft: the same each time it is asked for."""
    return hashed_id(run_id, call_id, str(level))


def draft_of(
    run_id: str,
    state: RunState,
    call: ToolCall,
    tool: Tool,
    decision: Decision,
    asked: Asked,
    now: datetime,
    level: int = 1,
    endorsed: tuple[Endorsement, ...] = (),
) -> Draft:
    """What people are asked to agree to, bound to exactly these arguments, this label and this policy.

    Args:
        asked: Which of the levels of policy it is for.
        level: How often people were asked about the call, this time included.
        endorsed: What counts of that which people said of values of this tool.
    """
    if state.started is None:
        raise ValueError("a run that has not begun proposes nothing")
    rule = asked.level
    escalates = None if rule.escalate_s is None else now + timedelta(seconds=rule.escalate_s)
    return Draft(
        id=id_of(run_id, call.id, level),
        run_id=run_id,
        call_id=call.id,
        tool=call.name,
        args=call.args,
        args_hash=content_hash(call.args),
        label=decision.label,
        policy_version=decision.policy_version,
        rule=decision.rule,
        requested_by=state.started.principal.user,
        created_at=now,
        expires_at=now + timedelta(seconds=rule.expires_s),
        risk=tool.risk if decision.risk is None else decision.risk,
        level=level,
        agent=state.started.agent,
        summary=tool.description.split("\n", 1)[0],
        reasons=decision.reasons,
        approvers=rule.by,
        context=context_of(run_id, call, decision),
        step=asked.step,
        steps=len(asked.terms.levels),
        quorum=rule.quorum,
        four_eyes=asked.terms.four_eyes,
        reason_required=asked.terms.reason_required,
        on_expiry=asked.terms.on_expiry,
        escalate_to=rule.escalate_to,
        escalates_at=escalates,
        agreed=tuple(sorted({person for consent in asked.earlier for person in consent.people})),
        consents=asked.given,
        sink=decision.sink,
        evidence=evidence_of(state, call, tool),
        endorse=decision.endorse,
        endorsed=endorsed,
        undo=tool.undo,
    )


def to_record(draft: Draft, version: int = 0) -> Record:
    """The row of a draft."""
    return Record(
        kind=KIND,
        id=draft.id,
        data=to_json(draft),
        status=draft.status,
        owner=draft.requested_by,
        ref=draft.run_id,
        version=version,
    )


def from_record(record: Record) -> Draft:
    """The draft of a row."""
    draft: Draft = from_json(Draft, record.data)
    return replace(draft, status=DraftStatus(record.status))


async def closed(
    records: Records, tenant: str, ids: Sequence[str], status: DraftStatus, now: datetime, by: str = "timeout"
) -> list[Put]:
    """Rows that close undecided drafts without a person: expired, withdrawn with their run, or no longer a question."""
    rows = []
    for draft_id in ids:
        record = await records.get(tenant, KIND, draft_id)
        if record is not None and record.status == DraftStatus.WAITING:
            draft = replace(from_record(record), status=status, decided_by=by, decided_at=now)
            rows.append(Put(record=to_record(draft), expect=record.version))
    return rows


async def escalated(records: Records, tenant: str, ids: Iterable[str]) -> list[Put]:
    """Rows of undecided drafts that others may decide from now on too."""
    rows = []
    for draft_id in ids:
        record = await records.get(tenant, KIND, draft_id)
        if record is not None and record.status == DraftStatus.WAITING:
            draft = from_record(record)
            approvers = tuple(dict.fromkeys(draft.approvers + draft.escalate_to))
            draft = replace(draft, approvers=approvers, escalated=True, escalates_at=None)
            rows.append(Put(record=to_record(draft), expect=record.version))
    return rows


async def reopened(records: Records, tenant: str, ids: Iterable[str]) -> list[Put]:
    """Rows that put withdrawn drafts to people again, because their run is tried again."""
    rows = []
    for draft_id in ids:
        record = await records.get(tenant, KIND, draft_id)
        if record is not None and record.status == DraftStatus.WITHDRAWN:
            draft = replace(from_record(record), status=DraftStatus.WAITING, decided_by=None, decided_at=None)
            rows.append(Put(record=to_record(draft), expect=record.version))
    return rows
