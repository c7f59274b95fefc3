"""How a run begins, what people want of it meanwhile, and how it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Literal

from quarterdeck.core.answers import Answer
from quarterdeck.core.context import Principal
from quarterdeck.core.labels import Label
from quarterdeck.core.messages import Message
from quarterdeck.core.runs import StopReason

__all__ = [
    "CancelRequested",
    "FinalAnswer",
    "PauseRequested",
    "ResumeRequested",
    "RetryRequested",
    "RunCancelled",
    "RunFailed",
    "RunStarted",
    "StateFolded",
    "Steer",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The first event of every run. What it works by is a blob under `config_hash`: an agent's declaration, or an order.

    Attributes:
        agent: Name of the agent; of other work the work's.
        history: Earlier exchanges of the session, bounded: questions and settled answers, no tool traffic.
        since: What the asker's own tools were called with for the question before the run began, and what they gave.
        rests_on: A passage of each document the history rests on, where it is more than its labels hold.
        deadline: When the caller stops waiting for the run to end, None for never.
        span_id: Of the request that began it, 16 hexadecimal digits: the parent of the spans of its workers.
        forked_from, forked_at: The run whose events up to that seq are the beginning of this one.
        undoes: Row of what it takes back, of which one run at a time may do so; empty for every other run.
        work: What is done in it: an agent answers, or documents are brought into the index. It says who can advance it.
    """

    kind: ClassVar[str] = "run_started"
    key: ClassVar[None] = None
    input: Message
    agent: str
    config_hash: str
    tenant: str
    principal: Principal
    session_id: str | None = None
    history: tuple[Message, ...] = ()
    since: tuple[Message, ...] = ()
    rests_on: tuple[str, ...] = ()
    deadline: datetime | None = None
    trace_id: str | None = None
    request_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    parent: str | None = None
    node: str | None = None
    span_id: str | None = None
    forked_from: str | None = None
    forked_at: int = 0
    undoes: str = ""
    work: Literal["agent", "ingest"] = "agent"
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Steer:
    """A message into a running run."""

    kind: ClassVar[str] = "steer"
    key: ClassVar[None] = None
    by: str
    message: Message
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested:
    """Somebody wants the run to end."""

    kind: ClassVar[str] = "cancel_requested"
    by: str
    reason: str = ""
    v: int = 1

    @property
    def key(self) -> str:
        return "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseRequested:
    """Somebody wants the run to rest after the present turn."""

    kind: ClassVar[str] = "pause_requested"
    key: ClassVar[None] = None
    by: str
    reason: str = ""
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeRequested:
    """Somebody wants a paused run to go on."""

    kind: ClassVar[str] = "resume_requested"
    key: ClassVar[None] = None
    by: str
    reason: str = ""
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRequested:
    """Somebody wants a failed run to go on from where it failed. Calls keep their idempotency keys."""

    kind: ClassVar[str] = "retry_requested"
    key: ClassVar[None] = None
    by: str
    reason: str = ""
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFolded:
    """What all events up to `upto` fold to, so that a long run need not be folded from its beginning each time.

    A claim begins with the newest of these and goes on with the events after `upto`; the older ones stay for whoever reads
    the history.

    Attributes:
        state: The state as JSON values.
    """

    kind: ClassVar[str] = "state_folded"
    upto: int
    state: Mapping[str, Any]
    v: int = 1

    @property
    def key(self) -> str:
        return f"f:{self.upto}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalAnswer:
    """The run is done.

    Attributes:
        output: The value of the declared output type as JSON, None for plain text.
        label: Join of everything the answer was made from.
    """

    kind: ClassVar[str] = "final_answer"
    answer: Answer
    stop_reason: StopReason
    label: Label
    output: Any = None
    v: int = 1

    @property
    def key(self) -> str:
        return "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailed:
    """The run ended without an answer, unless somebody has it tried again.

    Attributes:
        poison: It crashed its worker again and again; it is listed as a dead letter.
    """

    kind: ClassVar[str] = "run_failed"
    key: ClassVar[None] = None  # it may fail again after a retry
    code: str
    error: str
    stop_reason: StopReason = StopReason.FAILED
    poison: bool = False
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCancelled:
    """The run ended because somebody wanted it to."""

    kind: ClassVar[str] = "run_cancelled"
    by: str
    reason: str = ""
    v: int = 1

    @property
    def key(self) -> str:
        return "end"
