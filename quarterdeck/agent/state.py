"""The state of a run: what the fold of its events gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from quarterdeck.core.answers import Passage
from quarterdeck.core.decisions import Consent, Decision, Endorsement
from quarterdeck.core.events import (
    ApprovalDecided,
    ApprovalRequested,
    CancelRequested,
    CitationsChecked,
    DoubtResolved,
    FinalAnswer,
    InDoubt,
    RunCancelled,
    RunFailed,
    RunStarted,
    ToolStarted,
)
from quarterdeck.core.labels import PUBLIC, Integrity, Label
from quarterdeck.core.messages import Message, ToolCall, ToolResult
from quarterdeck.core.runs import RunStatus, StopReason
from quarterdeck.core.usage import Usage

__all__ = ["CallState", "MadeCall", "RunState"]


class _Folded:
    """A frozen value that is copied with every event.

    `dataclasses.replace` sets each field anew, which was the largest part of a turn. So these values have no slots: their
    fields lie in one dict, and a copy is a copy of that.
    """

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """The same value with other values of some fields."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.__dict__.update(changes)
        return copy


@dataclass(frozen=True, kw_only=True)
class CallState(_Folded):
    """One tool call of the present turn and how far it has come.

    Attributes:
        call: As it will be executed: arguments a person edited stand in place of the model's.
        redecided: True once policy has spoken again after a person's approval.
        consents: Of everybody who agreed to it, oldest first; which of them count is decided anew each time.
        asked: How often people were asked about it.
        reconsider: One of its values was endorsed while it waited, so policy speaks again.
        started: The latest start of a call that may change the world.
        started_seq, started_at: Where and when that start stands in the journal.
        doubt, resolution: Belong to that latest start; a new start voids both.
    """

    call: ToolCall
    decision: Decision | None = None
    redecided: bool = False
    approval: ApprovalRequested | None = None
    approved: ApprovalDecided | None = None
    consents: tuple[Consent, ...] = ()
    asked: int = 0
    reconsider: bool = False
    started: ToolStarted | None = None
    started_seq: int = 0
    started_at: datetime | None = None
    doubt: InDoubt | None = None
    resolution: DoubtResolved | None = None
    result: ToolResult | None = None

    @property
    def waits_for_decision(self) -> bool:
        return self.result is None and self.approval is not None and self.approved is None

    @property
    def waits_for_resolution(self) -> bool:
        return self.result is None and self.doubt is not None and self.resolution is None


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeCall:
    """A finished call, as a result lists it.

    Attributes:
        cached: Another call had done the same before; this one was answered with what came of it.
    """

    turn: int
    name: str
    arguments: Mapping[str, Any]
    success: bool
    duration_ms: float
    error: str | None = None
    draft: str | None = None
    approved_by: str | None = None
    cached: bool = False


@dataclass(frozen=True, kw_only=True)
class RunState(_Folded):
    """What is known of a run after its events up to `seq`.

    Attributes:
        started: None only before the first event.
        turn: Number of model replies so far.
        messages: The conversation without the system message: history, question, replies, results.
        calls: The calls of the present turn, until all have a result and become messages.
        steers: Messages that came in while calls were open, with their seqs; they join the conversation after them.
        tail: Seqs of the messages people sent since the last reply: the newest messages, as many as these.
        words: What the user typed, message by message: the only text that grounds by itself.
        label: Join of everything the model has seen except those words.
        passages: Everything retrieved in this run, by id: the only citable sources.
        search_failed: The search before the first model call came too late or failed.
        checked: What a model says of the citations of the newest reply; None before it was asked.
        tokens: Estimated tokens of `messages`, kept up as they are appended.
        worked_s: Seconds spent in model calls and tools; waiting and downtime do not count.
        signatures: Hashes of (tool, arguments, result) of the last turns, newest last, for loop detection.
        unknown_tools: Turns in a row that called nothing but tools that do not exist.
        results: What succeeded, in order; those of resolver tools ground identity arguments.
        revisions: How often calls of this turn were decided.
        waited: It has waited for a person; the time its caller gave it no longer counts.
        out_of_time: A call was not started, or a read was cut, as the time was over; a person who comes to it gives it more.
        review: Rules of guards that want a person to look at the answer.
        endorsed: Values somebody said are right, in this run.
        extracted_bits: How much outsiders could say by values that were taken out of their texts and endorsed.
        closing: Set when a limit was hit and one last answer without tools is wanted.
    """

    seq: int = 0
    status: RunStatus = RunStatus.READY
    started: RunStarted | None = None
    started_at: datetime | None = None
    updated_at: datetime | None = None
    turn: int = 0
    messages: tuple[Message, ...] = ()
    calls: tuple[CallState, ...] = ()
    steers: tuple[tuple[int, Message], ...] = ()
    tail: tuple[int, ...] = ()
    words: tuple[str, ...] = ()
    label: Label = field(default=Label(integrity=Integrity.TRUSTED, readers=PUBLIC))
    passages: Mapping[str, Passage] = field(default_factory=dict)
    retrieved: bool = False
    search_failed: bool = False
    checked: CitationsChecked | None = None
    revisions: int = 0
    waited: bool = False
    out_of_time: bool = False
    tokens: int = 0
    usage: Usage = field(default_factory=Usage)
    worked_s: float = 0.0
    model: str = ""
    finish_reason: str = ""
    made: tuple[MadeCall, ...] = ()
    results: tuple[ToolResult, ...] = ()
    signatures: tuple[str, ...] = ()
    unknown_tools: int = 0
    rejections: int = 0
    review: tuple[str, ...] = ()
    endorsed: tuple[Endorsement, ...] = ()
    extracted_bits: float = 0.0
    closing: StopReason | None = None
    cancel: CancelRequested | None = None
    paused: bool = False
    ended: FinalAnswer | RunFailed | RunCancelled | None = None

    @property
    def unbegun(self) -> bool:
        """Nothing has come of it yet, and nobody has asked for anything else meanwhile."""
        return not (self.turn or self.retrieved or self.waited or self.cancel or self.ended)

    @property
    def drafts(self) -> Iterator[str]:
        """Ids of the drafts that wait for a person."""
        return (call.approval.draft for call in self.calls if call.approval is not None and call.waits_for_decision)

    @property
    def doubts(self) -> Iterator[CallState]:
        """Started writes that wait for a person to say what became of them."""
        return (call for call in self.calls if call.waits_for_resolution)

    @property
    def stop_reason(self) -> StopReason:
        """Why it stands where it stands."""
        match self.ended:
            case FinalAnswer(stop_reason=reason) | RunFailed(stop_reason=reason):
                return reason
            case RunCancelled():
                return StopReason.CANCELLED
        if any(self.doubts):
            return StopReason.IN_DOUBT
        if any(self.drafts):
            return StopReason.AWAITING_APPROVAL
        return StopReason.PAUSED if self.paused else StopReason.RUNNING
