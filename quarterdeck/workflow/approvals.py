"""Drafts before people: listed, read, edited, approved or rejected, once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from quarterdeck.agent.drafts import KIND, from_record, to_record
from quarterdeck.core.context import Principal
from quarterdeck.core.decisions import Consent, Draft, DraftStatus
from quarterdeck.core.errors import Conflict, Forbidden, InvalidInput, NotFound, QuarterdeckError
from quarterdeck.core.events import ApprovalDecided, ApprovalGiven, Endorsed
from quarterdeck.core.ids import content_hash
from quarterdeck.store.base import Audit, Entry, Journal, Put, Record, Records
from quarterdeck.tools.base import Toolbox
from quarterdeck.workflow.base import Dispatcher
from quarterdeck.workflow.delegations import Delegations, Seat

__all__ = ["Approvals", "Outcome"]

_HIGH_RISK = 3
_PAGE = 100  # rows read at once; those the principal has no part in are passed over
_TRIES = 8  # how often a decision is taken again because another person's came in between


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one of many decisions. Attributes: draft: None where there is an `error`."""

    draft_id: str
    draft: Draft | None = None
    error: QuarterdeckError | None = None


class Approvals:
    """The inbox of drafts. A draft is seen by who asked for it and by who may decide it; for others it does not exist.

    Args:
        delegations: Whose rights people may use besides their own; None for nobody's.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        records: Records,
        dispatcher: Dispatcher,
        toolbox: Toolbox,
        delegations: Delegations | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._journal = journal
        self._records = records
        self._dispatcher = dispatcher
        self._toolbox = toolbox
        self.delegations = delegations
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
        seats = await self._seats(principal)
        found: list[Draft] = []
        while len(found) < limit:
            rows = await self._records.find(principal.tenant, KIND, status=status, ref=run_id, before=before, limit=_PAGE)
            found += [_shown(principal, draft) for draft in map(from_record, rows) if _sees(principal, seats, draft)]
            if len(rows) < _PAGE:
                break
            before = rows[-1].id
        return found[:limit]

    async def get(self, principal: Principal, draft_id: str) -> Draft:
        """One draft. Raises NotFound for one of another tenant, and for one the principal has no part in."""
        draft, _ = await self._find(principal, await self._seats(principal), draft_id)
        return _shown(principal, draft)

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

        Where several people must agree, it stays waiting until the last of them has; one rejection ends it. Decision,
        event and audit row are one transaction; the write itself happens afterwards, on a worker, if by then policy asks
        for nobody else. The same decision by the same person again is answered as the first was.

        Raises:
            Forbidden: The principal may not decide this draft.
            Conflict: It has been decided otherwise, has expired, or its run has ended.
            InvalidArguments: The edited arguments fail the tool's schema; nothing is decided.
            InvalidInput: Policy wants a reason and there is none; or a rejection has arguments.
        """
        for last in (*(False,) * (_TRIES - 1), True):
            try:
                draft = await self._decide(principal, draft_id, approved, reason, edited_args)
            except _Overtaken:
                if last:
                    raise
                continue
            return _shown(principal, draft)
        raise AssertionError("unreachable")

    async def entitled(self, principal: Principal, draft_id: str) -> tuple[Draft, Record, Seat]:
        """A waiting draft, its row, and the right by which the principal decides it.

        Raises as `decide` does.
        """
        seats = await self._seats(principal)
        draft, record = await self._find(principal, seats, draft_id)
        seat = _seat(principal, seats, draft, again=False)
        if draft.status is not DraftStatus.WAITING:
            raise Conflict(f"draft {draft.id} is already {draft.status}")
        if draft.expires_at <= self._now():
            raise Conflict(f"draft {draft.id} expired at {draft.expires_at.isoformat()}; ask the agent again")
        return draft, record, seat

    async def decide_all(
        self, principal: Principal, draft_ids: Sequence[str], *, approved: bool, reason: str | None = None
    ) -> Sequence[Outcome]:
        """Decide many drafts of one tool alike, each by itself: what fails with one changes nothing for the others.

        Raises InvalidInput, and decides nothing, if they are drafts of different tools.
        """
        seats = await self._seats(principal)
        tools: set[str] = set()
        for draft_id in draft_ids:
            try:
                tools.add((await self._find(principal, seats, draft_id))[0].tool)
            except NotFound:
                continue  # said of this one below
        if len(tools) > 1:
            raise InvalidInput(f"ids: only drafts of one tool are decided at once, these are of {', '.join(sorted(tools))}")
        outcomes: list[Outcome] = []
        for draft_id in dict.fromkeys(draft_ids):
            try:
                draft = await self.decide(principal, draft_id, approved=approved, reason=reason)
            except (NotFound, Forbidden, Conflict, InvalidInput) as error:
                outcomes.append(Outcome(draft_id=draft_id, error=error))
            else:
                outcomes.append(Outcome(draft_id=draft_id, draft=draft))
        return outcomes

    async def _decide(
        self,
        principal: Principal,
        draft_id: str,
        approved: bool,
        reason: str | None,
        edited_args: dict[str, Any] | None,
    ) -> Draft:
        seats = await self._seats(principal)
        draft, record = await self._find(principal, seats, draft_id)
        if draft.status is not DraftStatus.WAITING:
            return _repeated(draft, principal, seats, approved, edited_args)
        now = self._now()
        given = next((consent for consent in draft.consents if consent.by == principal.user), None)
        if given is not None and approved and edited_args is None:
            return draft  # said already; the others are waited for
        seat = _seat(principal, seats, draft, again=given is not None)
        if draft.expires_at <= now:
            raise Conflict(f"draft {draft.id} expired at {draft.expires_at.isoformat()}; ask the agent again")
        if edited_args is not None and not approved:
            raise InvalidInput("edited_args belong to an approval; leave them out when rejecting")
        if draft.reason_required and not reason:
            raise InvalidInput(f"reason: whoever decides draft {draft.id} must say why")
        if approved and draft.unendorsed:
            named = ", ".join(dict.fromkeys(value.argument for value in draft.unendorsed))
            raise Conflict(f"draft {draft.id} cannot be approved before somebody has endorsed {named}")
        edited = self._bind(draft, edited_args)
        if not approved:
            return await self._close(principal, seat, draft, record, (), reason)
        own = _consent(principal, seat, draft, edited, now)
        if edited is not None:
            # What others agreed to are other arguments: only this person has agreed to these. Policy looks at them anew.
            return await self._close(principal, seat, draft, record, (own,), reason, edited)
        consents = (*draft.consents, own)
        if len(consents) < draft.quorum:
            return await self._add(principal, draft, record, own, reason)
        return await self._close(principal, seat, draft, record, consents, reason)

    async def _add(self, principal: Principal, draft: Draft, record: Record, own: Consent, reason: str | None) -> Draft:
        """One more of several has agreed."""
        agreed = replace(draft, consents=(*draft.consents, own))
        event = ApprovalGiven(id=draft.call_id, draft=draft.id, level=draft.level, consent=own, reason=reason)
        await self.post(principal, agreed, record, event, _audit(principal, agreed, own.on_behalf_of, "agreed"))
        return agreed

    async def _close(
        self,
        principal: Principal,
        seat: Seat,
        draft: Draft,
        record: Record,
        consents: tuple[Consent, ...],
        reason: str | None,
        edited: dict[str, Any] | None = None,
    ) -> Draft:
        """The draft is decided: approved with `consents`, rejected without any."""
        approved = bool(consents)
        behalf = None if seat.own else seat.user
        decided = replace(
            draft,
            status=DraftStatus.APPROVED if approved else DraftStatus.REJECTED,
            consents=consents if approved else draft.consents,
            decided_by=principal.user,
            decided_at=self._now(),
            reason=reason,
            edited_args=edited,
        )
        event = ApprovalDecided(
            id=draft.call_id,
            level=draft.level,
            approved=approved,
            by=principal.user,
            roles=seat.roles,
            args_hash=draft.args_hash,
            reason=reason,
            edited_args=edited,
            on_behalf_of=behalf,
            consents=consents,
        )
        how = decided.status if edited is None else f"{decided.status}:edited"
        await self.post(principal, decided, record, event, _audit(principal, decided, behalf, how))
        return decided

    async def post(
        self,
        principal: Principal,
        draft: Draft,
        record: Record,
        event: ApprovalDecided | ApprovalGiven | Endorsed,
        audit: Audit,
    ) -> None:
        """Write what somebody said of a draft: its row, the event and the audit row at once; its run goes on.

        Raises Conflict if somebody else came first, or the run has moved on.
        """
        beside = (Put(record=to_record(draft), expect=record.version), audit)
        try:
            posted = await self._journal.post(principal.tenant, draft.run_id, Entry(event=event), beside=beside)
        except Conflict as error:
            raise _Overtaken(f"draft {draft.id} is being decided by somebody else; look at it again") from error
        if not posted:
            raise Conflict(f"draft {draft.id} can no longer be decided: its run has moved on")
        await self._dispatcher.wake(principal.tenant, draft.run_id)

    async def _seats(self, principal: Principal) -> Sequence[Seat]:
        if self.delegations is None:
            return (Seat(user=principal.user, roles=principal.roles),)
        return await self.delegations.seats(principal)

    async def _find(self, principal: Principal, seats: Sequence[Seat], draft_id: str) -> tuple[Draft, Record]:
        record = await self._records.get(principal.tenant, KIND, draft_id)
        if record is not None:
            draft = from_record(record)
            if _sees(principal, seats, draft):
                return draft, record
        raise NotFound(f"there is no draft {draft_id!r}")

    def _bind(self, draft: Draft, edited_args: dict[str, Any] | None) -> dict[str, Any] | None:
        if edited_args is None:
            return None
        tool = self._toolbox.get(draft.tool)
        if tool is None:
            raise Conflict(f"tool {draft.tool} of draft {draft.id} is no longer there; reject the draft")
        edited = tool.bind(edited_args)
        return edited if content_hash(edited) != draft.args_hash else None


class _Overtaken(Conflict):
    """Another person's word on the draft came in between."""


def _seat(principal: Principal, seats: Sequence[Seat], draft: Draft, *, again: bool) -> Seat:
    """The right by which the principal decides the draft. Raises Forbidden if he has none.

    Args:
        again: He agreed before, and says something else now.
    """
    holding = [seat for seat in seats if _holds(seat, draft)]
    if not holding:
        raise Forbidden(f"draft {draft.id} needs {_needed(draft)}")
    if _four_eyes(draft):
        holding = [seat for seat in holding if draft.requested_by not in (seat.user, principal.user)]
        if not holding:
            why = "high risk" if draft.risk >= _HIGH_RISK else "four eyes"
            raise Forbidden(f"draft {draft.id} wants {why}: somebody other than {draft.requested_by}, who asked, decides it")
    heard = set(draft.agreed) | {person for each in draft.consents if not again for person in each.people}
    fresh = [seat for seat in holding if heard.isdisjoint({seat.user, principal.user})]
    if not fresh:
        raise Forbidden(f"draft {draft.id} wants another person: {principal.user} has agreed to this call already")
    return fresh[0]


def _consent(principal: Principal, seat: Seat, draft: Draft, edited: dict[str, Any] | None, now: datetime) -> Consent:
    return Consent(
        by=principal.user,
        at=now,
        # For as long again as the draft could have waited: what is executed later than that is asked for anew.
        good_until=now + (draft.expires_at - draft.created_at),
        args_hash=draft.args_hash if edited is None else content_hash(edited),
        context=draft.context,
        roles=seat.roles,
        on_behalf_of=None if seat.own else seat.user,
        escalated=draft.escalated,
        credential=principal.credential,
    )


def _needed(draft: Draft) -> str:
    allowed = draft.approvers or ("approver",)
    people = [name.removeprefix("user:") for name in allowed if name.startswith("user:")]
    roles = [f"the role {name}" for name in allowed if not name.startswith("user:")]
    return " or ".join((*roles, *people))


def _four_eyes(draft: Draft) -> bool:
    return draft.four_eyes or draft.risk >= _HIGH_RISK


def _holds(seat: Seat, draft: Draft) -> bool:
    return not seat.names.isdisjoint(draft.approvers or ("approver",))


def _sees(principal: Principal, seats: Sequence[Seat], draft: Draft) -> bool:
    return principal.user == draft.requested_by or any(_holds(seat, draft) for seat in seats)


def _shown(principal: Principal, draft: Draft) -> Draft:
    """The draft without those snippets of its evidence that the principal may not read."""
    if all(each.readers.admits(principal.names) for each in draft.evidence):
        return draft
    shown = (each if each.readers.admits(principal.names) else replace(each, snippet="") for each in draft.evidence)
    return replace(draft, evidence=tuple(shown))


def _repeated(
    draft: Draft, principal: Principal, seats: Sequence[Seat], approved: bool, edited_args: dict[str, Any] | None
) -> Draft:
    if not any(_holds(seat, draft) for seat in seats):
        raise Forbidden(f"draft {draft.id} needs {_needed(draft)}")
    verdict = DraftStatus.APPROVED if approved else DraftStatus.REJECTED
    his = draft.decided_by == principal.user or any(principal.user == consent.by for consent in draft.consents)
    if not (draft.status is verdict and his and edited_args in (None, draft.edited_args)):
        raise Conflict(f"draft {draft.id} is already {draft.status} by {draft.decided_by}")
    return draft


def _audit(principal: Principal, draft: Draft, on_behalf_of: str | None, how: str) -> Audit:
    return Audit(
        actor=f"user:{principal.user}",
        subject=f"user:{draft.requested_by}",
        action="approval",
        object=f"{draft.run_id}:{draft.call_id}:{draft.tool}",
        decision=how if on_behalf_of is None else f"{how}:for {on_behalf_of}",
        args_hash=draft.args_hash if draft.edited_args is None else content_hash(draft.edited_args),
    )
