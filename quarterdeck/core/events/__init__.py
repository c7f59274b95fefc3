"""Everything that can happen in a run.

A run is an append-only list of these; its state is their fold, and history, streams, approvals, traces and cost are views of
the same list. Fields may be added, never changed in meaning; kinds unknown to this version are kept and ignored by the fold.
``key`` makes an event unique within its run, so that a repeat is refused by the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

from quarterdeck.core.events.approvals import ApprovalDecided, ApprovalEscalated, ApprovalGiven, ApprovalRequested, Endorsed
from quarterdeck.core.events.knowledge import CitationsChecked, DocumentIngested, Retrieved
from quarterdeck.core.events.model import AnswerRejected, ContextCompacted, Delta, GuardrailFired, ModelReply
from quarterdeck.core.events.nodes import ChildFinished, ChildStarted, NodeSkipped, NodeStarted
from quarterdeck.core.events.run import (
    CancelRequested,
    FinalAnswer,
    PauseRequested,
    ResumeRequested,
    RetryRequested,
    RunCancelled,
    RunFailed,
    RunStarted,
    StateFolded,
    Steer,
)
from quarterdeck.core.events.tools import Decided, DoubtResolved, Extracted, InDoubt, ToolReturned, ToolStarted

__all__ = [
    "KINDS",
    "AnswerRejected",
    "ApprovalDecided",
    "ApprovalEscalated",
    "ApprovalGiven",
    "ApprovalRequested",
    "CancelRequested",
    "ChildFinished",
    "ChildStarted",
    "CitationsChecked",
    "ContextCompacted",
    "Decided",
    "Delta",
    "DocumentIngested",
    "DoubtResolved",
    "Endorsed",
    "Event",
    "Extracted",
    "FinalAnswer",
    "GuardrailFired",
    "InDoubt",
    "ModelReply",
    "NodeSkipped",
    "NodeStarted",
    "PauseRequested",
    "ResumeRequested",
    "Retrieved",
    "RetryRequested",
    "RunCancelled",
    "RunFailed",
    "RunStarted",
    "StateFolded",
    "Steer",
    "ToolReturned",
    "ToolStarted",
    "Unknown",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """An event of a kind this version does not know. Kept as it is, ignored by the fold."""

    key: ClassVar[None] = None
    kind: str
    data: Any


Event = (
    RunStarted
    | Retrieved
    | ModelReply
    | Decided
    | ToolStarted
    | Extracted
    | ToolReturned
    | ApprovalRequested
    | ApprovalGiven
    | Endorsed
    | ApprovalEscalated
    | ApprovalDecided
    | InDoubt
    | DoubtResolved
    | CitationsChecked
    | AnswerRejected
    | GuardrailFired
    | Steer
    | CancelRequested
    | PauseRequested
    | ResumeRequested
    | RetryRequested
    | ContextCompacted
    | StateFolded
    | NodeStarted
    | NodeSkipped
    | ChildStarted
    | ChildFinished
    | DocumentIngested
    | FinalAnswer
    | RunFailed
    | RunCancelled
    | Unknown
)

KINDS: Mapping[str, type] = {cls.kind: cls for cls in get_args(Event) if cls is not Unknown}
