"""What is said to a model and what it says, in pieces and whole; and what is held against an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from quarterdeck.core.messages import Message
from quarterdeck.core.usage import Usage

__all__ = ["AnswerRejected", "ContextCompacted", "Delta", "GuardrailFired", "ModelReply"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextCompacted:
    """Older messages were replaced by less, so that the conversation fits the window.

    Attributes:
        dropped: How many of the oldest messages are replaced. Counted from the front: others may add to the end meanwhile.
        replaced: What stands in their place; carries the join of the labels it came from.
        strategy: ``trim`` shortened tool results, ``window`` dropped old turns, ``summary`` had a model summarise them.
    """

    kind: ClassVar[str] = "context_compacted"
    key: ClassVar[None] = None  # a turn may need it twice
    turn: int
    dropped: int
    replaced: tuple[Message, ...]
    strategy: str
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReply:
    """What one model call gave, after retries, fallback and routing.

    Attributes:
        message: With its tool calls, already numbered ``t{turn}c{i}``.
        route: How the model was chosen, empty when there was no choice.
        attempts: HTTP attempts it took.
        seen: Seq of the last stored event it was made with; messages that people stored after that one follow it. None: all.
    """

    kind: ClassVar[str] = "model_reply"
    turn: int
    message: Message
    model: str
    usage: Usage
    finish_reason: str = "stop"
    route: str = ""
    attempts: int = 1
    seen: int | None = None
    v: int = 1

    @property
    def key(self) -> str:
        return f"m:{self.turn}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A piece of a reply while it is being made. Broadcast, never journalled: the `ModelReply` supersedes it.

    Attributes:
        kind: ``text``, ``reasoning``, ``tool_start``, ``progress``.
        n: Position within the reply, from 0.
    """

    kind: Literal["text", "reasoning", "tool_start", "progress"]
    text: str
    turn: int = 0
    n: int = 0
    call_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardrailFired:
    """A guard had something to say."""

    kind: ClassVar[str] = "guardrail"
    key: ClassVar[None] = None
    layer: str
    verdict: str
    rule: str
    action: str
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRejected:
    """An answer broke a rule and goes back to the model with the reasons."""

    kind: ClassVar[str] = "answer_rejected"
    turn: int
    reasons: tuple[str, ...]
    v: int = 1

    @property
    def key(self) -> str:
        return f"x:{self.turn}"
