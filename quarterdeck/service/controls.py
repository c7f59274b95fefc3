"""What people do with runs that exist: stop them, let them rest, speak into them, try them again, go on elsewhere from them.

All but the last are events from outside, so it works whichever process advances the run, and whether one does. Whoever may
see a run may do so: the one who asked, and an operator. Each is audited in the transaction of its event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from quarterdeck.agent import doubts, drafts
from quarterdeck.agent.base import Directory
from quarterdeck.agent.fold import fold
from quarterdeck.agent.forking import fork_of
from quarterdeck.agent.state import RunState
from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Conflict, Forbidden, KeyReused
from quarterdeck.core.events import (
    CancelRequested,
    Event,
    PauseRequested,
    ResumeRequested,
    RetryRequested,
    RunStarted,
    Steer,
)
from quarterdeck.core.ids import hashed_id, new_id
from quarterdeck.core.labels import Integrity, Label, Readers
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.core.runs import RunStatus
from quarterdeck.policy.guards.layers import Guards, GuardsOf
from quarterdeck.policy.guards.markers import neutral
from quarterdeck.service.api_keys import MAKING
from quarterdeck.service.intake import admitted, cleaned, looking
from quarterdeck.service.runs import Runs
from quarterdeck.service.specs import BlobSpecs
from quarterdeck.service.views import RunView
from quarterdeck.service.withdrawn import Withdrawals
from quarterdeck.store.base import Audit, Beside, Entry, Journal, Records, RunRow
from quarterdeck.workflow.base import Dispatcher
from quarterdeck.workflow.undoing import claimed_again

__all__ = ["Controls", "Fork"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """Where a run is to be forked, and the request that wants it.

    Attributes:
        at: Seq of the last event the new run has in common with it.
        idempotency_key: The same key from the same person is the same fork of a run, however often it is sent.
    """

    at: int
    idempotency_key: str | None = None
    request_id: str | None = None
    trace_id: str | None = None
    span_id: str | None = None


class Controls:
    """Commands to runs.

    Args:
        directory: Knows what the one who asked may read now, where somebody else wants a run to go on.
        guards: What looks at what is said into a run, by agent.
        interrupt: Makes whoever advances a run of a tenant look at its journal at once.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        records: Records,
        specs: BlobSpecs,
        dispatcher: Dispatcher,
        directory: Directory,
        interrupt: Callable[[str, str], None],
        guards: GuardsOf = lambda agent: Guards(),
        withdrawals: Withdrawals | None = None,
    ) -> None:
        self._journal = journal
        self._records = records
        self._specs = specs
        self._dispatcher = dispatcher
        self._directory = directory
        self._guards = guards
        self._interrupt = interrupt
        self._runs = Runs(journal, withdrawals)

    async def cancel(self, principal: Principal, run_id: str, reason: str = "") -> RunView:
        """Ask a run to end; a model call in flight is cut. Asking twice changes nothing.

        Raises NotFound, and Conflict when it has ended.
        """
        row = await self._open(principal, run_id)
        if (await self._state(row)).cancel is None:
            event = CancelRequested(by=principal.user, reason=_reason(reason))
            await self._post(principal, row, event, f"cancel:{row.head}")
        self._interrupt(principal.tenant, run_id)
        return await self._woken(principal, run_id)

    async def pause(self, principal: Principal, run_id: str, reason: str = "") -> RunView:
        """Ask a run to rest before its next step; what it has begun it ends. Asking twice changes nothing.

        Raises NotFound, and Conflict when it has ended.
        """
        row = await self._open(principal, run_id)
        if not (await self._state(row)).paused:
            event = PauseRequested(by=principal.user, reason=_reason(reason))
            await self._post(principal, row, event, f"pause:{row.head}")
        return await self._woken(principal, run_id)

    async def resume(self, principal: Principal, run_id: str, reason: str = "") -> RunView:
        """Let a run go on that rests, or is about to.

        Raises NotFound, and Conflict when it has ended or nobody has paused it.
        """
        row = await self._open(principal, run_id)
        if not (await self._state(row)).paused:
            raise Conflict(f"run {run_id} is not paused; it is {row.status.value}")
        event = ResumeRequested(by=principal.user, reason=_reason(reason))
        await self._post(principal, row, event, f"resume:{row.head}")
        return await self._woken(principal, run_id)

    async def steer(self, principal: Principal, run_id: str, text: str, key: str | None = None) -> RunView:
        """Say something into a run: its model hears it before its next reply, behind the results of open calls.

        Only the words of the one who asked are his: they ground what the agent does on his behalf. An operator's are read
        like those of a colleague.

        Args:
            key: The same key from the same person is one message, however often it is sent.

        Raises:
            NotFound: No such run.
            Conflict: It has ended, or no model works in it that could hear.
            Forbidden: It is his own and may do more than what he came with.
            KeyReused: The key was used for another message.
            InvalidInput: Nothing visible was said, or a guard blocks it; ContextTooLarge: it can fit no model call.
        """
        row = await self._open(principal, run_id)
        started = (await self._state(row)).started
        if started is None:
            raise Conflict(f"run {run_id} has not begun")
        if started.work != "agent":
            raise Conflict(f"run {run_id} has no model that could hear: it brings documents in")
        own = row.user == principal.user
        if own:
            await self._check_may_as_much(principal, run_id, started.principal)
        agent, guards = await self._specs.get(row.tenant, started.config_hash), self._guards(started.agent)
        context = looking(principal, run_id, started.agent)
        said, found = await admitted(neutral(cleaned(text)), agent, guards, self._records, context, "steer")
        label = Label(
            integrity=Integrity.TRUSTED if own else Integrity.ENDORSED,
            readers=Readers.of(f"user:{row.user}"),
            sources=(f"run:{run_id}",),
        )
        event = Steer(by=principal.user, message=Message(role=Role.USER, parts=(Text(text=said, label=label),)))
        entry_key = None if key is None else f"steer:{hashed_id(principal.user, key)}"
        for each in found:  # before what they are about, and once for all that is said into the run
            await self._journal.post(row.tenant, run_id, Entry(event=each, key=f"steer:{each.rule}:{each.action}"))
        if not await self._post(principal, row, event, entry_key):
            await self._check_repeated(row, entry_key, said)
        return await self._woken(principal, run_id)

    async def retry(self, principal: Principal, run_id: str, reason: str = "") -> RunView:
        """Have a failed run go on from where it failed, with the limits and the configuration it began with.

        Raises:
            NotFound: No such run.
            Conflict: It has not failed, or another takes back by now what it was to take back.
            Forbidden: It rests on what the one who asked may not read any more.
        """
        row = await self._runs.row(principal, run_id)
        if row.status is not RunStatus.FAILED:
            raise Conflict(f"run {run_id} has not failed; it is {row.status.value}")
        event = RetryRequested(by=principal.user, reason=_reason(reason))
        entries = await self._runs.entries(row.tenant, run_id)
        await self._check_goes_on(principal, run_id, entries)
        reopened = await self._reopened(row, fold(entries))
        await self._post(principal, row, event, f"retry:{row.head}", reopened)
        return await self._woken(principal, run_id)

    async def fork(self, principal: Principal, run_id: str, fork: Fork) -> RunView:
        """Begin a new run with the first events of this one; it goes on by itself.

        It belongs to the one who asked, with the configuration and the limits of the original, and to no session: what comes
        of it is no part of a conversation somebody else may be having.

        Raises:
            NotFound: No such run.
            InvalidInput: It cannot be forked there; the message says why, and where it can.
            Forbidden: What it has seen up to there the one who asked may not read any more; or it is the principal's own and
                may do more than what he came with.
            KeyReused: The key was used for another fork of this run.
        """
        row = await self._runs.row(principal, run_id)
        key = fork.idempotency_key
        new = new_id() if key is None else hashed_id(row.tenant, principal.user, "fork", run_id, key)
        entries = await self._runs.entries(row.tenant, run_id)
        started, then = fork_of(
            entries,
            fork.at,
            run_id,
            trace_id=fork.trace_id,
            span_id=fork.span_id,
            request_id=fork.request_id,
        )
        await self._check_goes_on(principal, run_id, entries[: fork.at])
        assert isinstance(started.event, RunStarted)  # every run begins with it
        asker = started.event.principal
        if asker.user == principal.user:
            await self._check_may_as_much(principal, run_id, asker)
            asker = replace(asker, credential=principal.credential or asker.credential)  # it ends with what it came of
        alone = Entry(event=replace(started.event, session_id=None, principal=asker))
        audit = _audit(principal, row, "fork", f"{run_id}:{fork.at}:{new}")
        if not await self._journal.create(row.tenant, new, alone, then=then, beside=[audit]):
            first = (await self._runs.entries(row.tenant, new))[0].event
            if not isinstance(first, RunStarted) or first.forked_at != fork.at:
                raise KeyReused("this Idempotency-Key was used for another fork; take a new one")
        return await self._woken(principal, new)

    async def _check_goes_on(self, principal: Principal, run_id: str, entries: Sequence[Entry]) -> None:
        """See `Runs.check_goes_on`: the run acts for the one who asked, whoever wants it to go on."""
        first = entries[0].event
        assert isinstance(first, RunStarted)  # every run begins with it
        its_own = principal.user == first.principal.user
        asker = principal if its_own else await self._directory.current(first.principal)
        await self._runs.check_goes_on(asker, run_id, entries)

    async def _check_may_as_much(self, principal: Principal, run_id: str, asker: Principal) -> None:
        """Whoever has a run of his own do something new came with all that it may do, but for what no key can have.

        Else a key of few rights would get those of another through what was begun with that. Raises Forbidden.
        """
        present = await self._directory.current(asker) or asker
        if more := sorted({*present.scopes} - {*principal.scopes, MAKING}):
            raise Forbidden(f"run {run_id} may do more than what you came with: {', '.join(more)}; come as it was begun")

    async def _reopened(self, row: RunRow, state: RunState) -> list[Beside]:
        """What the failure had withdrawn and people are asked about again, and what the run holds."""
        return [
            *await claimed_again(self._records, row.tenant, row.run_id, state.started),
            *await drafts.reopened(self._records, row.tenant, state.drafts),
            *await doubts.reopened(self._records, row.tenant, row.run_id, state.doubts),
        ]

    async def _open(self, principal: Principal, run_id: str) -> RunRow:
        row = await self._runs.row(principal, run_id)
        _check_open(row)
        return row

    async def _state(self, row: RunRow) -> RunState:
        return fold(await self._runs.entries(row.tenant, row.run_id))

    async def _post(
        self, principal: Principal, row: RunRow, event: Event, key: str | None, also: Sequence[Beside] = ()
    ) -> bool:
        """Write an event and who did it. False if it stands already.

        Raises Conflict when the run has ended meanwhile.
        """
        beside = (_audit(principal, row, event.kind.removesuffix("_requested"), row.run_id), *also)
        if await self._journal.post(row.tenant, row.run_id, Entry(event=event, key=key), beside=beside):
            return True
        present = await self._runs.row(principal, row.run_id)
        if not isinstance(event, RetryRequested):
            _check_open(present)
        return False

    async def _check_repeated(self, row: RunRow, key: str | None, said: str) -> None:
        for entry in await self._runs.entries(row.tenant, row.run_id):
            if entry.key == key and isinstance(entry.event, Steer) and entry.event.message.text != said:
                raise KeyReused("this Idempotency-Key was used for another message; take a new one")

    async def _woken(self, principal: Principal, run_id: str) -> RunView:
        await self._dispatcher.wake(principal.tenant, run_id)
        return await self._runs.view(principal, run_id)


def _check_open(row: RunRow) -> None:
    if row.status.ended:
        raise Conflict(f"run {row.run_id} has ended already: {row.status.value}")


def _reason(text: str) -> str:
    return cleaned(text, "reason") if text else ""


def _audit(principal: Principal, row: RunRow, what: str, object: str) -> Audit:
    return Audit(actor=f"user:{principal.user}", subject=f"user:{row.user}", action="run", object=object, decision=what)
