"""Started writes nobody knows the outcome of: shown to people, and resolved by them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from quarterdeck.agent.fold import fold
from quarterdeck.agent.state import CallState, RunState
from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Conflict, Forbidden, NotFound
from quarterdeck.core.events import DoubtResolved
from quarterdeck.core.runs import RunStatus
from quarterdeck.store.base import Audit, Entry, Journal
from quarterdeck.workflow.base import Dispatcher

__all__ = ["Doubt", "Effects"]

_RESOLVERS = ("approver", "operator", "admin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A write that was started and whose end nobody saw.

    Attributes:
        not_before: Until then the worker that started it may still be alive, and no answer is taken.
    """

    run_id: str
    call_id: str
    tool: str
    args: dict[str, Any]
    started_at: datetime
    not_before: datetime
    requested_by: str


class Effects:
    """The list of doubts of a tenant, and the word of a person that settles one."""

    def __init__(
        self,
        *,
        journal: Journal,
        dispatcher: Dispatcher,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._journal = journal
        self._dispatcher = dispatcher
        self._now = now

    async def doubts(self, principal: Principal, limit: int = 100) -> Sequence[Doubt]:
        """Open doubts of the tenant's resting runs, newest run first. Raises Forbidden without a resolving role."""
        _check_role(principal)
        found: list[Doubt] = []
        for status in (RunStatus.WAITING, RunStatus.PAUSED):
            async for run_id in self._resting(principal.tenant, status):
                state = await self._state(principal.tenant, run_id)
                found += [_doubt(run_id, state, call) for call in state.doubts]
                if len(found) >= limit:
                    return found[:limit]
        return sorted(found, key=lambda doubt: doubt.run_id, reverse=True)

    async def _resting(self, tenant: str, status: RunStatus) -> AsyncIterator[str]:
        before: str | None = None
        while rows := await self._journal.runs(tenant, status=status, before=before, limit=100):
            for row in rows:
                yield row.run_id
            before = rows[-1].run_id

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
            Conflict: The worker that started it may still be at it; the message says until when.
        """
        _check_role(principal)
        state = await self._state(principal.tenant, run_id)
        call = next((call for call in state.doubts if call.call.id == call_id), None)
        if call is None or call.doubt is None:
            raise NotFound(f"run {run_id!r} has no open doubt about call {call_id!r}")
        if self._now() < call.doubt.not_before:
            until = call.doubt.not_before.isoformat()
            raise Conflict(f"call {call_id} of run {run_id} may still be executed by its first worker until {until}")
        event = DoubtResolved(id=call_id, started_seq=call.started_seq, outcome=outcome, by=principal.user, output=output)
        audit = Audit(
            actor=f"user:{principal.user}",
            subject=f"user:{state.started.principal.user}" if state.started else "",
            action="approval",
            object=f"{run_id}:{call_id}:{call.call.name}",
            decision=f"doubt:{outcome}",
        )
        if not await self._journal.post(principal.tenant, run_id, Entry(event=event), beside=(audit,)):
            raise Conflict(f"call {call_id} of run {run_id} has been resolved already")
        await self._dispatcher.wake(principal.tenant, run_id)

    async def _state(self, tenant: str, run_id: str) -> RunState:
        return fold([entry async for entry in self._journal.read(tenant, run_id)])


def _check_role(principal: Principal) -> None:
    if not any(role in principal.roles for role in _RESOLVERS):
        raise Forbidden(f"resolving a started write needs one of the roles {', '.join(_RESOLVERS)}")


def _doubt(run_id: str, state: RunState, call: CallState) -> Doubt:
    assert call.doubt is not None
    assert call.started_at is not None  # `doubts` lists only started calls with a doubt
    return Doubt(
        run_id=run_id,
        call_id=call.call.id,
        tool=call.call.name,
        args=call.call.args,
        started_at=call.started_at,
        not_before=call.doubt.not_before,
        requested_by=state.started.principal.user if state.started else "",
    )
