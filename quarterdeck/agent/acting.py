"""Acting: calls that may run are executed, and what people said of the others becomes their result.

The start of a write is durable before it happens, its result as soon as it is there. Reads may repeat after a crash.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

import anyio

from quarterdeck.agent.base import Audience, ToolRates
from quarterdeck.agent.deciding import refusal
from quarterdeck.agent.doubts import to_record
from quarterdeck.agent.extracting import Extracting
from quarterdeck.agent.guarding import Guarding
from quarterdeck.agent.ledger import Commit, Ledger
from quarterdeck.agent.operations import Begin, Busy, Known, Operations, Unsure
from quarterdeck.agent.state import CallState
from quarterdeck.core.context import Context
from quarterdeck.core.events import Delta, InDoubt, ToolReturned, ToolStarted
from quarterdeck.core.ids import content_hash
from quarterdeck.core.labels import Label
from quarterdeck.core.messages import ResultStatus, ToolCall, ToolResult
from quarterdeck.core.tools import Effect, Tool, ToolContext
from quarterdeck.policy.base import Decider
from quarterdeck.store.base import Audit, Beside, Put
from quarterdeck.tools.base import Toolbox
from quarterdeck.tools.executor import Executor, Gives, Job

__all__ = ["Acting"]

_LOOK_AGAIN_S = 0.05  # how soon a call looks again whether another one has done what it was to do


@dataclass(frozen=True, slots=True, kw_only=True)
class Acting:
    """The tools of one advance.

    Attributes:
        writing: The shields of writes in flight, for whoever has to end the process.
    """

    ledger: Ledger
    toolbox: Toolbox
    executor: Executor
    operations: Operations
    policy: Decider
    context: Context
    audience: Audience
    rates: ToolRates | None
    guarding: Guarding
    extracting: Extracting
    agent: str
    parallel: int
    doubt_grace_s: float
    writing: set[anyio.CancelScope]

    async def run(self, calls: Sequence[CallState], label: Label) -> None:
        """Execute `calls` side by side; their results are staged in the order in which they come.

        Args:
            label: Of the arguments: the join of everything the model was shown.
        """
        tools = {call.call.id: self.toolbox.get(call.call.name) for call in calls}
        gone = [call for call in calls if call.started is not None and tools[call.call.id] is None]
        if gone:  # it was started, and nobody can call it again
            self.raise_doubts([call for call in gone if call.resolution is None])
            await self._close([(call, self._gone(call, label)) for call in gone if call.resolution is not None])
            return
        begun: Mapping[str, Begin] = {}
        if any(tool is not None and tool.key_args for tool in tools.values()):
            # Should another run claim the same operation first, only the starts are dropped, not what led to them.
            if await self.ledger.commit() is not Commit.ALONE:
                return
            calls, begun = await self._unclaimed(calls, tools, label)
        calls = await self._within_rates(calls, label)
        if not calls:
            return
        jobs = [self._job(call.call, label, begun.get(call.call.id)) for call in calls]
        tools = {call.call.id: tools[call.call.id] for call in calls}
        writes = {call_id for call_id, tool in tools.items() if tool is not None and not tool.is_read}
        if writes:
            # A write that began is left to end: cutting it would leave it in doubt.
            with anyio.CancelScope(shield=True) as scope:
                self.writing.add(scope)
                try:
                    await self._write(jobs, [call for call in calls if call.call.id in writes], label, begun)
                finally:
                    self.writing.discard(scope)
        elif all(tool is None or tool.effect is Effect.READ for tool in tools.values()):
            await self._read(jobs)
        else:  # a read that goes out of the house is known of before it goes
            await self.ledger.commit()
            await self._read(jobs)

    async def _within_rates(self, calls: Sequence[CallState], label: Label) -> Sequence[CallState]:
        """The calls that may be made now; of one too many its refusal is staged. What was started is only repeated."""
        left: list[CallState] = []
        for call in calls:
            wait_s = 0.0
            if self.rates is not None and call.started is None:
                wait_s = await self.rates.tool(self.context.principal, call.call.name)
            if not wait_s:
                left.append(call)
                continue
            why = f"{call.call.name} was called too often; it can be called again in {math.ceil(wait_s)} s"
            self.ledger.stage(ToolReturned(result=refusal(call.call, "rate_limited", why, label)))
        return left

    async def _unclaimed(
        self, calls: Sequence[CallState], tools: Mapping[str, Tool | None], label: Label
    ) -> tuple[Sequence[CallState], Mapping[str, Begin]]:
        """The calls to execute now, and the business operations they claim; of the others it is staged what is known.

        Those whose operation another call is at are left for later; if there are no others, a moment is waited.
        """
        left: list[CallState] = []
        begun: dict[str, Begin] = {}
        busy = False
        for call in calls:
            tool = tools[call.call.id]
            if tool is None or not tool.key_args:
                left.append(call)
                continue
            prepared = self.executor.prepare(call.call, label)
            if isinstance(prepared, ToolResult):  # its schema has changed since it was decided
                self._stage_known(call, prepared)
                continue
            match await self.operations.look(call, prepared, tool, label):
                case Begin() as begin if all(begin.id != other.id for other in begun.values()):
                    begun[call.call.id] = begin
                    left.append(call)
                case Begin() | Busy():
                    busy = True
                case Known(result=result):
                    self._stage_known(call, result)
                case Unsure(id=operation, version=version):
                    # Nothing is executed: the start makes it as uncertain as the one it repeats, and a person is asked.
                    self.ledger.stage(replace(self._start(call, operation), behind=version))
        if busy and not left:
            await anyio.sleep(_LOOK_AGAIN_S)
        return left, begun

    async def _write(
        self, jobs: Sequence[Job], writes: Sequence[CallState], label: Label, begun: Mapping[str, Begin]
    ) -> None:
        attempts = {call.call.id: self._next_attempt(call) for call in writes}
        starts = [self._start(call, begun[call.call.id].id if call.call.id in begun else None) for call in writes]
        self.ledger.stage(*starts, beside=[begin.row for begin in begun.values()])
        if await self.ledger.commit() is Commit.DROPPED:
            return
        if self.ledger.state.cancel is not None:  # it came while the starts were written: none of them has run
            for call in writes:
                not_run = self._not_run(call, label)
                self.ledger.stage(not_run, beside=self.operations.settled(not_run.result))
            return

        async def done(result: ToolResult) -> None:
            attempt = attempts.get(result.call_id)
            if attempt is None:
                await self._stage_returned(result)
            elif result.error == "timeout" or (attempt > 1 and result.error == "out_of_time"):
                return  # nobody knows whether it happened, as if its worker had died; its start stands in the journal
            else:
                beside: list[Beside] = [self._effect(result), *self.operations.settled(result)]
                await self._stage_returned(result, beside)
                await self.ledger.commit()

        await self.executor.run_all(jobs, parallel=self.parallel, done=done)

    async def _read(self, jobs: Sequence[Job]) -> None:
        """Reads may repeat, so what asked for them need not be durable before; quick ones share its append."""

        async def done(result: ToolResult) -> None:
            await self._stage_returned(result)

        if await self.audience.watched(self.ledger.tenant, self.ledger.run_id):
            await self.ledger.commit()
        early = self.ledger.commit_in_time()
        try:
            await self.executor.run_all(jobs, parallel=self.parallel, done=done)
        finally:
            await early.over()

    async def _stage_returned(self, result: ToolResult, beside: Sequence[Beside] = ()) -> None:
        read, result = self.extracting.settled(result, self.ledger.state.extracted_bits)
        fired, shown = await self.guarding.returned(result)
        self.ledger.stage(*read, *fired, ToolReturned(result=shown), beside=beside)

    def _stage_known(self, call: CallState, result: ToolResult) -> None:
        beside = (self._effect(result),) if result.cached else ()
        self.ledger.stage(ToolReturned(result=result), beside=beside)

    def _job(self, call: ToolCall, label: Label, begun: Begin | None) -> Job:
        """The call with the arguments it was decided by, and the label policy gives to what its tool returns."""
        prepared = self.executor.prepare(call, label)
        if isinstance(prepared, ToolCall):
            call = prepared
        tool = self.toolbox.get(call.name)
        seen = self.ledger.state.label  # without the user's words, which a catalogue's answer does not make private
        gives: Gives | None = None
        if tool is not None:
            gives = partial(self.policy.result_label, tool, seen, self.context.principal)
        then = None if tool is None else self.extracting.of(self.policy.extraction(tool), seen)
        return Job(call=call, context=self._tool_context(call, begun), label=label, gives=gives, then=then)

    def _gone(self, call: CallState, label: Label) -> ToolReturned:
        why = f"Not done: there is no tool {call.call.name} any more that could repeat it."
        status = ResultStatus.REFUSED
        return ToolReturned(
            result=ToolResult(
                call_id=call.call.id, name=call.call.name, status=status, label=label, output=why, error="unknown_tool"
            )
        )

    def _next_attempt(self, call: CallState) -> int:
        return (call.started.attempt if call.started else 0) + 1

    def _not_run(self, call: CallState, label: Label) -> ToolReturned:
        why = "Not done: the run was cancelled before it began."
        status = ResultStatus.REFUSED
        return ToolReturned(
            result=ToolResult(
                call_id=call.call.id, name=call.call.name, status=status, label=label, output=why, error="not_started"
            )
        )

    def _start(self, call: CallState, operation: str | None) -> ToolStarted:
        tool = self.toolbox.get(call.call.name)
        assert tool is not None  # only writes that are registered are started
        return ToolStarted(
            id=call.call.id,
            name=tool.name,
            args_hash=content_hash(call.call.args),
            idem_key=operation or f"{self.ledger.run_id}:{call.call.id}",
            attempt=self._next_attempt(call),
            timeout_s=tool.timeout_s,
            idempotent=tool.idempotent,
            operation=operation,
        )

    def _tool_context(self, call: ToolCall, begun: Begin | None) -> ToolContext:
        async def emit(text: str) -> None:
            shown = await self.guarding.progress(text)
            delta = Delta(kind="progress", text=shown, turn=self.ledger.state.turn, call_id=call.id)
            await self.audience.delta(self.ledger.tenant, self.ledger.run_id, delta)

        return ToolContext(
            principal=self.context.principal,
            run_id=self.ledger.run_id,
            call_id=call.id,
            idempotency_key=begun.id if begun else f"{self.ledger.run_id}:{call.id}",
            deadline=self.context.deadline,
            emit=emit,
            trace_id=self.context.trace_id,
            request_id=self.context.request_id,
            tags=self.context.tags,
        )

    def _effect(self, result: ToolResult) -> Audit:
        how = ":cached" if result.cached else "" if result.error is None else f":{result.error}"
        return Audit(
            actor=f"agent:{self.agent}",
            subject=f"user:{self.context.principal.user}",
            action="effect",
            object=f"{self.ledger.run_id}:{result.call_id}:{result.name}",
            decision=f"{result.status}{how}",
        )

    def rejected(self, call: CallState, label: Label) -> ToolReturned:
        """The result of a draft that a person, or the clock, refused."""
        decided = call.approved
        assert decided is not None  # next_step refuses only what was decided
        if decided.by == "timeout":
            return ToolReturned(result=refusal(call.call, "expired", "nobody approved it in time", label))
        reason = f": {decided.reason}" if decided.reason else ""
        why = f"{decided.by} rejected it{reason}"
        return ToolReturned(result=refusal(call.call, "rejected", why, label))

    def raise_doubts(self, calls: Sequence[CallState]) -> None:
        """Stage the question to a person what became of each of these started writes."""
        for call in calls:
            assert call.started is not None
            assert call.started_at is not None  # next_step doubts only what was started
            wait = timedelta(seconds=call.started.timeout_s + self.doubt_grace_s)
            event = InDoubt(id=call.call.id, started_seq=call.started_seq, not_before=call.started_at + wait)
            row = to_record(self.ledger.run_id, self.ledger.state, call, event)
            self.ledger.stage(event, beside=[Put(record=row, expect=0)])

    async def settle_doubts(self, calls: Sequence[CallState], label: Label) -> None:
        """Stage the results of started writes as people tell them."""
        await self._close([(call, self._resolved(call, label)) for call in calls])

    async def _close(self, ends: Sequence[tuple[CallState, ToolReturned]]) -> None:
        for call, returned in ends:
            self.ledger.stage(returned, beside=await self.operations.resolved(call, returned.result))

    def _resolved(self, call: CallState, label: Label) -> ToolReturned:
        resolution = call.resolution
        assert resolution is not None  # next_step settles only what was resolved
        done = resolution.outcome == "done"
        happened = f"It was done, says {resolution.by}." if done else f"It was not done, says {resolution.by}."
        result = ToolResult(
            call_id=call.call.id,
            name=call.call.name,
            status=ResultStatus.OK if done else ResultStatus.ERROR,
            label=label,
            output=resolution.output or happened,
            error=None if done else "not_done",
            attempt=call.started.attempt if call.started else 1,
        )
        return ToolReturned(result=result)
