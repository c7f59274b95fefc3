"""Language models: one protocol, `complete`; every wrapper has it too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from quarterdeck.core.context import Context
from quarterdeck.core.events import Delta
from quarterdeck.core.messages import Message, Opaque, ToolCall
from quarterdeck.core.usage import Usage

__all__ = ["Allowance", "Budget", "Completion", "Emit", "Model", "ModelRequest", "Preparing", "ToolSpec"]

Emit = Callable[[Delta], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool as a model sees it.

    Attributes:
        risk: 0 none, 1 low, 2 medium, 3 high. Not shown to the model; a router may go by it.
    """

    name: str
    description: str
    input_schema: Mapping[str, Any]
    risk: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One request to a model.

    Attributes:
        messages: The whole conversation, system message first.
        tool_choice: ``auto``, ``none``, ``required``, or the name of a tool.
        output_schema: JSON Schema the text must satisfy, None for free text.
        max_tokens: Of the reply, None for the provider's default.
        options: Passed to the provider as they are.
        question: The user's words it is about, for whoever decides by them: the last message may be one of ours, such as
            passages that were found. Empty where the last words of the user are the question. No provider sees it.
    """

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: str = "auto"
    output_schema: Mapping[str, Any] | None = None
    temperature: float = 0.0
    max_tokens: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    question: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a model answered.

    Attributes:
        tool_calls: In the provider's order, ids as sent (may be empty or repeated; the loop renumbers them).
        opaque: What the provider wants back with this reply; whoever keeps the reply labels it like the reply's text.
        finish_reason: ``stop``, ``tool_calls``, ``length``, ``content_filter``.
        model: The model that really answered, ``provider:name``, or ``simulated``.
        route: How it was chosen, empty when there was no choice.
        attempts: HTTP attempts it took.
    """

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    opaque: tuple[Opaque, ...] = ()
    finish_reason: Literal["stop", "tool_calls", "length", "content_filter"] = "stop"
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    route: str = ""
    attempts: int = 1


class Model(Protocol):
    """A language model, or a wrapper around one."""

    @property
    def name(self) -> str:
        """``provider:name``."""
        ...

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        """Ask the model, within ``ctx.deadline``.

        Args:
            emit: Receives the pieces of the reply as they arrive; None when nobody watches, then nothing is streamed.

        Raises:
            ModelUnavailable: No answer: network failure, 408, 409, 429, 5xx. Retrying may help.
            ModelRefused: Rejected by the provider; `Filtered` by its content policy.
            ModelInvalid: Answered with no answer; `Truncated` inside a tool call.
            DeadlineExceeded: The caller's time is over.
        """
        ...


@runtime_checkable
class Preparing(Protocol):
    """A model, or a wrapper, that can find something out before it is asked."""

    async def prepare(self, request: ModelRequest, ctx: Context) -> None:
        """Find out what depends on the question alone, while the rest of the request is still being put together.

        `complete` then goes by it. Takes no longer than its own time allows, and never fails: what is not known then,
        `complete` finds out or does without.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """A budget's leave for one model call.

    Attributes:
        model: The cheaper model to ask instead, None for the one that was named.
        note: What the run's record should say of it, empty for nothing.
    """

    model: str | None = None
    note: str = ""


class Budget(Protocol):
    """What may be spent. Implemented by the service.

    Asked once for a call, which model it may go to; asked again for each attempt at it, whoever makes it; and told of
    everything that is consumed.
    """

    async def allow(self, ctx: Context, model: str, request: ModelRequest) -> Allowance:
        """Which model a call may go to; near a limit, wait until others have settled. Holds nothing back.

        Raises:
            BudgetExceeded: Nothing is left.
            DeadlineExceeded: The caller's time was over before there was room.
            Misconfigured: A limit cannot be kept: it is in money, and the model has no known price.
        """
        ...

    def hold(self, ctx: Context, model: str, request: ModelRequest) -> AbstractAsyncContextManager[None]:
        """Hold back what one attempt may cost while the block lasts. Waits, and raises on entry, as `allow` does."""
        ...

    async def spend(self, ctx: Context, model: str, usage: Usage, *, tools: Sequence[str] = ()) -> None:
        """Book what one call to a provider consumed, whether or not it gave an answer. Never fails.

        Args:
            tools: That the reply calls.
        """
        ...

    async def save(self, ctx: Context, by: str, model: str, usage: Usage) -> None:
        """Book what a call did not consume thanks to `by`, such as ``cache``; below nothing is more. Never fails."""
        ...
