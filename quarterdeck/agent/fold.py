"""The fold: events in, state out. Pure: no clock, no chance, no I/O; the fold of a prefix plus the rest is the whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from quarterdeck.agent.conversation import cost_of
from quarterdeck.agent.state import CallState, MadeCall, RunState
from quarterdeck.core.answers import render_passages
from quarterdeck.core.events import (
    AnswerRejected,
    ApprovalDecided,
    ApprovalRequested,
    CancelRequested,
    ContextCompacted,
    Decided,
    DoubtResolved,
    FinalAnswer,
    GuardrailFired,
    InDoubt,
    ModelReply,
    PauseRequested,
    ResumeRequested,
    Retrieved,
    RunCancelled,
    RunFailed,
    RunStarted,
    Steer,
    ToolReturned,
    ToolStarted,
)
from quarterdeck.core.ids import canonical_json
from quarterdeck.core.labels import PUBLIC, Integrity, Label, join_all
from quarterdeck.core.messages import Message, ResultStatus, Role, Text
from quarterdeck.core.runs import RunStatus, StopReason
from quarterdeck.store.base import Entry

__all__ = ["fold", "signature"]

_SIGNATURES_KEPT = 16  # twice the longest cycle anybody can configure to look for
_OUR_OWN = Label(integrity=Integrity.TRUSTED, readers=PUBLIC)


def fold(entries: Iterable[Entry], state: RunState | None = None) -> RunState:
    """The state after `entries`, continuing from `state`."""
    state = state or RunState()
    for entry in entries:
        state = _apply(state, entry)
    return state


def _apply(state: RunState, entry: Entry) -> RunState:
    event = entry.event
    match event:
        case RunStarted():
            state = _begin(state, event, entry)
        case ModelReply():
            state = _reply(state, event)
        case ToolReturned():
            state = _returned(state, event)
        case Decided():
            by_id = {decision.call_id: decision for decision in event.decisions}
            calls = tuple(
                replace(call, decision=by_id[call.call.id], redecided=bool(event.revision))
                if call.call.id in by_id
                else call
                for call in state.calls
            )
            state = replace(state, calls=calls)
        case ToolStarted():
            state = _on_call(
                state,
                event.id,
                started=event,
                started_seq=entry.seq,
                started_at=entry.at,
                doubt=None,
                resolution=None,
            )
        case ApprovalRequested():
            state = _on_call(state, event.id, approval=event)
        case ApprovalDecided():
            state = _decided(state, event)
        case InDoubt():
            state = _on_attempt(state, event.id, event.started_seq, doubt=event)
        case DoubtResolved():
            state = _on_attempt(state, event.id, event.started_seq, resolution=event)
        case Retrieved():
            state = _found(state, event)
        case AnswerRejected():
            state = replace(_say(state, _rejection(event)), rejections=state.rejections + 1)
        case ContextCompacted():
            kept = state.messages[len(state.messages) - event.keep_last :]
            messages = (*event.replaced, *kept)
            state = replace(state, messages=messages, tokens=sum(map(cost_of, messages)))
        case Steer():
            state = _steer(state, event.message)
        case GuardrailFired(layer="limits", action="close"):
            state = replace(state, closing=StopReason(event.rule))
        case CancelRequested():
            state = replace(state, cancel=event)
        case PauseRequested():
            state = replace(state, paused=True)
        case ResumeRequested():
            state = replace(state, paused=False)
        case FinalAnswer():
            state = replace(state, ended=event, status=RunStatus.DONE)
        case RunFailed():
            state = replace(state, ended=event, status=RunStatus.FAILED)
        case RunCancelled():
            state = replace(state, ended=event, status=RunStatus.CANCELLED)
    return replace(state, seq=entry.seq, updated_at=entry.at)


def _begin(state: RunState, event: RunStarted, entry: Entry) -> RunState:
    state = replace(state, started=event, started_at=entry.at, status=RunStatus.RUNNING)
    for message in event.history:
        state = _say(replace(state, label=state.label.join(message.label)), message)
    return _hear(state, event.input)


def _hear(state: RunState, message: Message) -> RunState:
    """Take in a person's message: typed parts are words, the rest is context like any other."""
    typed = tuple(part for part in message.parts if part.label.integrity is Integrity.TRUSTED)
    rest = join_all(part.label for part in message.parts if part.label.integrity is not Integrity.TRUSTED)
    words = (*state.words, "".join(part.text for part in typed)) if typed else state.words
    return _say(replace(state, words=words, label=state.label.join(rest)), message)


def _found(state: RunState, event: Retrieved) -> RunState:
    text = f"Passages found for this question:\n{render_passages(event.passages)}"
    return replace(
        _say(state, Message(role=Role.USER, parts=(Text(text=text, label=event.label),))),
        retrieved=True,
        passages={**state.passages, **{passage.id: passage for passage in event.passages}},
        label=state.label.join(event.label),
    )


def _say(state: RunState, *messages: Message) -> RunState:
    return replace(state, messages=(*state.messages, *messages), tokens=state.tokens + sum(map(cost_of, messages)))


def _steer(state: RunState, message: Message) -> RunState:
    if state.calls:
        return replace(state, steers=(*state.steers, message))
    return _hear(state, message)


def _rejection(event: AnswerRejected) -> Message:
    reasons = "\n".join(f"- {reason}" for reason in event.reasons)
    text = f"Your answer was rejected:\n{reasons}\nAnswer the question again and mend this."
    return Message(role=Role.USER, parts=(Text(text=text, label=_OUR_OWN),))


def _reply(state: RunState, event: ModelReply) -> RunState:
    return replace(
        _say(state, event.message),
        turn=event.turn,
        calls=tuple(CallState(call=call) for call in event.message.tool_calls),
        usage=state.usage + event.usage,
        worked_s=state.worked_s + event.usage.seconds,
        model=event.model,
        finish_reason=event.finish_reason,
    )


def _on_call(state: RunState, call_id: str, **changes: object) -> RunState:
    calls = tuple(replace(call, **changes) if call.call.id == call_id else call for call in state.calls)  # type: ignore[arg-type]  # replace() cannot be typed by keyword
    return replace(state, calls=calls)


def _on_attempt(state: RunState, call_id: str, started_seq: int, **changes: object) -> RunState:
    """Change a call, but only if the change speaks of its latest start: an answer is never used for two attempts."""
    if any(call.call.id == call_id and call.started_seq == started_seq for call in state.calls):
        return _on_call(state, call_id, **changes)
    return state


def _decided(state: RunState, event: ApprovalDecided) -> RunState:
    changes: dict[str, object] = {"approved": event}
    if event.edited_args is not None:
        call = next((call.call for call in state.calls if call.call.id == event.id), None)
        if call is not None:
            changes["call"] = replace(call, args=event.edited_args)
    return _on_call(state, event.id, **changes)


def _returned(state: RunState, event: ToolReturned) -> RunState:
    result = event.result
    state = _on_call(state, result.call_id, result=result)
    found = {passage.id: passage for passage in result.passages}
    state = replace(
        state,
        label=state.label.join(result.label),
        passages={**state.passages, **found} if found else state.passages,
    )
    return state if any(call.result is None for call in state.calls) else _close_turn(state)


def _close_turn(state: RunState) -> RunState:
    """All calls have results: they become messages in the order of the calls, and what came in meanwhile follows them."""
    results = tuple(call.result for call in state.calls if call.result is not None)
    made = tuple(
        MadeCall(
            turn=state.turn,
            name=call.call.name,
            arguments=call.call.args,
            success=result.ok,
            duration_ms=result.duration_ms,
            error=result.error,
            draft=call.approval.draft if call.approval else None,
            approved_by=call.approved.by if call.approved and call.approved.approved else None,
        )
        for call, result in zip(state.calls, results, strict=True)
    )
    unknown = all(result.error == "unknown_tool" for result in results)
    turn_signature = signature(state.calls)
    steers = state.steers
    state = replace(
        _say(state, *(result.as_message() for result in results)),
        calls=(),
        steers=(),
        made=state.made + made,
        results=state.results + tuple(result for result in results if result.status is ResultStatus.OK),
        worked_s=state.worked_s + max((result.duration_ms for result in results), default=0.0) / 1000,
        signatures=(*state.signatures, turn_signature)[-_SIGNATURES_KEPT:],
        unknown_tools=state.unknown_tools + 1 if unknown else 0,
    )
    for message in steers:
        state = _hear(state, message)
    return state


def signature(calls: Iterable[CallState]) -> str:
    """A hash of what a turn called and what came of it, whatever the order of its calls."""
    parts = sorted(
        f"{call.call.name}\x00{canonical_json(call.call.args)}\x00{call.result.text if call.result else ''}"
        for call in calls
    )
    return hashlib.sha256("\x01".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
