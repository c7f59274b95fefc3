"""What is said between people, models and tools. Every part carries a label."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from quarterdeck.core.answers import Passage, render_passages
from quarterdeck.core.errors import InvalidInput
from quarterdeck.core.labels import Label, join_all

__all__ = ["Image", "Message", "Opaque", "Part", "ResultStatus", "Role", "Text", "ToolCall", "ToolResult"]


class Role(StrEnum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A piece of text with its label."""

    text: str
    label: Label
    kind: Literal["text"] = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A picture with its label: its bytes, or where the provider finds it.

    Attributes:
        media_type: ``image/png``, ``image/jpeg``, ``image/gif``, ``image/webp``.
        data: The bytes as base64, empty if `url` says where they are.
        url: A public https address. It is never fetched by us: the provider does, if it can.
    """

    media_type: str
    label: Label
    data: str = ""
    url: str = ""
    kind: Literal["image"] = "image"

    def __post_init__(self) -> None:
        if bool(self.data) == bool(self.url):
            raise InvalidInput("an image has either data or a url")

    @property
    def text(self) -> str:
        """Nothing: a picture has no words of its own."""
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opaque:
    """Something a provider wants back unchanged and only it understands: signed thinking, encrypted reasoning.

    It is sent to the provider it came from and to no other.

    Attributes:
        provider: First part of the name of the model that made it.
        item: JSON as it came.
        place: How many pieces of the message stood before it; its text, unless empty, is one piece, each tool call another.
    """

    provider: str
    item: dict[str, Any]
    label: Label
    place: int = 0
    kind: Literal["opaque"] = "opaque"

    @property
    def text(self) -> str:
        """Nothing: it is not for people."""
        return ""


Part = Text | Image | Opaque  # told apart by their fields: what is stored leaves out `kind`, which is a default


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """What a model asks for.

    Attributes:
        id: ``t{turn}c{i}``, given by the loop whatever the provider sent; stable across crashes and retries.
        args: Decoded arguments, not yet validated.
        malformed: Why the arguments could not be decoded, or None. Such a call is never executed.
    """

    id: str
    name: str
    args: dict[str, Any] = field(default_factory=dict)
    malformed: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a conversation.

    Attributes:
        tool_calls: Only on assistant messages.
        call_id: Only on tool messages: the call it answers.
    """

    role: Role
    parts: tuple[Part, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    call_id: str | None = None

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts) if len(self.parts) != 1 else self.parts[0].text

    @property
    def label(self) -> Label:
        return self.parts[0].label if len(self.parts) == 1 else join_all(part.label for part in self.parts)


class ResultStatus(StrEnum):
    """How a tool call ended.

    ok: it did what it should. error: it failed, or could not be called. refused: policy or a person said no.
    pending: it is a draft that waits for a person. in_doubt: it was started and nobody knows whether it happened.
    """

    OK = "ok"
    ERROR = "error"
    REFUSED = "refused"
    PENDING = "pending"
    IN_DOUBT = "in_doubt"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What came of a call, as the model sees it.

    Attributes:
        output: Text for the model: JSON of the value, or the error's explanation. Empty when `passages` are the result.
        error: Stable code of the failure (unknown_tool, invalid_arguments, not_started, out_of_time, timeout,
            exception, unserialisable, not_extracted, too_many_calls, duplicate, conflict, rate_limited, denied, changed,
            rejected, expired, not_done), None when ok.
        passages: What a search found; they may be cited.
        duration_ms: Wall time of the execution, milliseconds.
        truncated: True when the output was cut to the tool's cap.
        cached: Another call had done the same business operation, and this is what came of it then.
        earlier: Run and call that did it, if whoever asks may know.
    """

    call_id: str
    name: str
    status: ResultStatus
    label: Label
    output: str = ""
    error: str | None = None
    passages: tuple[Passage, ...] = ()
    duration_ms: float = 0.0
    attempt: int = 1
    truncated: bool = False
    cached: bool = False
    earlier: str | None = None

    @property
    def ok(self) -> bool:
        return self.status is ResultStatus.OK

    @property
    def text(self) -> str:
        """What the model reads."""
        return self.output or (render_passages(self.passages) if self.ok else "")

    def as_message(self) -> Message:
        return Message(role=Role.TOOL, parts=(Text(text=self.text, label=self.label),), call_id=self.call_id)
