"""Drafts before people: listed, read, edited, approved or rejected, once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from quarterdeck.agent.drafts import KIND, from_record, to_record
from quarterdeck.core.context import Principal
from quarterdeck.core.decisions import Draft, DraftStatus
from quarterdeck.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from quarterdeck.core.events import ApprovalDecided
from quarterdeck.core.ids import content_hash
from quarterdeck.store.base import Audit, Entry, Journal, Put, Record, Records
from quarterdeck.tools.base import Toolbox
from quarterdeck.workflow.base import Dispatcher

__all__ = ["Approvals"]

_HIGH_RISK = 3
_PAGE = 100  # rows read at once; those the principal has no part in are passed over


class Approvals:
    """The inbox of drafts. A draft is seen by who asked for it and by who may decide it; for others it does not exist."""

    def __init__(
        self,
        *,
        journal: Journal,
        records: Records,
        dispatcher: Dispatcher,
        toolbox: Toolbox,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._journal = journal
        self._records = records
        self._dispatcher = dispatcher
        self._toolbox = toolbox
        self._now = now

    async def list(
        self,
        principal: Principal,
        *,
        status: DraftStatus | None = None,
        run_id: str | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> Sequence[Draft]:
        """Drafts the principal may see, newest first; `before` is a draft id to go on from."""
        found: list[Draft] = []
        while len(found) < limit:
            rows = await self._records.find(principal.tenant, KIND, status=status, ref=run_id, before=before, limit=_PAGE)
            found += [draft for draft in map(from_record, rows) if _sees(principal, draft)]
            if len(rows) < _PAGE:
                break
            before = rows[-1].id
        return found[:limit]

    async def get(self, principal: Principal, draft_id: str) -> Draft:
        """One draft. Raises NotFound for one of another tenant, and for one the principal has no part in."""
        draft, _ = await self._find(principal, draft_id)
        return draft

    async def decide(
        self,
        principal: Principal,
        draft_id: str,
        *,
        approved: bool,
        reason: str | None = None,
        edited_args: dict[str, Any] | None = None,
    ) -> Draft:
        """Approve or reject a draft, with other arguments if `edited_args` is given; its run goes on.

        The decision, the event and the audit row are one transaction; the write itself happens afterwards, on a worker.
        The same decision by the same person again is answered as the first was.

        Raises:
            Forbidden: The principal may not decide this draft.
            Conflict: It has been decided otherwise, has expired, or its run has ended.
            InvalidArguments: The edited arguments fail the tool's schema; nothing is decided.
        """
        draft, record = await self._find(principal, draft_id)
        self._check_right(principal, draft)
        if draft.status is not DraftStatus.WAITING:
            return _repeated(draft, principal, approved, edited_args)
        now = self._now()
        if draft.expires_at <= now:
            raise Conflict(f"draft {draft.id} expired at {draft.expires_at.isoformat()}; ask the agent again")
        if edited_args is not None and not approved:
            raise InvalidInput("edited_args belong to an approval; leave them out when rejecting")
        edited = self._bind(draft, edited_args)
        decided = replace(
            draft,
            status=DraftStatus.APPROVED if approved else DraftStatus.REJECTED,
            decided_by=principal.user,
            decided_at=now,
            reason=reason,
            edited_args=edited,
        )
        event = ApprovalDecided(
            id=draft.call_id,
            level=draft.level,
            approved=approved,
            by=principal.user,
            roles=principal.roles,
            args_hash=draft.args_hash,
            reason=reason,
            edited_args=edited,
        )
        beside = (Put(record=to_record(decided), expect=record.version), _audit(principal, decided))
        if not await self._journal.post(principal.tenant, draft.run_id, Entry(event=event), beside=beside):
            raise Conflict(f"draft {draft.id} can no longer be decided: its run has moved on")
        await self._dispatcher.wake(principal.tenant, draft.run_id)
        return decided

    async def _find(self, principal: Principal, draft_id: str) -> tuple[Draft, Record]:
        record = await self._records.get(principal.tenant, KIND, draft_id)
        if record is not None:
            draft = from_record(record)
            if _sees(principal, draft):
                return draft, record
        raise NotFound(f"there is no draft {draft_id!r}")

    def _check_right(self, principal: Principal, draft: Draft) -> None:
        if not _may_decide(principal, draft):
            needed = " or ".join(draft.approvers) or "approver"
            raise Forbidden(f"draft {draft.id} needs the role {needed}")
        if draft.risk >= _HIGH_RISK and principal.user == draft.requested_by:
            raise Forbidden(
                f"draft {draft.id} has high risk: somebody other than {principal.user}, who asked, must decide it"
            )

    def _bind(self, draft: Draft, edited_args: dict[str, Any] | None) -> dict[str, Any] | None:
        if edited_args is None:
            return None
        tool = self._toolbox.get(draft.tool)
        if tool is None:
            raise Conflict(f"tool {draft.tool} of draft {draft.id} is no longer there; reject the draft")
        edited = tool.bind(edited_args)
        return edited if content_hash(edited) != draft.args_hash else None


def _may_decide(principal: Principal, draft: Draft) -> bool:
    allowed = draft.approvers or ("approver",)
    return any(role in principal.roles for role in allowed)


def _sees(principal: Principal, draft: Draft) -> bool:
    return principal.user == draft.requested_by or _may_decide(principal, draft)


def _repeated(draft: Draft, principal: Principal, approved: bool, edited_args: dict[str, Any] | None) -> Draft:
    verdict = DraftStatus.APPROVED if approved else DraftStatus.REJECTED
    same = draft.status is verdict and draft.decided_by == principal.user and edited_args in (None, draft.edited_args)
    if not same:
        raise Conflict(f"draft {draft.id} is already {draft.status} by {draft.decided_by}")
    return draft


def _audit(principal: Principal, draft: Draft) -> Audit:
    return Audit(
        actor=f"user:{principal.user}",
        subject=f"user:{draft.requested_by}",
        action="approval",
        object=f"{draft.run_id}:{draft.call_id}:{draft.tool}",
        decision=draft.status if draft.edited_args is None else f"{draft.status}:edited",
        args_hash=draft.args_hash if draft.edited_args is None else content_hash(draft.edited_args),
    )
