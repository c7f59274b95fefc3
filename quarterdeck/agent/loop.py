"""The loop: fold the events, take the next step, perform it, append what came of it, until the run ends or waits.

There is one loop for every way of running an agent. What a step gives is staged and folded at once, and made durable
before anything happens that must not be repeated or forgotten: a write, a call out of the house, the end, a rest. Replies,
decisions and results of reads, which a crash may cost once more, wait at most 50 ms for company, also during a model call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import anyio

from quarterdeck.agent.acting import Acting
from quarterdeck.agent.answer import ReadOutput, partial, settle
from quarterdeck.agent.asking import ask, request_for
from quarterdeck.agent.base import Audience, Directory, Models, Retriever, Specs
from quarterdeck.agent.conversation import compact
from quarterdeck.agent.deciding import Deciding, typed_by
from quarterdeck.agent.doubts import closed as doubts_closed
from quarterdeck.agent.drafts import closed
from quarterdeck.agent.ledger import Commit, Ledger
from quarterdeck.agent.next_step import (
    Ask,
    Cancel,
    Close,
    Compact,
    Decide,
    End,
    Expire,
    GiveUp,
    RaiseDoubt,
    Refuse,
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
from quarterdeck.agent.state import CallState, RunState
from quarterdeck.core.answers import Answer
from quarterdeck.core.context import Context, Principal
from quarterdeck.core.decisions import DraftStatus
from quarterdeck.core.errors import (
    BudgetExceeded,
    ContextTooLarge,
    DeadlineExceeded,
    Fenced,
    Filtered,
    QuarterdeckError,
    StoreUnavailable,
    Truncated,
)
from quarterdeck.core.events import (
    AnswerRejected,
    ApprovalDecided,
    ContextCompacted,
    FinalAnswer,
    GuardrailFired,
    RunCancelled,
    RunFailed,
    RunStarted,
    StateFolded,
)
from quarterdeck.core.labels import Label
from quarterdeck.core.runs import AgentSpec, RunStatus, StopReason
from quarterdeck.core.tools import Tool
from quarterdeck.models.base import ToolSpec
from quarterdeck.policy.base import Decider
from quarterdeck.store.base import Claim, Journal, Put, Records
from quarterdeck.store.codec import to_json
from quarterdeck.tools.base import Toolbox
from quarterdeck.tools.executor import Executor

__all__ = ["Loop"]

_LETTING_GO_S = 1.0
_FOLD_AFTER = 400  # events; when a claim had to fold more, the next one shall begin with what it gave
_POISON_AFTER = 3  # claims without a single append: the run stops whoever takes it
_STOPS: Mapping[type[Exception], StopReason] = {  # what ends a run with a partial answer instead of a failure
    BudgetExceeded: StopReason.COST_LIMIT,
    DeadlineExceeded: StopReason.TIME_LIMIT,
    Filtered: StopReason.FILTERED,
    Truncated: StopReason.TRUNCATED,
    ContextTooLarge: StopReason.CONTEXT_TOO_LARGE,
}


class Loop:
    """Advances runs. Made once; all that differs between runs is in their journals."""

    def __init__(
        self,
        *,
        journal: Journal,
        records: Records,
        specs: Specs,
        models: Models,
        toolbox: Toolbox,
        policy: Decider,
        directory: Directory,
        audience: Audience,
        retriever: Retriever | None = None,
        read_output: ReadOutput | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        doubt_grace_s: float = 5.0,
        search_timeout_s: float = 5.0,
    ) -> None:
        """Make a loop over these parts.

        Args:
            toolbox: Every tool there is; a run is offered those its agent names.
            read_output: Reads typed answers, None where agents answer in words.
            now: Gives aware UTC.
            doubt_grace_s: Seconds beyond a tool's timeout before anybody may say what a started write did.
            search_timeout_s: For the search before the first model call; the run goes on without what comes later.
        """
        self.journal = journal
        self.records = records
        self.specs = specs
        self.models = models
        self.toolbox = toolbox
        self.policy = policy
        self.directory = directory
        self.audience = audience
        self.retriever = retriever
        self.read_output = read_output
        self.now = now
        self.doubt_grace_s = doubt_grace_s
        self.search_timeout_s = search_timeout_s
        self._scopes: dict[str, anyio.CancelScope] = {}
        self.draining = False
        self.writing: set[anyio.CancelScope] = set()

    async def advance(self, tenant: str, run_id: str) -> RunState | None:
        """Take the run as far as it goes: until it ends, waits, or another worker takes it.

        Returns:
            The state it was left in; None if there was nothing to do, or another worker has it now.

        Raises:
            StoreUnavailable: The store does not answer; the run stays as it is and is due again later.
        """
        while True:
            claim = None if self.draining else await self.journal.claim(tenant, run_id)
            if claim is None:
                return None
            with anyio.CancelScope() as scope:
                self._scopes[run_id] = scope
                try:
                    return await self._advance(claim)
                except anyio.get_cancelled_exc_class():
                    await self._let_go(claim)
                    raise
                finally:
                    if self._scopes.get(run_id) is scope:  # an overtaking advance of this process has its own
                        del self._scopes[run_id]
            # Interrupted: what was staged is dropped, as by a crash, and the journal says where the run stands.

    async def _advance(self, claim: Claim) -> RunState | None:
        ledger: Ledger | None = None
        try:
            ledger = Ledger(self.journal, self.audience, claim, self.now)
            advance = await self._begin(ledger, claim)
            if advance is not None:
                await advance.drive()
        except Fenced:
            return None  # another worker has the run, and whatever we hold is stale
        except StoreUnavailable:
            raise
        except Exception as error:
            if ledger is None:
                raise  # its journal cannot be read by this version; another may
            code = error.code if isinstance(error, QuarterdeckError) else "internal"
            said = str(error) if isinstance(error, QuarterdeckError) else f"{type(error).__name__}: {error}"
            with suppress(Fenced):
                await self._fail(ledger, code, said)
        return ledger.state

    async def _let_go(self, claim: Claim) -> None:
        """Say that the run was left in good order: that its worker was told to stop is no sign of poison.

        A worker that drains does not come back to it, so another may take it at once.
        """
        status = RunStatus.READY if self.draining else None
        with anyio.move_on_after(_LETTING_GO_S, shield=True), suppress(Fenced, StoreUnavailable):
            await self.journal.append(claim, (), folded=claim.head, status=status)

    def interrupt(self, run_id: str) -> None:
        """Make a running advance start over from the journal: a model call or a read in flight is cut, a write is not."""
        scope = self._scopes.get(run_id)
        if scope is not None:
            scope.cancel()

    def drain(self) -> None:
        """Take no run any more, and let go of each between two steps: another worker goes on with it at once."""
        self.draining = True

    def let_go(self) -> None:
        """Shield writes in flight no longer: the process has to end, and what is cut is repeated by its key or in doubt."""
        for scope in self.writing:
            scope.shield = False

    async def _begin(self, ledger: Ledger, claim: Claim) -> _Advance | None:
        started = ledger.state.started
        if started is None:
            await self._fail(ledger, "internal", "the run has no first event")
            return None
        if claim.attempts > _POISON_AFTER:
            times = claim.attempts - 1
            await self._fail(
                ledger, "poison", f"the run stopped its worker {times} times without a step forward", poison=True
            )
            return None
        principal = await self.directory.current(started.principal)
        if principal is None:
            await self._fail(ledger, "forbidden", f"user {started.principal.user} may not act any more")
            return None
        spec = await self.specs.get(ledger.tenant, started.config_hash)
        if len(claim.entries) > _FOLD_AFTER:
            ledger.stage(StateFolded(upto=claim.head, state=to_json(ledger.state)))
        return _Advance(self, ledger, started, spec, principal)

    async def _fail(self, ledger: Ledger, code: str, error: str, *, poison: bool = False) -> None:
        reason = StopReason.MODEL_FAILED if code.startswith(("model_", "upstream_")) else StopReason.FAILED
        failed = RunFailed(code=code, error=error, stop_reason=reason, poison=poison)
        while ledger.state.ended is None:
            beside = await self.withdrawn(ledger)
            ledger.stage(failed, beside=beside)
            await ledger.commit(status=RunStatus.FAILED)

    async def withdrawn(self, ledger: Ledger) -> list[Put]:
        """Rows that withdraw every draft and every doubt of a run that ends before a person has spoken."""
        await ledger.commit()  # a draft that is still staged has no row yet
        drafts, doubts = list(ledger.state.drafts), list(ledger.state.doubts)
        return [
            *await closed(self.records, ledger.tenant, drafts, DraftStatus.WITHDRAWN, self.now()),
            *await doubts_closed(self.records, ledger.tenant, ledger.run_id, doubts),
        ]


class _Offered:
    """The tools an agent names, out of all there are."""

    def __init__(self, toolbox: Toolbox, names: Sequence[str]) -> None:
        self._toolbox = toolbox
        self._names = tuple(names)

    def get(self, name: str) -> Tool | None:
        return self._toolbox.get(name) if name in self._names else None

    def names(self) -> Sequence[str]:
        return self._names


class _Advance:
    """One claim of one run: step after step, until the run ends or waits."""

    def __init__(self, loop: Loop, ledger: Ledger, started: RunStarted, spec: AgentSpec, principal: Principal) -> None:
        self.loop = loop
        self.ledger = ledger
        self.spec = spec
        self.principal = principal
        self._typed = typed_by(principal)
        self._context_label = self._seen_label = self._typed  # of which context, and that joined with the user's words
        self.tools = _Offered(loop.toolbox, spec.tools)
        self.executor = Executor(self.tools)
        tools = [tool for name in spec.tools if (tool := loop.toolbox.get(name)) is not None]
        self.tool_specs = tuple(
            ToolSpec(name=tool.name, description=tool.description, input_schema=tool.input_schema, risk=tool.risk)
            for tool in tools
        )
        self._resolvers = frozenset(tool.name for tool in tools if loop.policy.resolves(tool))
        self.context = Context(
            principal=principal,
            run_id=ledger.run_id,
            deadline=self._deadline(started),
            agent=spec.name,
            trace_id=started.trace_id,
            tags=started.tags,
        )
        self.acting = Acting(
            ledger=ledger,
            toolbox=self.tools,
            executor=self.executor,
            operations=Operations(loop.records, self.context, now=loop.now, grace_s=loop.doubt_grace_s),
            policy=loop.policy,
            context=self.context,
            audience=loop.audience,
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

    def _deadline(self, started: RunStarted) -> float:
        left = self.spec.limits.max_total_time - self.ledger.state.worked_s
        if started.deadline is not None and not self.ledger.state.waited:
            left = min(left, (started.deadline - self.loop.now()).total_seconds())
        return time.monotonic() + left

    async def drive(self) -> None:
        """Take steps. Calls that another worker left undone are decided again first: rights may have changed since."""
        left = [c for c in self.ledger.state.calls if c.result is None and c.decision is not None and not _waiting(c)]
        if left:
            self._decide(left)
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
                self._decide(calls)
            case Settle():
                await self._settle()
            case GiveUp(reason):
                await self._finish(partial(self.ledger.state, reason), reason)
            case Close(reason):
                self.ledger.stage(GuardrailFired(layer="limits", verdict="stop", rule=reason, action="close"))
            case Compact():
                await self._compact()
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

    async def _ask(self) -> None:
        model = self.loop.models.get(self.spec.model)
        if await self.loop.audience.watched(self.ledger.tenant, self.ledger.run_id):
            await self.ledger.commit()  # who watches hears of what was before the pieces of what comes
        state = self.ledger.state
        early = self.ledger.commit_in_time()
        dropped = False
        try:
            reply = await ask(
                model, state, self.spec, self.tool_specs, self.context, self.loop.audience, self._seen, self.ledger.durable
            )
        except tuple(_STOPS) as error:
            reason = _STOPS[type(error)]
            await self._finish(partial(state, reason), reason)
            return
        finally:
            dropped = await early.over() is Commit.DROPPED
        if not dropped:  # else the reply answers what the journal does not hold
            self.ledger.stage(reply)

    def _decide(self, calls: Sequence[CallState]) -> None:
        deciding = Deciding(
            run_id=self.ledger.run_id,
            state=self.ledger.state,
            toolbox=self.tools,
            executor=self.executor,
            policy=self.loop.policy,
            principal=self.principal,
            label=self._seen,
            now=self.loop.now(),
            max_calls=self.spec.limits.max_calls_per_turn,
            resolvers=self._resolvers,
        )
        deciding.decide(calls)
        self.ledger.stage(*deciding.events, beside=deciding.beside)

    async def _retrieve(self) -> None:
        if await self.ledger.commit() is not Commit.ALONE:
            return
        state, loop = self.ledger.state, self.loop
        model, request = loop.models.get(self.spec.model), request_for(state, self.spec, self.tool_specs)
        found = await found_out(
            model, loop.retriever, request, self.context, turn=state.turn, timeout_s=loop.search_timeout_s
        )
        self.ledger.stage(*found)

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
        final = FinalAnswer(answer=answer, stop_reason=reason, label=self._seen, output=output)
        self.ledger.stage(final)
        await self.ledger.commit(status=RunStatus.DONE)

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
