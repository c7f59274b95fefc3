"""Started writes nobody knows the outcome of: shown to people, and resolved by them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

from quarterdeck.agent.doubts import KIND, OPEN, RESOLVED, Doubt, from_record, id_of, moved
from quarterdeck.agent.fold import fold
from quarterdeck.agent.state import RunState
from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Conflict, Forbidden, NotFound
from quarterdeck.core.events import DoubtResolved
from quarterdeck.store.base import Audit, Beside, Entry, Journal, Records
from quarterdeck.workflow.base import Dispatcher

__all__ = ["Effects"]

_RESOLVERS = ("approver", "operator", "admin")
_PAGE = 100  # rows read at once; those that may not be answered yet are passed over


class Effects:
    """The list of doubts of a tenant, and the word of a person that settles one."""

    def __init__(
        self,
        *,
        journal: Journal,
        records: Records,
        dispatcher: Dispatcher,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._journal = journal
        self._records = records
        self._dispatcher = dispatcher
        self._now = now

    async def doubts(self, principal: Principal, limit: int = 100) -> Sequence[Doubt]:
        """Open doubts of the tenant that may be resolved by now, newest first.

        Arguments are shown to whoever asked for the write or was to approve it; others see that there is a doubt.

        Raises Forbidden without a resolving role.
        """
        _check_role(principal)
        found: list[Doubt] = []
        before: str | None = None
        while len(found) < limit:
            rows = await self._records.find(principal.tenant, KIND, status=OPEN, before=before, limit=_PAGE)
            found += [_shown(principal, doubt) for doubt in map(from_record, rows) if doubt.not_before <= self._now()]
            if len(rows) < _PAGE:
                break
            before = rows[-1].id
        return found[:limit]

    async def resolve(
        self,
        principal: Principal,
        run_id: str,
        call_id: str,
        outcome: Literal["done", "repeat", "failed"],
        output: str = "",
    ) -> None:
        """Say what became of a started write; the run goes on.

        Args:
            outcome: `done`: it happened, `output` is what it gave; `repeat`: do it again; `failed`: it did not happen and
                shall not.

        Raises:
            NotFound: No such doubt is open.
            Forbidden: No resolving role; or the principal asked for the write himself and policy wants four eyes.
            Conflict: The worker that started it may still be at it, the message says until when; or the run has ended.
        """
        _check_role(principal)
        state = await self._state(principal.tenant, run_id)
        call = next((call for call in state.doubts if call.call.id == call_id), None)
        if call is None or call.doubt is None:
            raise NotFound(f"run {run_id!r} has no open doubt about call {call_id!r}")
        if state.ended is not None:
            raise Conflict(
                f"run {run_id} has ended before call {call_id} was resolved; retry it, and the doubt is open again"
            )
        if self._now() < call.doubt.not_before:
            until = call.doubt.not_before.isoformat()
            raise Conflict(f"call {call_id} of run {run_id} may still be executed by its first worker until {until}")
        terms = call.decision.terms if call.decision is not None else None
        asker = state.started.principal.user if state.started else ""
        if terms is not None and terms.four_eyes and principal.user == asker:
            raise Forbidden(
                f"call {call_id} wants four eyes: somebody other than {asker}, who asked, says what became of it"
            )
        event = DoubtResolved(id=call_id, started_seq=call.started_seq, outcome=outcome, by=principal.user, output=output)
        audit = Audit(
            actor=f"user:{principal.user}",
            subject=f"user:{asker}" if asker else "",
            action="approval",
            object=f"{run_id}:{call_id}:{call.call.name}",
            decision=f"doubt:{outcome}",
        )
        beside: list[Beside] = [audit]
        record = await self._records.get(principal.tenant, KIND, id_of(run_id, call_id, call.started_seq))
        if record is not None:
            beside.append(moved(record, RESOLVED))
        if not await self._journal.post(principal.tenant, run_id, Entry(event=event), beside=beside):
            raise Conflict(f"call {call_id} of run {run_id} has been resolved already")
        await self._dispatcher.wake(principal.tenant, run_id)

    async def _state(self, tenant: str, run_id: str) -> RunState:
        return fold([entry async for entry in self._journal.read(tenant, run_id)])


def _shown(principal: Principal, doubt: Doubt) -> Doubt:
    names = {f"user:{principal.user}", *principal.roles}
    if principal.user == doubt.requested_by or not names.isdisjoint(doubt.approvers):
        return doubt
    return replace(doubt, args={})


def _check_role(principal: Principal) -> None:
    if not any(role in principal.roles for role in _RESOLVERS):
        raise Forbidden(f"resolving a started write needs one of the roles {', '.join(_RESOLVERS)}")
