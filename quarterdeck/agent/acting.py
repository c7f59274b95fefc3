"""Acting: calls that may run are executed, and what people said of the others becomes their result.

The start of a write is durable before it happens, its result as soon as it is there. Reads may repeat after a crash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import anyio

from quarterdeck.agent.base import Audience
from quarterdeck.agent.deciding import refusal
from quarterdeck.agent.ledger import Ledger
from quarterdeck.agent.state import CallState
from quarterdeck.core.context import Context
from quarterdeck.core.events import Delta, InDoubt, ToolReturned, ToolStarted
from quarterdeck.core.ids import content_hash
from quarterdeck.core.labels import Label
from quarterdeck.core.messages import ResultStatus, ToolCall, ToolResult
from quarterdeck.core.tools import ToolContext
from quarterdeck.policy.base import Decider
from quarterdeck.store.base import Audit
from quarterdeck.tools.base import Toolbox
from quarterdeck.tools.executor import Executor, Job

__all__ = ["Acting"]

# How long a reply may wait for the results of its reads before it is appended without them. One append less per turn is a
# fifth of the CPU of a turn; what a crash within this time costs is one model call more.
_COMPANY_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Acting:
    """The tools of one advance."""

    ledger: Ledger
    toolbox: Toolbox
    executor: Executor
    policy: Decider
    context: Context
    audience: Audience
    agent: str
    parallel: int
    doubt_grace_s: float

    async def run(self, calls: Sequence[CallState], label: Label) -> None:
        """Execute `calls` side by side; their results are staged in the order in which they come.

        Args:
            label: Of the arguments: the join of everything the model was shown.
        """
        writes = {call.call.id for call in calls if self._is_write(call.call.name)}
        jobs = [self._job(call.call, label) for call in calls]
        if not writes:
            await self._read(jobs)
            return
        self.ledger.stage(*(self._start(call) for call in calls if call.call.id in writes))
        if not await self.ledger.commit():
            return

        async def done(result: ToolResult) -> None:
            if result.call_id in writes and result.error == "timeout":
                return  # nobody knows whether it happened, as if its worker had died; its start stands in the journal
            if result.call_id in writes:
                self.ledger.stage(ToolReturned(result=result), beside=[self._effect(result)])
                await self.ledger.commit()
            else:
                self.ledger.stage(ToolReturned(result=result))

        with anyio.CancelScope(shield=True):  # a write that began is left to end: cutting it would leave it in doubt
            await self.executor.run_all(jobs, parallel=self.parallel, done=done)

    async def _read(self, jobs: Sequence[Job]) -> None:
        """Reads may repeat, so what asked for them need not be durable before; quick ones share its append."""

        async def done(result: ToolResult) -> None:
            self.ledger.stage(ToolReturned(result=result))

        with self.ledger.committing_after(_COMPANY_S):
            await self.executor.run_all(jobs, parallel=self.parallel, done=done)

    def _job(self, call: ToolCall, label: Label) -> Job:
        """The call, and the label policy gives to what its tool returns."""
        tool = self.toolbox.get(call.name)
        gives = None if tool is None else self.policy.result_label(tool, label, self.context.principal)
        return Job(call=call, context=self._tool_context(call), label=label, gives=gives)

    def _is_write(self, name: str) -> bool:
        tool = self.toolbox.get(name)
        return tool is not None and not tool.is_read

    def _start(self, call: CallState) -> ToolStarted:
        tool = self.toolbox.get(call.call.name)
        assert tool is not None  # only writes that are registered are started
        return ToolStarted(
            id=call.call.id,
            name=tool.name,
            args_hash=content_hash(call.call.args),
            idem_key=f"{self.ledger.run_id}:{call.call.id}",
            attempt=(call.started.attempt if call.started else 0) + 1,
            timeout_s=tool.timeout_s,
            idempotent=tool.idempotent,
        )

    def _tool_context(self, call: ToolCall) -> ToolContext:
        async def emit(text: str) -> None:
            delta = Delta(kind="progress", text=text, turn=self.ledger.state.turn, call_id=call.id)
            await self.audience.delta(self.ledger.tenant, self.ledger.run_id, delta)

        return ToolContext(
            principal=self.context.principal,
            run_id=self.ledger.run_id,
            call_id=call.id,
            idempotency_key=f"{self.ledger.run_id}:{call.id}",
            deadline=self.context.deadline,
            emit=emit,
        )

    def _effect(self, result: ToolResult) -> Audit:
        return Audit(
            actor=f"agent:{self.agent}",
            subject=f"user:{self.context.principal.user}",
            action="effect",
            object=f"{self.ledger.run_id}:{result.call_id}:{result.name}",
            decision=result.status if result.error is None else f"{result.status}:{result.error}",
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

    def in_doubt(self, call: CallState) -> InDoubt:
        """The question to a person what became of a started write."""
        assert call.started is not None
        assert call.started_at is not None  # next_step doubts only what was started
        wait = timedelta(seconds=call.started.timeout_s + self.doubt_grace_s)
        return InDoubt(id=call.call.id, started_seq=call.started_seq, not_before=call.started_at + wait)

    def resolved(self, call: CallState, label: Label) -> ToolReturned:
        """The result of a started write as a person tells it."""
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
