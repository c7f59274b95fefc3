"""The fold: events in, state out. Pure: no clock, no chance, no I/O; the fold of a prefix plus the rest is the whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from quarterdeck.agent.conversation import cost_of
from quarterdeck.agent.state import CallState, MadeCall, RunState
from quarterdeck.core.answers import render_passages
from quarterdeck.core.decisions import Decision, Verdict
from quarterdeck.core.events import (
    AnswerRejected,
    ApprovalDecided,
    ApprovalEscalated,
    ApprovalRequested,
    CancelRequested,
    CitationsChecked,
    ContextCompacted,
    Decided,
    DoubtResolved,
    Endorsed,
    Extracted,
    FinalAnswer,
    GuardrailFired,
    InDoubt,
    ModelReply,
    PauseRequested,
    ResumeRequested,
    Retrieved,
    RetryRequested,
    RunCancelled,
    RunFailed,
    RunStarted,
    StateFolded,
    Steer,
    ToolReturned,
    ToolStarted,
)
from quarterdeck.core.ids import canonical_json
from quarterdeck.core.labels import Integrity, Label, join_all
from quarterdeck.core.messages import Message, Role, Text, ToolResult
from quarterdeck.core.runs import RunStatus, StopReason
from quarterdeck.store.base import Entry
from quarterdeck.store.codec import from_json

__all__ = ["fold", "signature"]

_SIGNATURES_KEPT = 16  # twice the longest cycle anybody can configure to look for
_Changes = dict[str, Any]  # fields by name, for changed()


def fold(entries: Iterable[Entry], state: RunState | None = None) -> RunState:
    """The state after `entries`, continuing from `state`."""
    state = state or RunState()
    for entry in entries:
        if isinstance(entry.event, StateFolded):
            state = _restored(state, entry.event)
        # What others stored before a folded state, but after what it covers, comes behind it.
        seq = entry.seq if entry.seq > state.seq else state.seq
        state = state.changed({"seq": seq, "updated_at": entry.at, **_changes(state, entry)})
    return state


def _restored(state: RunState, event: StateFolded) -> RunState:
    """The state a fold begins with; one that has begun already needs it no more."""
    return state if state.seq else from_json(RunState, event.state)


def _changes(state: RunState, entry: Entry) -> _Changes:
    """The fields of the state that an event changes."""
    event = entry.event
    match event:
        case RunStarted():
            return _begin(state, event, entry)
        case ModelReply():
            return _reply(state, event)
        case ToolReturned():
            return _returned(state, event)
        case Extracted():
            return {
                "extracted_bits": state.extracted_bits + event.bits,
                "usage": state.usage + event.usage,
                "worked_s": state.worked_s + event.usage.seconds,
            }
        case Decided():
            return _on_decision(state, event)
        case ToolStarted():
            begun = {"started": event, "started_seq": entry.seq, "started_at": entry.at, "doubt": None, "resolution": None}
            return _on_call(state, event.id, begun)
        case ApprovalRequested():
            waiting = {"approval": event, "approved": None, "redecided": False, "asked": event.level}
            return {**_on_call(state, event.id, waiting), "waited": True}
        case ApprovalEscalated():
            return _on_escalation(state, event)
        case ApprovalDecided():
            return _on_approval(state, event)
        case Endorsed():
            return {**_on_call(state, event.id, {"reconsider": True}), "endorsed": (*state.endorsed, event.endorsement)}
        case InDoubt():
            return {**_on_attempt(state, event.id, event.started_seq, {"doubt": event}), "waited": True}
        case DoubtResolved():
            return {**_on_attempt(state, event.id, event.started_seq, {"resolution": event}), "out_of_time": False}
        case Retrieved():
            return _found(state, event)
        case CitationsChecked():
            return {
                "checked": event,
                "usage": state.usage + event.usage,
                "worked_s": state.worked_s + event.usage.seconds,
            }
        case AnswerRejected():
            return {**_said(state, _rejection(event, state.messages[-1].label)), "rejections": state.rejections + 1}
        case ContextCompacted():
            messages = (*event.replaced, *state.messages[event.dropped :])
            return {"messages": messages, "tokens": sum(map(cost_of, messages))}
        case Steer():
            return _steered(state, event.message, entry.seq)
        case GuardrailFired(layer="limits", action="close"):
            known = event.rule in StopReason.__members__.values()
            return {"closing": StopReason(event.rule) if known else StopReason.FAILED}
        case GuardrailFired(action="review" | "withheld", rule=rule):
            return {} if rule in state.review else {"review": (*state.review, rule)}
        case CancelRequested():
            return {"cancel": event}
        case PauseRequested():
            return {"paused": True}
        case ResumeRequested():
            return {"paused": False}
        case RetryRequested():
            # It has waited for a person: by now the caller's deadline is over, and would end it at once. What was asked of
            # it before it failed is over too: whoever has it tried again wants it to go on.
            again = {"ended": None, "status": RunStatus.RUNNING, "waited": True, "out_of_time": False}
            return {**again, "cancel": None, "paused": False}
        case FinalAnswer():
            return {"ended": event, "status": RunStatus.DONE}
        case RunFailed():
            return {"ended": event, "status": RunStatus.FAILED}
        case RunCancelled():
            return {"ended": event, "status": RunStatus.CANCELLED}
    return {}


def _begin(state: RunState, event: RunStarted, entry: Entry) -> _Changes:
    label = join_all(message.label for message in (*event.history, *event.since)).join(state.label)
    before = state.changed({"label": label, **_said(state, *event.history)})
    started = {"started": event, "started_at": entry.at, "status": RunStatus.RUNNING}
    return {
        "messages": before.messages,
        "tokens": before.tokens,
        "label": label,
        **_heard(before, event.input),
        **_said(before, event.input, *event.since),
        **started,
    }


def _heard(state: RunState, message: Message) -> _Changes:
    """Take in what a person says: typed parts are words, the rest is context like any other."""
    typed = tuple(part for part in message.parts if part.label.integrity is Integrity.TRUSTED)
    rest = (part.label for part in message.parts if part not in typed)
    words = (*state.words, "".join(part.text for part in typed if isinstance(part, Text))) if typed else state.words
    return {"words": words, "label": join_all((state.label, *rest))}


def _steered(state: RunState, message: Message, seq: int) -> _Changes:
    """A message into a running run: behind open calls it waits until they have results."""
    if state.calls:
        return {**_heard(state, message), "steers": (*state.steers, (seq, message))}
    return {**_heard(state, message), **_said(state, message), "tail": (*state.tail, seq)}


def _said(state: RunState, *messages: Message) -> _Changes:
    return {"messages": (*state.messages, *messages), "tokens": state.tokens + sum(map(cost_of, messages))}


def _found(state: RunState, event: Retrieved) -> _Changes:
    text = f"Passages found for this question:\n{render_passages(event.passages)}"
    return {
        **_said(state, Message(role=Role.USER, parts=(Text(text=text, label=event.label),))),
        "retrieved": True,
        "search_failed": event.mode in ("late", "failed"),
        "passages": {**state.passages, **{passage.id: passage for passage in event.passages}},
        "label": state.label.join(event.label),
        "usage": state.usage + event.usage,
    }


def _rejection(event: AnswerRejected, rejected: Label) -> Message:
    """The product's words, with the label of the answer they quote."""
    reasons = "\n".join(f"- {reason}" for reason in event.reasons)
    text = f"Your answer was rejected:\n{reasons}\nAnswer the question again and mend this."
    return Message(role=Role.USER, parts=(Text(text=text, label=rejected),))


def _reply(state: RunState, event: ModelReply) -> _Changes:
    # What people said and the model had not seen follows its reply; behind calls, it waits until they have results.
    unseen = sum(event.seen is not None and seq > event.seen for seq in state.tail)
    cut = len(state.messages) - unseen
    late = state.messages[cut:]
    calls = tuple(CallState(call=call) for call in event.message.tool_calls)
    queued = tuple(zip(state.tail[len(state.tail) - unseen :], late, strict=True)) if calls else ()
    return {
        "messages": (*state.messages[:cut], event.message, *(() if calls else late)),
        "tokens": state.tokens + cost_of(event.message) - sum(cost_of(message) for _, message in queued),
        "steers": (*state.steers, *queued),
        "tail": () if calls else state.tail[len(state.tail) - unseen :],
        "turn": event.turn,
        "revisions": 0,
        "checked": None,
        "calls": calls,
        "usage": state.usage + event.usage,
        "worked_s": state.worked_s + event.usage.seconds,
        "model": event.model,
        "finish_reason": event.finish_reason,
    }


def _on_decision(state: RunState, event: Decided) -> _Changes:
    by_id = {decision.call_id: decision for decision in event.decisions}
    return {
        "calls": tuple(_decided(call, by_id[call.call.id]) if call.call.id in by_id else call for call in state.calls),
        "revisions": state.revisions + 1,
    }


def _decided(call: CallState, decision: Decision) -> CallState:
    changes: _Changes = {"decision": decision, "redecided": call.approved is not None, "reconsider": False}
    if call.waits_for_decision and decision.verdict is not Verdict.APPROVE:
        changes["approval"] = None  # what people were asked about is no longer a question
    return call.changed(changes)


def _on_call(state: RunState, call_id: str, changes: _Changes) -> _Changes:
    return {"calls": tuple(call.changed(changes) if call.call.id == call_id else call for call in state.calls)}


def _on_attempt(state: RunState, call_id: str, started_seq: int, changes: _Changes) -> _Changes:
    """Change a call, but only if the change speaks of its latest start: an answer is never used for two attempts."""
    if any(call.call.id == call_id and call.started_seq == started_seq for call in state.calls):
        return _on_call(state, call_id, changes)
    return {}


def _on_escalation(state: RunState, event: ApprovalEscalated) -> _Changes:
    asked = next((call.approval for call in state.calls if call.call.id == event.id), None)
    if asked is None or asked.level != event.level:
        return {}
    return _on_call(state, event.id, {"approval": replace(asked, escalates_at=None)})


def _on_approval(state: RunState, event: ApprovalDecided) -> _Changes:
    changes: _Changes = {"approved": event}
    more = {"out_of_time": False}  # what its caller gave it no longer counts
    found = next((call for call in state.calls if call.call.id == event.id), None)
    call = None if found is None else found.call
    if found is not None:
        # New arguments are another call: what people said of the old ones is nobody's word for these.
        before = found.consents if event.edited_args is None else ()
        changes["consents"] = tuple(dict.fromkeys((*before, *event.consents)))
    if event.edited_args is None or call is None:
        return {**_on_call(state, event.id, changes), **more}
    edited = replace(call, args=event.edited_args)
    said = state.messages[-1]
    shown = replace(said, tool_calls=tuple(edited if one.id == edited.id else one for one in said.tool_calls))
    # The model is shown the call as it will be executed, or it would speak of what it had proposed.
    called = _on_call(state, event.id, {**changes, "call": edited})
    return {**called, **more, "messages": (*state.messages[:-1], shown)}


def _returned(state: RunState, event: ToolReturned) -> _Changes:
    result = event.result
    changes = _on_call(state, result.call_id, {"result": result})
    changes["label"] = state.label.join(result.label)
    if result.error == "out_of_time":
        changes["out_of_time"] = True
    if result.passages:
        changes["passages"] = {**state.passages, **{passage.id: passage for passage in result.passages}}
    calls: tuple[CallState, ...] = changes["calls"]
    if all(call.result is not None for call in calls):
        changes |= _turn_closed(state, calls, changes["label"])
    return changes


def _turn_closed(state: RunState, calls: tuple[CallState, ...], label: Label) -> _Changes:
    """All calls have results: they become messages in the order of the calls, and what came in meanwhile follows them."""
    results = tuple(call.result for call in calls if call.result is not None)
    changes = {
        **_said(state, *(result.as_message() for result in results)),
        "calls": (),
        "made": state.made + tuple(_made(state.turn, call, result) for call, result in zip(calls, results, strict=True)),
        "results": state.results + tuple(result for result in results if result.ok),
        "worked_s": state.worked_s + max((result.duration_ms for result in results), default=0.0) / 1000,
        "signatures": (*state.signatures, signature(calls))[-_SIGNATURES_KEPT:],
        "unknown_tools": state.unknown_tools + 1 if all(result.error == "unknown_tool" for result in results) else 0,
    }
    if state.steers:
        said = changes["messages"], changes["tokens"]
        messages = tuple(message for _, message in state.steers)
        changes["messages"], changes["tokens"] = (*said[0], *messages), said[1] + sum(map(cost_of, messages))
        changes |= {"steers": (), "tail": tuple(seq for seq, _ in state.steers)}
    return changes


def _made(turn: int, call: CallState, result: ToolResult) -> MadeCall:
    return MadeCall(
        turn=turn,
        name=call.call.name,
        arguments=call.call.args,
        success=result.ok,
        duration_ms=result.duration_ms,
        error=result.error,
        draft=call.approval.draft if call.approval else None,
        approved_by=call.approved.by if call.approved and call.approved.approved else None,
        cached=result.cached,
    )


def signature(calls: Iterable[CallState]) -> str:
    """A hash of what a turn called and what came of it, whatever the order of its calls."""
    parts = sorted(
        f"{call.call.name}\x00{canonical_json(call.call.args)}\x00{call.result.text if call.result else ''}"
        for call in calls
    )
    return hashlib.sha256("\x01".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
