"""The desk: the one door of every transport. What a caller may do is checked here, whatever wire it came by."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio

from quarterdeck.agent.fold import fold
from quarterdeck.agent.state import RunState
from quarterdeck.core.context import Principal
from quarterdeck.core.errors import DeadlineExceeded, Forbidden, InvalidInput, KeyReused
from quarterdeck.core.events import GuardrailFired, RunStarted
from quarterdeck.core.ids import hashed_id, new_id
from quarterdeck.core.labels import Integrity, Label, Readers
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.core.runs import AgentSpec, ClientTool, RunStatus, StopReason
from quarterdeck.policy.guards.base import About
from quarterdeck.policy.guards.layers import Guards, GuardsOf
from quarterdeck.service.admission import Admission
from quarterdeck.service.controls import Controls
from quarterdeck.service.export import Exports
from quarterdeck.service.follow import Follow, Permitted, Signals
from quarterdeck.service.history import Turn, bringing, told
from quarterdeck.service.intake import admitted, cleaned, looking
from quarterdeck.service.runs import Runs
from quarterdeck.service.sessions import Earlier, Session, Sessions
from quarterdeck.service.specs import BlobSpecs
from quarterdeck.service.story import Stories
from quarterdeck.service.streams import Hub, Rested
from quarterdeck.service.views import RunView, view_of_state
from quarterdeck.service.withdrawn import Withdrawals
from quarterdeck.store.base import Beside, Entry, Journal, Put, Records, RunRow
from quarterdeck.workflow.base import Dispatcher
from quarterdeck.workflow.lanes import Lane

__all__ = ["Desk", "Question", "late"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What somebody asks.

    Attributes:
        agent: None for the default one, or the session's.
        session_id: None opens a session.
        idempotency_key: The same key from the same person is the same run, however often it is sent.
        history: What was said before, for a question without a session whose client keeps the conversation; None of others.
        since: Calls of the client's tools for this question, and what they gave: the run goes on from there.
        tools: Those of the client; a run that calls one of them ends there.
        deadline: When its asker waits no more: the run ends then, and one that was not started is not. None for never.
        lane: How urgent it is.
    """

    text: str
    agent: str | None = None
    session_id: str | None = None
    idempotency_key: str | None = None
    request_id: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    tags: Mapping[str, str] | None = None
    history: tuple[Turn, ...] | None = None
    since: tuple[Turn, ...] = ()
    tools: tuple[ClientTool, ...] = ()
    deadline: datetime | None = None
    lane: Lane = Lane.INTERACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A run and somebody's way through it, open as long as the block that gave it."""

    run_id: str
    session_id: str | None
    signals: Signals


class Desk:
    """Questions in, runs and answers out.

    Args:
        controls: What is done with runs that exist.
        agents: By name.
        default_agent: Whom a question goes to that names nobody.
        exports: Where journals of runs are kept apart.
        guards: What looks at questions, by agent.
        records: Where it is written down that one was refused; None for nowhere.
        admission: Says whether there is room for one more run; None where there always is.
        withdrawals: Says which passages somebody may not read any more; None where there are none.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        sessions: Sessions,
        specs: BlobSpecs,
        hub: Hub,
        dispatcher: Dispatcher,
        controls: Controls,
        agents: Mapping[str, AgentSpec],
        default_agent: str,
        exports: Exports,
        admission: Admission | None = None,
        guards: GuardsOf = lambda agent: Guards(),
        records: Records | None = None,
        withdrawals: Withdrawals | None = None,
    ) -> None:
        self.sessions = sessions
        self.controls = controls
        self.agents = agents
        self.default_agent = default_agent
        self._journal = journal
        self._specs = specs
        self._hub = hub
        self._dispatcher = dispatcher
        self._exports = exports
        self._admission = admission
        self._guards = guards
        self._records = records
        self._runs = Runs(journal, withdrawals)
        self.stories = Stories(journal, specs, self._runs)

    async def ask(
        self, principal: Principal, question: Question, wait_s: float, *, begun: Callable[[str], None] = lambda run_id: None
    ) -> RunView:
        """Begin a run and wait until it ended, waits for a person, or `wait_s` seconds passed; the run goes on by itself.

        Args:
            begun: Told the run's id as soon as there is one.

        Raises:
            RateLimited: There is no room for one more run.
            DeadlineExceeded: The question's deadline came first, and ended the run.
            InvalidInput: The text is empty, or the agent unknown; ContextTooLarge: it can fit no model call.
            NotFound: There is no such session.
            Conflict: The session is closed.
            KeyReused: The idempotency key was used for another question.
            Forbidden: It was asked before, and its run holds what the principal may not read any more; or its history has
                what only callers of a certain scope may say.
        """
        state = RunState()
        if question.deadline is not None:
            wait_s = min(wait_s, (question.deadline - datetime.now(UTC)).total_seconds())
        async with self.asking(principal, question, deltas=False) as asked:
            begun(asked.run_id)
            with anyio.move_on_after(wait_s):
                while (signal := await asked.signals.receive()) is not None:
                    if isinstance(signal, Entry):
                        state = fold((signal,), state)
                    elif isinstance(signal, Rested) and view_of_state(asked.run_id, state).rests:
                        break
        # Of a question that was asked before, nothing may have been read within the time.
        run = view_of_state(asked.run_id, state) if state.started else await self.view(principal, asked.run_id)
        if late(run, question.deadline):
            raise DeadlineExceeded(f"run {run.run_id} did not end in time; it has what there is of an answer")
        return run

    @contextlib.asynccontextmanager
    async def asking(self, principal: Principal, question: Question, *, deltas: bool) -> AsyncIterator[Followed]:
        """Begin a run and follow it from its first event. Raises as `ask` does."""
        key = question.idempotency_key
        run_id = new_id() if key is None else hashed_id(principal.tenant, principal.user, key)
        with self._hub.reader(principal.tenant, run_id, deltas=deltas) as reader:
            # Looked for first: a question that was asked already is answered again, though its session is closed by now.
            asked = None if key is None else await self._repeated(run_id, principal, question)
            begun: Entry | None = None
            if asked is None:
                begun = await self._begin(run_id, principal, question)
                started = None if begun is None else begun.event
                asked = started if isinstance(started, RunStarted) else await self._repeated(run_id, principal, question)
            # Who repeats a question may have lost rights since it was answered.
            if begun is None and (await self._readable(principal, run_id)).status in _RESTING:
                reader.offer(Rested())
            follow = Follow(self._journal, principal.tenant, run_id, reader, first=begun)
            try:
                yield Followed(run_id=run_id, session_id=asked.session_id if asked else None, signals=follow)
            finally:
                if begun is not None and self._admission is not None:
                    self._admission.answered(principal.tenant, run_id)

    async def _begin(self, run_id: str, principal: Principal, question: Question) -> Entry | None:
        """Accept and store a run, and wake it. None if another request with its key was quicker."""
        if question.deadline is not None and question.deadline <= datetime.now(UTC):
            raise DeadlineExceeded("the time for this question was over before it was asked")
        if self._admission is not None:
            self._admission.enter(principal.tenant, run_id, question.lane)
        created = False
        try:
            started, found, beside = await self._started(run_id, principal, question)
            created = await self._journal.create(principal.tenant, run_id, Entry(event=started), beside=beside)
            for event in found if created else ():
                await self._journal.post(principal.tenant, run_id, Entry(event=event))
        finally:
            if not created and self._admission is not None:
                self._admission.withdraw(principal.tenant, run_id)
        if not created:
            return None
        await self._dispatcher.wake(principal.tenant, run_id, priority=question.lane.priority)
        return Entry(event=started, seq=1, at=datetime.now(UTC))

    @contextlib.asynccontextmanager
    async def following(self, principal: Principal, run_id: str, after: int = 0) -> AsyncIterator[Followed]:
        """Follow a run from the event after seq `after`, until it ends or the principal may read it no longer.

        Raises:
            NotFound: No such run, or it is somebody else's.
            Forbidden: It holds what the principal may not read.
            InvalidInput: `after` lies in the future.
        """
        with self._hub.reader(principal.tenant, run_id, deltas=True) as reader:
            row = await self._runs.row(principal, run_id)
            await self._readable(principal, run_id)
            if after > row.head:
                raise InvalidInput(f"run {run_id} has {row.head} events so far; {after} is not one of them")
            over = row.status.ended and after == row.head
            follow = Follow(self._journal, principal.tenant, run_id, reader, seen=after, over=over)
            permitted = Permitted(follow, lambda: self._readable(principal, run_id))
            yield Followed(run_id=run_id, session_id=row.session_id, signals=permitted)

    async def view(self, principal: Principal, run_id: str) -> RunView:
        """How a run stands; see `Runs.view`."""
        return await self._runs.view(principal, run_id)

    async def runs(
        self,
        principal: Principal,
        *,
        status: RunStatus | None = None,
        code: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> list[RunRow]:
        """The principal's own runs, newest first; an operator's are those of the tenant."""
        return await self._runs.list(principal, status=status, code=code, before=before, limit=limit)

    async def open_session(
        self, principal: Principal, agent: str | None, context: Mapping[str, Any], id: str | None = None
    ) -> Session:
        """Open a session; with the same id again it is the same one. Raises InvalidInput for an agent there is not."""
        return await self.sessions.open(principal, self._agent(agent).name, context, id)

    async def export(self, principal: Principal, run_id: str) -> str:
        """Keep all that happened in a run as a snapshot; returns its URI.

        Raises:
            NotFound: No such run, or it is somebody else's.
            Forbidden: It holds what the principal may not read.
        """
        if (await self._runs.view(principal, run_id)).withheld:
            raise Forbidden(f"run {run_id} holds what {principal.user} may not read")
        return await self._exports.export_run(principal.tenant, run_id, by=f"user:{principal.user}")

    async def _readable(self, principal: Principal, run_id: str) -> RunView:
        """A run the principal may read. Raises NotFound, and Forbidden when it holds what he may not."""
        view = await self.view(principal, run_id)
        if view.withheld:
            raise Forbidden(f"run {run_id} holds what {principal.user} may not read")
        return view

    async def _started(
        self, run_id: str, principal: Principal, question: Question
    ) -> tuple[RunStarted, tuple[GuardrailFired, ...], list[Beside]]:
        """The first event of a run, those of guards behind it, and what is written with it."""
        beside: list[Beside] = []
        earlier = Earlier(messages=())
        if question.session_id is None:
            agent = self._agent(question.agent)
            record = self.sessions.record(principal, agent.name)
            beside.append(Put(record=record, expect=0))
            session_id = record.id
            earlier = Earlier(messages=told(principal, run_id, question.history or ()))
        else:
            session = await self.sessions.active(principal, question.session_id)
            agent = self._agent(question.agent or session.agent)
            session_id, earlier = session.id, await self.sessions.earlier(principal, session.id)
        context = looking(principal, run_id, agent.name)
        text, found = await admitted(question.text, agent, self._guards(agent.name), self._records, context)
        typed = Label(integrity=Integrity.TRUSTED, readers=Readers.of(f"user:{principal.user}"), sources=(f"run:{run_id}",))
        started = RunStarted(
            input=Message(role=Role.USER, parts=(Text(text=text, label=typed),)),
            agent=agent.name,
            config_hash=await self._specs.keep(principal.tenant, bringing(principal, agent, question.tools)),
            tenant=principal.tenant,
            principal=principal,
            session_id=session_id,
            history=earlier.messages,
            since=told(principal, run_id, question.since, "s"),
            rests_on=earlier.rests_on,
            trace_id=question.trace_id,
            span_id=question.span_id,
            request_id=question.request_id,
            tags=question.tags or {},
            deadline=question.deadline,
        )
        return started, found, beside

    async def _repeated(self, run_id: str, principal: Principal, question: Question) -> RunStarted | None:
        """How the run began that this idempotency key stands for, None if it stands for none yet.

        Raises:
            KeyReused: It was used for another question.
        """
        entries = await self._runs.entries(principal.tenant, run_id)
        if not entries:
            return None
        first = entries[0].event
        if (
            not isinstance(first, RunStarted)
            or first.input.text != await self._as_accepted(principal, run_id, question.text, first.agent)
            or question.agent not in (None, first.agent)
            or question.session_id not in (None, first.session_id)
            or (question.history is not None and first.history != told(principal, run_id, question.history))
            or first.since != told(principal, run_id, question.since, "s")
            or (await self._specs.get(principal.tenant, first.config_hash)).client_tools != tuple(question.tools)
        ):
            raise KeyReused("this Idempotency-Key was used for another question; take a new one")
        return first

    async def _as_accepted(self, principal: Principal, run_id: str, text: str, agent: str) -> str:
        """`text` as a run of `agent` would begin with it."""
        checked = await self._guards(agent).input.check(cleaned(text), About(context=looking(principal, run_id, agent)))
        return checked.text

    def _agent(self, name: str | None) -> AgentSpec:
        found = self.agents.get(name or self.default_agent)
        if found is None:
            raise InvalidInput(f"there is no agent {name!r}; there are: {', '.join(self.agents)}")
        return found


def late(run: RunView, deadline: datetime | None) -> bool:
    """True if a run did not end by its asker's deadline, or that is what ended it."""
    if deadline is None or datetime.now(UTC) < deadline - _EARLY:
        return False
    return not run.rests or run.stop_reason is StopReason.TIME_LIMIT


_EARLY = timedelta(seconds=0.5)  # what a model call may end before the deadline that it was given
_RESTING = frozenset({RunStatus.WAITING, RunStatus.PAUSED})
