"""Each event of a run as a step of its story: what was given, what came of it, how long it took and what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from quarterdeck.agent.conversation import system_message
from quarterdeck.agent.state import RunState
from quarterdeck.core.answers import Answer
from quarterdeck.core.events import (
    AnswerRejected,
    ApprovalDecided,
    ApprovalEscalated,
    ApprovalGiven,
    ApprovalRequested,
    CancelRequested,
    CitationsChecked,
    ContextCompacted,
    Decided,
    DocumentIngested,
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
from quarterdeck.core.labels import Label
from quarterdeck.core.messages import Message, ToolResult
from quarterdeck.core.propagation import named
from quarterdeck.core.runs import AgentSpec
from quarterdeck.core.usage import Usage
from quarterdeck.service.story_eyes import Eyes
from quarterdeck.store.base import Entry

__all__ = ["Step", "Telling"]

_Told = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that happened.

    Attributes:
        seq: Of its event; a turn's decisions are steps of one event.
        kind: ``input``, ``retrieval``, ``model``, ``policy``, ``tool``, ...: what `told` is about.
        seconds: It took; None where nothing was waited for.
        usage: Of models, None for a step without.
        told: JSON values.
    """

    seq: int
    at: datetime | None
    kind: str
    told: _Told
    seconds: float | None = None
    usage: Usage | None = None


class Telling:
    """Tells the events of one run, in order."""

    def __init__(self, eyes: Eyes, spec: AgentSpec | None) -> None:
        """Args: spec: What the agent was told to be, None where nobody knows."""
        self._eyes = eyes
        self._spec = spec
        self._given: Sequence[Message] = ()

    def of(self, entry: Entry, before: RunState, after: RunState) -> list[Step]:
        """The steps an event is, between two states of its run; none for one that says nothing to people."""
        event = entry.event
        kind, told, seconds, usage = "", {}, None, None  # type: str, _Told, float | None, Usage | None
        match event:
            case RunStarted():
                kind, told = "input", self._input(event)
            case Retrieved():
                kind, told = "retrieval", self._retrieval(event, after.label)
                seconds, usage = event.usage.seconds, event.usage
            case ModelReply():
                kind, told = "model", self._model(event, before)
                seconds, usage = event.usage.seconds, event.usage
            case Decided():
                names = {call.call.id: call.call.name for call in before.calls}
                return [
                    Step(seq=entry.seq, at=entry.at, kind="policy", told=self._decision(one, names))
                    for one in event.decisions
                ]
            case ToolReturned(result=result):
                kind, told, seconds = "tool", self._tool(result, before), result.duration_ms / 1000
            case CitationsChecked():
                kind, told = "citations", self._checked(event, after.label)
                seconds, usage = event.usage.seconds, event.usage
            case Extracted():
                read = {"call_id": event.id, "model": event.model, "problem": event.problem, "dropped": list(event.dropped)}
                kind, told, seconds, usage = "extraction", read | {"bits": event.bits}, event.usage.seconds, event.usage
            case FinalAnswer():
                kind, told = "answer", self._answer(event.answer, event.label, event.stop_reason, event.output)
            case RunFailed():
                # The text of an error may quote what was said.
                said = self._eyes.text(event.error, after.label)
                kind, told = "failed", {"code": event.code, "stop_reason": event.stop_reason, "error": said}
            case StateFolded():
                return []
            case _:
                kind, told = self._other(entry, after)
        return [Step(seq=entry.seq, at=entry.at, kind=kind, told=told, seconds=seconds, usage=usage)] if kind else []

    def _other(self, entry: Entry, state: RunState) -> tuple[str, _Told]:
        """Events between the great steps."""
        eyes, event = self._eyes, entry.event
        match event:
            case GuardrailFired():
                guard = {"layer": event.layer, "verdict": event.verdict, "rule": event.rule, "action": event.action}
                return "guardrail", guard
            case ToolStarted():
                return "tool_started", {"call_id": event.id, "tool": event.name, "attempt": event.attempt}
            case ApprovalRequested():
                wanted = {"call_id": event.id, "draft": event.draft, "approvers": list(event.approvers)}
                return "approval_requested", wanted | {"expires_at": event.expires_at.isoformat(), "level": event.level}
            case ApprovalGiven(consent=given):
                said = None if event.reason is None else eyes.text(event.reason, state.label)
                by = {"by": given.by, "on_behalf_of": given.on_behalf_of, "reason": said}
                return "approval_given", {"call_id": event.id, "draft": event.draft, "level": event.level} | by
            case Endorsed(endorsement=given):
                value = {"argument": given.value.argument, "value": eyes.value(given.value.value, state.label)}
                said = eyes.text(given.reason, state.label) if given.reason else None
                by = {"by": given.by, "on_behalf_of": given.on_behalf_of, "reason": said}
                return "endorsed", {"call_id": event.id, "draft": event.draft} | value | by
            case ApprovalEscalated():
                return "approval_escalated", {"call_id": event.id, "draft": event.draft, "to": list(event.to)}
            case ApprovalDecided():
                decided = {"call_id": event.id, "approved": event.approved, "by": event.by, "level": event.level}
                edited = None if event.edited_args is None else eyes.value(event.edited_args, state.label)
                reason = None if event.reason is None else eyes.text(event.reason, state.label)
                return "approval_decided", decided | {"reason": reason, "edited_arguments": edited}
            case InDoubt():
                return "in_doubt", {"call_id": event.id}
            case DoubtResolved():
                return "doubt_resolved", {"call_id": event.id, "outcome": event.outcome, "by": event.by}
            case AnswerRejected():
                return "answer_rejected", {"reasons": [eyes.text(reason, state.label) for reason in event.reasons]}
            case ContextCompacted():
                return "compacted", {"strategy": event.strategy, "dropped": event.dropped, "replaced": len(event.replaced)}
            case Steer():
                return "steer", {"by": event.by, "message": eyes.message(event.message)}
            case DocumentIngested():
                item = eyes.value(event.item, state.label)
                return "document", {"item": item, "outcome": event.outcome, "chunks": event.chunks}
            case CancelRequested() | PauseRequested() | ResumeRequested() | RetryRequested() | RunCancelled():
                return event.kind, {"by": event.by, "reason": eyes.text(event.reason, state.label) if event.reason else None}
        return "", {}

    def _input(self, event: RunStarted) -> _Told:
        return {
            "agent": event.agent,
            "user": event.principal.user,
            "question": self._eyes.message(event.input),
            "history": len(event.history),
            "forked_from": event.forked_from,
            "tags": named(event.tags),
        }

    def _retrieval(self, event: Retrieved, label: Label) -> _Told:
        return {
            "mode": event.mode,
            "query": self._eyes.text(event.query, label),
            "notes": list(event.notes),
            "passages": [self._eyes.passage(passage) for passage in event.passages],
        }

    def _model(self, event: ModelReply, before: RunState) -> _Told:
        return {
            "turn": event.turn,
            "model": event.model,
            "route": event.route,
            "attempts": event.attempts,
            "finish_reason": event.finish_reason,
            "prompt": self._prompt(event, before),
            "reply": self._eyes.message(event.message),
        }

    def _prompt(self, event: ModelReply, before: RunState) -> _Told:
        """What the model was given: how many messages as in the call before, and those that are new."""
        unseen = sum(event.seen is not None and seq > event.seen for seq in before.tail)
        given = before.messages[: len(before.messages) - unseen]
        same = 0
        for old, new in zip(self._given, given, strict=False):
            if old != new:
                break
            same += 1
        self._given = given
        return {"system": self._system(before), "as_before": same, "messages": self._eyes.messages(given[same:])}

    def _system(self, state: RunState) -> _Told | None:
        """How the agent is instructed: for those who run it, not for those who ask it."""
        if self._spec is None:
            return None
        if not self._eyes.operates:
            return {"withheld": True}
        citing = bool(self._spec.tools) or self._spec.retrieve == "always"
        return {"text": system_message(self._spec, citing=citing, closing=state.closing is not None).text}

    def _decision(self, decision: Any, names: Mapping[str, str]) -> _Told:
        eyes = self._eyes
        return {
            "call_id": decision.call_id,
            "tool": names.get(decision.call_id, ""),
            "verdict": decision.verdict,
            "rule": decision.rule,
            "reasons": [eyes.text(reason, decision.label) for reason in decision.reasons],
            "policy_version": decision.policy_version,
            "approvers": list(decision.approvers),
            "integrity": decision.label.integrity.name.lower(),
        }

    def _tool(self, result: ToolResult, before: RunState) -> _Told:
        eyes = self._eyes
        called = next((call.call for call in before.calls if call.call.id == result.call_id), None)
        said = before.messages[-1].label if before.messages else result.label
        return {
            "call_id": result.call_id,
            "tool": result.name,
            "arguments": None if called is None else eyes.value(called.args, said),
            "status": result.status,
            "error": result.error,
            "attempt": result.attempt,
            "truncated": result.truncated,
            "cached": result.cached,
            "output": eyes.text(result.output, result.label) if result.output else None,
            "passages": [eyes.passage(passage) for passage in result.passages],
        }

    def _checked(self, event: CitationsChecked, label: Label) -> _Told:
        verdicts = [{"sentence": self._eyes.text(text, label), "holds": holds} for text, holds in event.verdicts.items()]
        return {"model": event.model, "problem": event.problem, "verdicts": verdicts}

    def _answer(self, answer: Answer, label: Label, stop_reason: str, output: Any) -> _Told:
        eyes = self._eyes
        return {
            "stop_reason": stop_reason,
            "answer": eyes.text(answer.text, label),
            "output": None if output is None else eyes.value(output, label),
            "confidence": answer.confidence,
            "confidence_score": answer.confidence_score,
            "reasons": [eyes.text(reason, label) for reason in answer.reasons],
            "notes": list(answer.notes),
            "needs_human_review": answer.needs_human_review,
            "drafts": list(answer.drafts),
            "citations": [
                {
                    "sentence": eyes.text(citation.sentence, label),
                    "support": citation.support,
                    "passage": eyes.passage(citation.passage),
                }
                for citation in answer.citations
            ],
        }
