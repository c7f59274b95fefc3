"""What a run does next. Pure: state and instant in, one step out; the loop performs it and appends what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from quarterdeck.agent.limits import limit_hit
from quarterdeck.agent.state import CallState, RunState
from quarterdeck.core.decisions import Verdict
from quarterdeck.core.messages import Role
from quarterdeck.core.runs import AgentSpec, StopReason

__all__ = [
    "Ask",
    "Cancel",
    "Close",
    "Compact",
    "Decide",
    "End",
    "Escalate",
    "Expire",
    "GiveUp",
    "HandOver",
    "RaiseDoubt",
    "Refuse",
    "Report",
    "Retrieve",
    "RunTools",
    "Settle",
    "SettleDoubt",
    "Step",
    "Wait",
    "next_step",
]


_STARTS = 3  # of a write whose target deduplicates; after that a person is asked


@dataclass(frozen=True, slots=True)
class End:
    """Nothing is left to do."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Somebody asked for the end."""


@dataclass(frozen=True, slots=True)
class Retrieve:
    """Search before the model is asked."""


@dataclass(frozen=True, slots=True)
class Compact:
    """Make the conversation fit the model's window."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the model; without tools when the run is closing."""


@dataclass(frozen=True, slots=True)
class Close:
    """A limit was hit that leaves room for one last answer without tools."""

    reason: StopReason


@dataclass(frozen=True, slots=True)
class Decide:
    """Validate these calls and have policy decide them: new ones, and those a person approved."""

    calls: Sequence[CallState]


@dataclass(frozen=True, slots=True)
class Escalate:
    """These drafts waited so long that others are asked too."""

    calls: Sequence[CallState]


@dataclass(frozen=True, slots=True)
class Expire:
    """These drafts waited too long."""

    calls: Sequence[CallState]


@dataclass(frozen=True, slots=True)
class Refuse:
    """A person, or the clock, said no to these drafts."""

    calls: Sequence[CallState]


@dataclass(frozen=True, slots=True)
class RaiseDoubt:
    """These writes were started by a worker that died, and their targets cannot deduplicate."""

    calls: Sequence[CallState]


@dataclass(frozen=True, slots=True)
class SettleDoubt:
    """A person said what became of these."""

    calls: Sequence[CallState]


@dataclass(frozen=True, slots=True)
class RunTools:
    """Execute these calls."""

    calls: Sequence[CallState]


@dataclass(frozen=True, slots=True)
class Wait:
    """Only people, or the clock, can move the run."""

    wake_at: datetime | None


@dataclass(frozen=True, slots=True)
class Check:
    """Have a model decide whether passages bear out what cites them."""


@dataclass(frozen=True, slots=True)
class Settle:
    """The model has answered in words: check the answer."""


@dataclass(frozen=True, slots=True)
class Report:
    """There is no model to ask: what the calls gave is the answer."""


@dataclass(frozen=True, slots=True)
class HandOver:
    """What is left to call are tools of whoever asked."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Stop here with the best partial answer there is."""

    reason: StopReason


Step = (
    End
    | Cancel
    | Retrieve
    | Compact
    | Ask
    | Close
    | Decide
    | Escalate
    | Expire
    | Refuse
    | RaiseDoubt
    | SettleDoubt
    | RunTools
    | Wait
    | Check
    | Settle
    | Report
    | HandOver
    | GiveUp
)


def next_step(state: RunState, spec: AgentSpec, now: datetime) -> Step:
    """The one next step of a run that has begun."""
    if state.ended is not None:
        return End()
    if state.cancel is not None:
        return _cancelling(state.calls)
    if state.paused:
        return Wait(None)
    if state.calls:
        own = _own(state.calls, spec)
        if len(own) < len(state.calls) and all(call.result is not None for call in own):
            return HandOver()
        return _with_calls(own, now)
    return _between_turns(state, spec)


def _own(calls: Sequence[CallState], spec: AgentSpec) -> Sequence[CallState]:
    """The calls that are executed here; those that make no sense are among them, as they go back to the model."""
    brought = {tool.name for tool in spec.client_tools}
    return [call for call in calls if call.call.name not in brought or call.call.malformed is not None] if brought else calls


def _cancelling(calls: Sequence[CallState]) -> Step:
    """A write that was started, and whose end nobody saw, is put to a person before the run may end."""
    unseen = [call for call in calls if call.started is not None and call.result is None]
    if found := [call for call in unseen if call.resolution is not None]:
        return SettleDoubt(found)
    if found := [call for call in unseen if call.doubt is None]:
        return RaiseDoubt(found)
    return Wait(None) if unseen else Cancel()


def _with_calls(calls: Sequence[CallState], now: datetime) -> Step:
    open_calls = [call for call in calls if call.result is None]
    if found := [call for call in open_calls if call.decision is None or _newly_approved(call) or _reconsidered(call)]:
        return Decide(found)
    if found := [call for call in open_calls if call.approved is not None and not call.approved.approved]:
        return Refuse(found)
    if found := [call for call in open_calls if call.resolution is not None and call.resolution.outcome != "repeat"]:
        return SettleDoubt(found)
    if found := [call for call in open_calls if _abandoned(call) and call.doubt is None]:
        return RaiseDoubt(found)
    if found := [call for call in open_calls if call.waits_for_decision and _expired(call, now)]:
        return Expire(found)
    if found := [call for call in open_calls if call.waits_for_decision and _escalates(call, now)]:
        return Escalate(found)
    if found := [call for call in open_calls if _runnable(call)]:
        return RunTools(found)
    waiting = [call.approval for call in open_calls if call.approval and call.waits_for_decision]
    times = [at for asked in waiting for at in (asked.expires_at, asked.escalates_at) if at is not None]
    return Wait(min(times, default=None))


def _newly_approved(call: CallState) -> bool:
    return call.approved is not None and call.approved.approved and not call.redecided


def _reconsidered(call: CallState) -> bool:
    return call.reconsider and call.waits_for_decision


def _abandoned(call: CallState) -> bool:
    """Started, and nobody saw its end: its worker died, or it timed out. Not to be called again without a person's word."""
    return call.started is not None and not _repeatable(call)


def _repeatable(call: CallState) -> bool:
    """A target that deduplicates is simply called again, with the same key; but not for ever, nor without the right."""
    if call.started is None or not call.started.idempotent or call.started.attempt >= _STARTS or call.doubt is not None:
        return False
    return call.decision is None or call.decision.verdict is not Verdict.DENY


def _expired(call: CallState, now: datetime) -> bool:
    return call.approval is not None and call.approval.expires_at <= now


def _escalates(call: CallState, now: datetime) -> bool:
    asked = call.approval
    return asked is not None and asked.escalates_at is not None and asked.escalates_at <= now


def _runnable(call: CallState) -> bool:
    if call.started is not None:
        return _repeatable(call) or (call.resolution is not None and call.resolution.outcome == "repeat")
    if call.decision is None:
        return False
    return call.decision.verdict is Verdict.ALLOW or (call.redecided and call.decision.verdict is not Verdict.DENY)


def _between_turns(state: RunState, spec: AgentSpec) -> Step:
    answered = bool(state.messages) and state.messages[-1].role is Role.ASSISTANT
    if answered:
        unchecked = spec.citations == "model" and bool(state.passages) and state.checked is None
        return Check() if unchecked else Settle()
    if not spec.model:
        return GiveUp(StopReason.TIME_LIMIT) if state.out_of_time else Report()
    stop = limit_hit(state, spec.limits)
    if stop is not None and not stop.leaves_room:
        return GiveUp(stop.reason)
    if stop is not None and state.closing is None:
        return Close(stop.reason)
    if spec.retrieve == "always" and not state.retrieved:
        return Retrieve()
    if state.tokens > spec.limits.compact_at * spec.limits.context_window:
        return Compact()
    return Ask()
