"""One claim of one run: step after step, until the run ends or waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

import anyio

from quarterdeck.agent.acting import Acting
from quarterdeck.agent.answer import ReadOutput, handing_over, partial, reported, settle
from quarterdeck.agent.asking import ask, request_for
from quarterdeck.agent.base import Audience, Directory, Models, Remembered, Retriever, ToolRates
from quarterdeck.agent.checking import check_citations
from quarterdeck.agent.conversation import compact
from quarterdeck.agent.deciding import Deciding, typed_by
from quarterdeck.agent.drafts import closed, escalated
from quarterdeck.agent.extracting import Extracting
from quarterdeck.agent.guarding import Guarding
from quarterdeck.agent.ledger import Commit, Ledger
from quarterdeck.agent.next_step import (
    Ask,
    Cancel,
    Check,
    Close,
    Compact,
    Decide,
    End,
    Escalate,
    Expire,
    GiveUp,
    HandOver,
    RaiseDoubt,
    Refuse,
    Report,
    Retrieve,
    RunTools,
    Settle,
    SettleDoubt,
    Step,
    Wait,
    next_step,
)
from quarterdeck.agent.operations import Operations
from quarterdeck.agent.preparing import found_out
from quarterdeck.agent.recalling import found_again, keep, recall, said_again, take_back
from quarterdeck.agent.state import CallState
from quarterdeck.core.answers import Answer, Asked
from quarterdeck.core.context import Context, Principal
from quarterdeck.core.decisions import BY_POLICY, Consent, DraftStatus, Endorsement, Verdict
from quarterdeck.core.errors import (
    BudgetExceeded,
    ContextTooLarge,
    DeadlineExceeded,
    Filtered,
    Forbidden,
    Truncated,
)
from quarterdeck.core.events import (
    AnswerRejected,
    ApprovalDecided,
    ApprovalEscalated,
    CancelRequested,
    ContextCompacted,
    Decided,
    Event,
    FinalAnswer,
    GuardrailFired,
    RunCancelled,
    RunStarted,
)
from quarterdeck.core.labels import Label
from quarterdeck.core.runs import AgentSpec, RunStatus, StopReason
from quarterdeck.core.tools import Tool
from quarterdeck.knowledge.rewrite import Rewriter
from quarterdeck.models.base import ToolSpec
from quarterdeck.policy.base import Decider
from quarterdeck.policy.guards.layers import GuardsOf
from quarterdeck.policy.intent import Words
from quarterdeck.store.base import Put, Records
from quarterdeck.tools.base import Toolbox
from quarterdeck.tools.executor import Executor

__all__ = ["Driving", "Parts"]

_STOPS: Mapping[type[Exception], StopReason] = {  # what ends a run with a partial answer instead of a failure
    BudgetExceeded: StopReason.COST_LIMIT,
    DeadlineExceeded: StopReason.TIME_LIMIT,
    Filtered: StopReason.FILTERED,
    Truncated: StopReason.TRUNCATED,
    ContextTooLarge: StopReason.CONTEXT_TOO_LARGE,
}


class Parts(Protocol):
    """What a claim is advanced with; the same for all of a process."""

    records: Records
    models: Models
    toolbox: Toolbox
    policy: Decider
    directory: Directory
    audience: Audience
    retriever: Retriever | None
    rewriter: Rewriter | None
    remembered: Remembered | None
    rates: ToolRates | None
    read_output: ReadOutput | None
    guards: GuardsOf
    now: Callable[[], datetime]
    doubt_grace_s: float
    search_timeout_s: float
    draining: bool
    writing: set[anyio.CancelScope]

    async def withdrawn(self, ledger: Ledger) -> list[Put]:
        """Rows that withdraw what is open of a run that ends."""
        ...


class _Offered:
    """The tools an agent names, out of all there are."""

    def __init__(self, toolbox: Toolbox, names: Sequence[str]) -> None:
        self._toolbox = toolbox
        self._names = tuple(names)

    def get(self, name: str) -> Tool | None:
        return self._toolbox.get(name) if name in self._names else None

    def names(self) -> Sequence[str]:
        return self._names


class Driving:
    """One claim of one run: step after step, until the run ends or waits."""

    def __init__(self, loop: Parts, ledger: Ledger, started: RunStarted, spec: AgentSpec, principal: Principal) -> None:
        self.loop = loop
        self.ledger = ledger
        self.spec = spec
        self.principal = principal
        self._came_as = started.principal
        self._recalled = False
        self._read = Words(())
        self._typed = typed_by(principal)
        self._context_label = self._seen_label = self._typed  # of which context, and that joined with the user's words
        self.tools = _Offered(loop.toolbox, spec.tools)
        self.executor = Executor(self.tools)
        tools = [tool for name in spec.tools if (tool := loop.toolbox.get(name)) is not None]
        self.tool_specs = tuple(
            ToolSpec(name=tool.name, description=tool.description, input_schema=tool.input_schema, risk=tool.risk)
            for tool in tools
        ) + tuple(
            ToolSpec(name=tool.name, description=tool.description, input_schema=tool.input_schema)
            for tool in spec.client_tools
        )
        self._resolvers = frozenset(tool.name for tool in tools if loop.policy.resolves(tool))
        self.context = Context(
            principal=principal,
            run_id=ledger.run_id,
            deadline=self._deadline(started),
            agent=spec.name,
            trace_id=started.trace_id,
            tags=started.tags,
            request_id=started.request_id,
        )
        self.guarding = Guarding(loop.guards(spec.name), spec, self.context, lambda: ledger.state)
        self.acting = Acting(
            ledger=ledger,
            toolbox=self.tools,
            executor=self.executor,
            operations=Operations(loop.records, self.context, now=loop.now, grace_s=loop.doubt_grace_s),
            policy=loop.policy,
            context=self.context,
            audience=loop.audience,
            rates=loop.rates,
            guarding=self.guarding,
            extracting=Extracting(loop.models, spec.extraction_model or spec.model, self.context),
            agent=spec.name,
            parallel=spec.limits.parallel_tool_calls,
            doubt_grace_s=loop.doubt_grace_s,
            writing=loop.writing,
        )

    @property
    def _seen(self) -> Label:
        """The label of what the model writes: the join of everything it was shown, the user's words included."""
        if self._context_label is not self.ledger.state.label:
            self._context_label = self.ledger.state.label
            self._seen_label = self._context_label.join(self._typed)
        return self._seen_label

    @property
    def _words(self) -> Words:
        """What the user typed, read once for all the calls that are decided by it."""
        if self._read.texts != self.ledger.state.words:
            self._read = Words(self.ledger.state.words)
        return self._read

    def _deadline(self, started: RunStarted) -> float:
        left = self.spec.limits.max_total_time - self.ledger.state.worked_s
        if started.deadline is not None and not self.ledger.state.waited:
            left = min(left, (started.deadline - self.loop.now()).total_seconds())
        return time.monotonic() + left

    async def drive(self) -> None:
        """Take steps. Calls that another worker left undone are decided again first: rights may have changed since.

        A run that has not begun may be answered as another was before; then all that is left is to settle that answer.
        """
        await self._recall()
        left = [c for c in self.ledger.state.calls if c.result is None and c.decision is not None and not _waiting(c)]
        if left:
            await self._decide(left)
        while True:
            step = next_step(self.ledger.state, self.spec, self.loop.now())
            match step:
                case End():
                    return
                case Wait(wake_at):
                    status = RunStatus.PAUSED if self.ledger.state.paused else RunStatus.WAITING
                    if await self.ledger.commit(status=status, wake_at=wake_at) is Commit.ALONE:
                        return
                case _ if self.loop.draining:
                    if await self.ledger.commit(status=RunStatus.READY) is not Commit.DROPPED:
                        return
                case _:
                    await self._perform(step)

    async def _perform(self, step: Step) -> None:
        match step:
            case Ask():
                await self._ask()
            case RunTools(calls):
                await self.acting.run(calls, self._seen)
            case Retrieve():
                await self._retrieve()
            case Decide(calls):
                await self._decide(calls)
            case Check():
                await self._check()
            case Settle():
                await self._settle()
            case Report():
                await self._finish(reported(self.ledger.state), StopReason.COMPLETED)
            case HandOver():
                await self._finish(handing_over(self.ledger.state), StopReason.CLIENT_TOOLS)
            case GiveUp(reason):
                await self._finish(partial(self.ledger.state, reason), reason)
            case Close(reason):
                self.ledger.stage(GuardrailFired(layer="limits", verdict="stop", rule=reason, action="close"))
            case Compact():
                await self._compact()
            case Escalate(calls):
                await self._escalate(calls)
            case Expire(calls):
                await self._expire(calls)
            case Refuse(calls):
                self.ledger.stage(*(self.acting.rejected(call, self._seen) for call in calls))
            case RaiseDoubt(calls):
                self.acting.raise_doubts(calls)
            case SettleDoubt(calls):
                await self.acting.settle_doubts(calls, self._seen)
            case Cancel():
                await self._cancel()

    async def _recall(self) -> None:
        loop, ledger = self.loop, self.ledger
        given = await recall(
            loop.remembered, ledger.state, self.spec, self.principal, loop.policy.version, loop.search_timeout_s
        )
        if given is not None:
            self._recalled = True
            ledger.stage(found_again(given, ledger.state))
            ledger.stage(*await self.guarding.reply(said_again(given, ledger.state, self._seen, ledger.durable)))

    async def _ask(self) -> None:
        model = self.loop.models.get(self.spec.model)
        if await self.loop.audience.watched(self.ledger.tenant, self.ledger.run_id):
            await self.ledger.commit()  # who watches hears of what was before the pieces of what comes
        state = self.ledger.state
        early = self.ledger.commit_in_time()
        dropped = False
        try:
            reply = await ask(
                model,
                state,
                self.spec,
                self.tool_specs,
                self.context,
                self.loop.audience,
                self._seen,
                self.ledger.durable,
                self.guarding,
            )
        except tuple(_STOPS) as error:
            reason = _STOPS[type(error)]
            await self._finish(partial(state, reason), reason)
            return
        finally:
            dropped = await early.over() is Commit.DROPPED
        if not dropped:  # else the reply answers what the journal does not hold
            self.ledger.stage(*await self.guarding.reply(reply))

    async def _decide(self, calls: Sequence[CallState]) -> None:
        principal = await self._now_there()
        screened, fired = await self.guarding.arguments(calls)
        deciding = Deciding(
            run_id=self.ledger.run_id,
            state=self.ledger.state,
            toolbox=self.tools,
            executor=self.executor,
            policy=self.loop.policy,
            principal=principal,
            label=self._seen,
            words=self._words,
            now=self.loop.now(),
            max_calls=self.spec.limits.max_calls_per_turn,
            resolvers=self._resolvers,
            present=await self._present(calls),
            withdrawn=await self._withdrawn(calls),
            screened=screened,
        )
        deciding.decide(calls)
        beside = [*deciding.beside, *await self._no_question(calls, deciding.events)]
        self.ledger.stage(*fired, *deciding.events, beside=beside)

    async def _no_question(self, calls: Sequence[CallState], events: Sequence[Event]) -> list[Put]:
        """Rows that withdraw the drafts of calls nobody needs to be asked about any more, as a value was endorsed."""
        asked = {call.call.id: call.approval for call in calls if call.waits_for_decision}
        decisions = (each for event in events if isinstance(event, Decided) for each in event.decisions)
        settled = [asked.get(each.call_id) for each in decisions if each.verdict is not Verdict.APPROVE]
        ids = [each.draft for each in settled if each is not None]
        if not ids:
            return []
        status, now = DraftStatus.WITHDRAWN, self.loop.now()
        return await closed(self.loop.records, self.ledger.tenant, ids, status, now, by=BY_POLICY)

    async def _now_there(self) -> Principal:
        """The principal with the rights of this moment: a run may last, and nothing is decided by what he could do once.

        Raises Forbidden if he may not act any more, or what he came with was taken back.
        """
        present = await self.loop.directory.current(self._came_as)
        if present is None:
            raise Forbidden(f"user {self._came_as.user} may not act any more")
        return present

    async def _present(self, calls: Sequence[CallState]) -> Mapping[str, Principal | None]:
        """Those who agreed to calls, as they are now: a right lost since is no right."""
        roles: dict[str, tuple[str, ...]] = {}
        for call in calls:
            for consent in call.consents:
                roles.setdefault(consent.by, ())
                roles[consent.right_of] = consent.roles
        for endorsement in self.ledger.state.endorsed:
            if endorsement.by != BY_POLICY:
                roles.setdefault(endorsement.by, ())
                had = (name for name in endorsement.roles if not name.startswith("user:"))
                roles[endorsement.right_of] = (*roles.get(endorsement.right_of, ()), *had)
        known = (Principal(user=user, tenant=self.ledger.tenant, roles=had) for user, had in roles.items())
        return {person.user: await self.loop.directory.current(person) for person in known}

    async def _withdrawn(self, calls: Sequence[CallState]) -> frozenset[str]:
        """What people agreed with that was taken back since: a key that somebody else had may have said yes, too."""
        said: tuple[Consent | Endorsement, ...]
        said = (*(consent for call in calls for consent in call.consents), *self.ledger.state.endorsed)
        came = {each.credential: each.by for each in said if each.credential is not None}
        known = (Principal(user=user, tenant=self.ledger.tenant, credential=came_with) for came_with, user in came.items())
        gone = [each.credential for each in known if await self.loop.directory.current(each) is None]
        return frozenset(each for each in gone if each is not None)

    async def _retrieve(self) -> None:
        if await self.ledger.commit() is not Commit.ALONE:
            return
        state, loop = self.ledger.state, self.loop
        model, request = loop.models.get(self.spec.model), request_for(state, self.spec, self.tool_specs)
        found = await found_out(
            model,
            loop.retriever,
            request,
            self.context,
            turn=state.turn,
            timeout_s=loop.search_timeout_s,
            rewriter=loop.rewriter,
        )
        self.ledger.stage(*await self.guarding.retrieved(found))

    async def _compact(self) -> None:
        limits = self.spec.limits
        state = self.ledger.state
        compaction = compact(state.messages, int(limits.compact_at * limits.context_window), frozenset(state.words))
        if compaction is None:
            await self._finish(partial(self.ledger.state, StopReason.CONTEXT_TOO_LARGE), StopReason.CONTEXT_TOO_LARGE)
            return
        event = ContextCompacted(
            turn=self.ledger.state.turn,
            dropped=compaction.dropped,
            replaced=compaction.replaced,
            strategy=compaction.strategy,
        )
        self.ledger.stage(event)

    async def _check(self) -> None:
        if await self.ledger.commit() is not Commit.ALONE:
            return
        model = self.loop.models.get(self.spec.citations_model or self.spec.model)
        self.ledger.stage(await check_citations(model, self.ledger.state, self.context, self._seen))

    async def _settle(self) -> None:
        state = self.ledger.state
        settled = settle(state, self.spec, self.loop.read_output)
        if settled.problems and state.rejections < self.spec.limits.repairs and state.closing is None:
            self.ledger.stage(AnswerRejected(turn=state.turn, reasons=settled.problems))
            return
        reason = state.closing or StopReason.COMPLETED
        if settled.fatal:
            reason = state.closing or StopReason.INVALID_ANSWER
            await self._finish(partial(state, reason), reason)
            return
        answer = settled.answer
        if state.closing is not None:
            note = f"The run stopped early: {reason.value.replace('_', ' ')}."
            answer = replace(answer, needs_human_review=True, notes=(*answer.notes, note))
        await self._finish(answer, reason, settled.output)

    async def _finish(self, answer: Answer, reason: StopReason, output: object = None) -> None:
        answer, fired = await self.guarding.answer(answer)
        final = FinalAnswer(answer=answer, stop_reason=reason, label=self._seen, output=output)
        self.ledger.stage(*fired, final)
        kept: Asked | None = None
        if not self._recalled:  # else an answer could live on for ever
            # Before the end is durable: an erasure forgets answers when all runs have ended, and none may come after it.
            kept = await keep(self.loop.remembered, self.ledger.state, self.spec, self.principal, self.loop.policy.version)
        ended = Commit.DROPPED
        try:
            ended = await self.ledger.commit(status=RunStatus.DONE)
        finally:
            if ended is Commit.DROPPED and kept is not None:  # another worker may have ended the run long ago
                await take_back(self.loop.remembered, kept)

    async def _expire(self, calls: Sequence[CallState]) -> None:
        events = [
            ApprovalDecided(id=c.call.id, approved=False, by="timeout", args_hash=c.approval.args_hash)
            for c in calls
            if c.approval is not None
        ]
        ids = [c.approval.draft for c in calls if c.approval is not None]
        await self.ledger.commit()  # a draft that is still staged has no row yet
        beside = await closed(self.loop.records, self.ledger.tenant, ids, DraftStatus.EXPIRED, self.loop.now())
        self.ledger.stage(*events, beside=beside)
        late = next((c.call for c in calls if c.approval is not None and c.approval.on_expiry == "cancel_run"), None)
        if late is not None and self.ledger.state.cancel is None:
            self.ledger.stage(CancelRequested(by="timeout", reason=f"nobody decided {late.name} ({late.id}) in time"))
        await self.ledger.commit()

    async def _escalate(self, calls: Sequence[CallState]) -> None:
        await self.ledger.commit()  # a draft that is still staged has no row yet
        asked = [c.approval for c in calls if c.approval is not None]
        beside = await escalated(self.loop.records, self.ledger.tenant, [each.draft for each in asked])
        events = (
            ApprovalEscalated(id=a.id, draft=a.draft, level=a.level, to=a.escalate_to, expires_at=a.expires_at)
            for a in asked
        )
        self.ledger.stage(*events, beside=beside)
        await self.ledger.commit()

    async def _cancel(self) -> None:
        asked = self.ledger.state.cancel
        assert asked is not None  # next_step cancels only when asked
        beside = await self.loop.withdrawn(self.ledger)
        self.ledger.stage(RunCancelled(by=asked.by, reason=asked.reason), beside=beside)
        await self.ledger.commit(status=RunStatus.CANCELLED)


def _waiting(call: CallState) -> bool:
    """True for a call that is with a person, or comes from one: its turn to be decided again is later."""
    return call.waits_for_decision or call.doubt is not None or (call.approved is not None and not call.redecided)
