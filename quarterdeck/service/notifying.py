"""Who is to be told of an event is written down with it: a journal around another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from quarterdeck.core.events import (
    ApprovalDecided,
    ApprovalEscalated,
    ApprovalRequested,
    Event,
    FinalAnswer,
    InDoubt,
    RunCancelled,
    RunFailed,
    RunStarted,
)
from quarterdeck.core.ids import hashed_id
from quarterdeck.core.runs import RunStatus
from quarterdeck.service.deliveries import Happened, Notice, Subscribers, posted
from quarterdeck.store.around import JournalAround
from quarterdeck.store.base import Appended, Beside, Claim, Entry, Journal

__all__ = ["NotifyingJournal"]


class NotifyingJournal(JournalAround):
    """`Journal` around another, which adds deliveries to what is written in the transaction of an event.

    A run that begins with events of another, as a fork does, tells nobody of them: they happened there.

    Args:
        subscribers: Asked one after the other for the targets of each notice.
        written: Told that there is something to deliver; a hint, the records say what.
        now: Gives aware UTC.
    """

    def __init__(
        self,
        journal: Journal,
        subscribers: Sequence[Subscribers],
        written: Callable[[], None] = lambda: None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(journal)
        self._subscribers = subscribers
        self._written = written
        self._now = now

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
        extra = await self._deliveries(claim.tenant, claim.run_id, entries, beside, claim.entries)
        appended = await self._journal.append(
            claim, entries, folded=folded, status=status, wake_at=wake_at, beside=(*beside, *extra) if extra else beside
        )
        if extra:
            self._written()
        return appended

    async def post(self, tenant: str, run_id: str, entry: Entry, *, beside: Sequence[Beside] = ()) -> bool:
        extra = await self._deliveries(tenant, run_id, (entry,), beside)
        done = await self._journal.post(tenant, run_id, entry, beside=(*beside, *extra) if extra else beside)
        if done and extra:
            self._written()
        return done

    async def _deliveries(
        self,
        tenant: str,
        run_id: str,
        entries: Sequence[Entry],
        beside: Sequence[Beside],
        begun: Sequence[Entry] = (),
    ) -> list[Beside]:
        """The rows that have these events told to whoever wants to hear of them."""
        rows: list[Beside] = []
        for entry in entries:
            told = _told(entry.event)
            if told is None:
                continue
            kind, data = told
            agent, user, session_id = await self._whose(tenant, run_id, begun)
            now = self._now()
            notice = Notice(
                # A run fails as often as it is tried again; every other of these events has a key and stands once.
                id=f"evt_{hashed_id(tenant, run_id, entry.key or entry.event.key or f'{kind}:{entry.seq}')}",
                type=kind,
                tenant=tenant,
                run_id=run_id,
                at=entry.at or now,
                data={"run_id": run_id, "agent": agent, "session_id": session_id, **data},
            )
            happened = Happened(notice=notice, event=entry.event, agent=agent, user=user, beside=beside)
            for subscribers in self._subscribers:
                rows += [posted(notice, target, now) for target in await subscribers.targets(happened)]
        return rows

    async def _whose(self, tenant: str, run_id: str, begun: Sequence[Entry]) -> tuple[str, str, str | None]:
        match begun[0].event if begun else None:
            case RunStarted(agent=agent, principal=principal, session_id=session_id):
                return agent, principal.user, session_id
        row = await self._journal.find(tenant, run_id)
        return (row.agent, row.user, row.session_id) if row is not None else ("", "", None)


def _told(event: Event) -> tuple[str, dict[str, Any]] | None:
    """The notice of an event and what it says beside whose run it is, None for one nobody is told of."""
    match event:
        case FinalAnswer(answer=answer):
            review = {"confidence": answer.confidence, "needs_human_review": answer.needs_human_review}
            return "run_finished", {"status": RunStatus.DONE, "stop_reason": event.stop_reason, **review}
        case RunFailed():
            why = {"code": event.code, "stop_reason": event.stop_reason, "poison": event.poison}
            return "run_failed", {"status": RunStatus.FAILED, **why}
        case RunCancelled(by=by):
            return "run_cancelled", {"status": RunStatus.CANCELLED, "by": by}
        case ApprovalRequested():
            draft = {"draft_id": event.draft, "call_id": event.id, "level": event.level}
            until = {"approvers": list(event.approvers), "expires_at": event.expires_at.isoformat()}
            return "approval_needed", {"status": RunStatus.WAITING, **draft, **until}
        case ApprovalEscalated():
            draft = {"draft_id": event.draft, "call_id": event.id, "level": event.level, "escalated": True}
            until = {"approvers": list(event.to), "expires_at": event.expires_at.isoformat()}
            return "approval_needed", {"status": RunStatus.WAITING, **draft, **until}
        case ApprovalDecided():
            return "approval_decided", {
                "call_id": event.id,
                "level": event.level,
                "approved": event.approved,
                "by": event.by,
            }
        case InDoubt():
            return "write_in_doubt", {"status": RunStatus.WAITING, "call_id": event.id}
    return None
