"""A run as the person who asked sees it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from quarterdeck.agent.fold import fold
from quarterdeck.agent.state import MadeCall, RunState
from quarterdeck.core.answers import Answer
from quarterdeck.core.events import FinalAnswer, RunCancelled, RunFailed
from quarterdeck.core.labels import Label
from quarterdeck.core.messages import Role, ToolCall
from quarterdeck.core.propagation import named
from quarterdeck.core.runs import RunStatus, StopReason
from quarterdeck.core.usage import Usage
from quarterdeck.service.withdrawn import sources_of
from quarterdeck.store.base import Entry

__all__ = ["Failure", "RunView", "view_of", "view_of_state", "without_words"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a run ended without an answer."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """How a run stands.

    Attributes:
        said: What can be shown while there is no answer: the model's last words, or what is waited for.
        answer: The settled answer; None until there is one.
        output: Value of the declared answer type, None for text.
        label: Join of everything the model has seen.
        tool_calls: Names of the tools called so far, those that wait included.
        drafts: Ids of drafts that wait for a person.
        doubts: Ids of started calls whose outcome a person must tell.
        client_calls: Calls of tools that whoever asked has to execute.
        latency_ms: From its start to its last event, milliseconds.
        head: Seq of the last event seen.
        withheld: What was said is left out, since whoever asks may not read it (any more).
        sources: Ids of all that what was said rests on, passages among them.
        request_id, trace_id: Of the request that began it.
        tags: Traffic tags of that request.
    """

    run_id: str
    agent: str
    user: str
    session_id: str | None
    status: RunStatus
    stop_reason: StopReason
    question: str
    said: str
    answer: Answer | None
    output: Any
    label: Label
    model: str
    usage: Usage
    latency_ms: float
    tool_calls_made: tuple[MadeCall, ...]
    tool_calls: tuple[str, ...]
    drafts: tuple[str, ...]
    doubts: tuple[str, ...]
    failure: Failure | None
    created_at: datetime
    updated_at: datetime
    head: int
    client_calls: tuple[ToolCall, ...] = ()
    withheld: bool = False
    sources: frozenset[str] = frozenset()
    request_id: str | None = None
    trace_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def rests(self) -> bool:
        """Nothing more happens to it by itself."""
        return self.status.ended or self.status in (RunStatus.WAITING, RunStatus.PAUSED)


def view_of(run_id: str, entries: Iterable[Entry], status: RunStatus | None = None) -> RunView:
    """The view of a run with these events, of which there is at least the first.

    Args:
        status: The store's; None to tell it from the events.
    """
    return view_of_state(run_id, fold(entries), status)


def view_of_state(run_id: str, state: RunState, status: RunStatus | None = None) -> RunView:
    """The view of a run whose events have been folded already."""
    started, began, last = state.started, state.started_at, state.updated_at
    if started is None or began is None or last is None:
        raise ValueError(f"run {run_id} has no first event")
    ended = state.ended
    return RunView(
        run_id=run_id,
        agent=started.agent,
        user=started.principal.user,
        session_id=started.session_id,
        status=status or _status(state),
        stop_reason=state.stop_reason,
        question=started.input.text,
        said=_said(state),
        answer=ended.answer if isinstance(ended, FinalAnswer) else None,
        output=ended.output if isinstance(ended, FinalAnswer) else None,
        label=state.label,
        model=state.model,
        usage=state.usage,
        latency_ms=round((last - began).total_seconds() * 1000, 3),
        tool_calls_made=state.made,
        tool_calls=(
            *(call.name for call in state.made),
            *(call.call.name for call in state.calls if call.waits_for_decision or call.waits_for_resolution),
        ),
        drafts=tuple(state.drafts),
        doubts=tuple(call.call.id for call in state.doubts),
        failure=Failure(code=ended.code, message=ended.error) if isinstance(ended, RunFailed) else None,
        created_at=began,
        updated_at=last,
        head=state.seq,
        client_calls=_client_calls(state),
        sources=sources_of(
            (state.label, *(message.label for message in state.messages)), state.passages.values(), started.rests_on
        ),
        request_id=started.request_id,
        trace_id=started.trace_id,
        tags=named(started.tags),
    )


def without_words(view: RunView) -> RunView:
    """The view for somebody who may know how a run stands, and not what was said in it."""
    made = tuple(replace(call, arguments={}) for call in view.tool_calls_made)
    bare = replace(view, question="", said="", answer=None, output=None, failure=None, tool_calls_made=made, client_calls=())
    return replace(bare, withheld=True)


def _client_calls(state: RunState) -> tuple[ToolCall, ...]:
    if state.stop_reason is not StopReason.CLIENT_TOOLS:
        return ()
    return tuple(call.call for call in state.calls if call.result is None)


def _said(state: RunState) -> str:
    words = next((m.text.strip() for m in reversed(state.messages) if m.role is Role.ASSISTANT and m.text.strip()), "")
    waiting = ", ".join(call.call.name for call in state.calls if call.waits_for_decision)
    return words or (f"Waiting for approval: {waiting}" if waiting else "")


def _status(state: RunState) -> RunStatus:
    match state.ended:
        case FinalAnswer():
            return RunStatus.DONE
        case RunFailed():
            return RunStatus.FAILED
        case RunCancelled():
            return RunStatus.CANCELLED
    if state.stop_reason in (StopReason.AWAITING_APPROVAL, StopReason.IN_DOUBT):
        return RunStatus.WAITING
    return RunStatus.PAUSED if state.paused else RunStatus.RUNNING
