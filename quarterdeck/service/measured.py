"""What is stored is counted: a journal around another, whose events become metrics once they are durable."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from quarterdeck.agent.drafts import KIND, from_record
from quarterdeck.core.decisions import DraftStatus
from quarterdeck.core.errors import SchemaMismatch
from quarterdeck.core.events import (
    AnswerRejected,
    ApprovalRequested,
    Decided,
    DocumentIngested,
    Event,
    FinalAnswer,
    GuardrailFired,
    ModelReply,
    RunCancelled,
    RunFailed,
    RunStarted,
    StateFolded,
    ToolReturned,
)
from quarterdeck.core.propagation import named
from quarterdeck.core.runs import RunStatus
from quarterdeck.store.around import JournalAround
from quarterdeck.store.base import Appended, Beside, Claim, Entry, Journal, Put

if TYPE_CHECKING:  # its package is one of the server's
    from quarterdeck.telemetry.metrics import Metrics

__all__ = ["MeasuredJournal"]

log = logging.getLogger(__name__)


class MeasuredJournal(JournalAround):
    """`Journal` around another. Each event is counted by the process that stored it, once."""

    def __init__(self, journal: Journal, metrics: Metrics) -> None:
        super().__init__(journal)
        self._metrics = metrics

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
        # What follows in a fork was counted where it happened.
        created = await self._journal.create(tenant, run_id, started, then=then, beside=beside, order=order)
        if created:
            self._tell(started.event, _beginning((started,)))
        return created

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
        appended = await self._journal.append(claim, entries, folded=folded, status=status, wake_at=wake_at, beside=beside)
        for entry in appended.entries:
            self._tell(entry.event, _beginning(claim.entries))
        self._tell_of_drafts(beside)
        return appended

    async def post(self, tenant: str, run_id: str, entry: Entry, *, beside: Sequence[Beside] = ()) -> bool:
        posted = await self._journal.post(tenant, run_id, entry, beside=beside)
        if posted:
            self._tell(entry.event, _Beginning())
            self._tell_of_drafts(beside)
        return posted

    def _tell(self, event: Event, began: _Beginning) -> None:
        metrics = self._metrics
        match event:
            case RunStarted():
                metrics.run_started(began.agent, began.tags)
            case ModelReply():
                metrics.reply(event.model, event.finish_reason, event.usage, event.attempts)
            case Decided():
                for decision in event.decisions:
                    metrics.decision(decision.verdict)
            case ToolReturned(result=result):
                metrics.tool(result.name, result.status, result.error, result.duration_ms / 1000)
            case ApprovalRequested():
                metrics.approval_requested()
            case AnswerRejected():
                metrics.answer_rejected()
            case GuardrailFired():
                metrics.guard(event.layer, event.verdict)
            case DocumentIngested():
                metrics.document(event.outcome)
            case FinalAnswer(answer=answer):
                supports = [citation.support for citation in answer.citations]
                metrics.answer(began.agent, answer.confidence, supports, review=answer.needs_human_review)
                metrics.run_ended("done", event.stop_reason, began.tags)
            case RunFailed():
                metrics.run_ended("failed", event.code, began.tags)
            case RunCancelled():
                metrics.run_ended("cancelled", "cancelled", began.tags)

    def _tell_of_drafts(self, beside: Iterable[Beside]) -> None:
        for row in beside:
            if not isinstance(row, Put) or row.record.kind != KIND or row.record.status == DraftStatus.WAITING:
                continue
            try:
                draft = from_record(row.record)
            except (SchemaMismatch, ValueError):  # it is stored, and whoever stored it must not hear otherwise
                log.exception("a draft that was stored cannot be counted")
                continue
            if draft.decided_at is not None:
                waited = draft.decided_at - draft.created_at
                self._metrics.approval_decided(draft.status, waited.total_seconds())


@dataclass(frozen=True, slots=True)
class _Beginning:
    """Whose run it is, and how its request was tagged; nothing where what happens to it came from outside."""

    agent: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


def _beginning(entries: Sequence[Entry]) -> _Beginning:
    """How a run began, from its first event or from the state a long run was folded to."""
    match entries[0].event if entries else None:
        case RunStarted(agent=agent, tags=tags):
            return _Beginning(agent, named(tags))
        case StateFolded(state={"started": {"agent": str(agent), **started}}):
            given = started.get("tags")
            return _Beginning(agent, named(given) if isinstance(given, Mapping) else {})
    return _Beginning()
