"""What every part of the simulator speaks of: a question read from any provider's request, and the reply to it."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from pydantic import with_config

from quarterdeck.devtools.simulator.seeds import Dice
from quarterdeck.devtools.simulator.strict import STRICT
from quarterdeck.models.base import ToolSpec

__all__ = ["Api", "Ask", "Brain", "Call", "Finish", "Reply", "Turn", "UsageOverride"]

Api = Literal["chat", "responses", "messages"]
Finish = Literal["stop", "length", "tool_calls", "content_filter"]


class Call(NamedTuple):
    """A tool call. `arguments` is the text as it goes over the wire, JSON or not; an empty `id` is given one by the seed."""

    name: str
    arguments: str = "{}"
    id: str = ""


class Turn(NamedTuple):
    """One message, whichever provider's shape it came in.

    `role` is ``system``, ``user``, ``assistant`` or ``tool``; `call_id` and `name` belong to a tool's result: the call it
    answers and the tool that was called. `images` counts the parts that are no text.
    """

    role: str
    text: str
    calls: tuple[Call, ...] = ()
    call_id: str = ""
    name: str = ""
    images: int = 0


# Not frozen: one is made for every request, and freezing it costs 4 microseconds of about 40.
@dataclass(slots=True, kw_only=True)
class Ask:
    """A request for a reply, validated.

    Attributes:
        tool_choice: ``auto``, ``none``, ``required``, or the name of a tool.
        schema: JSON Schema the text must satisfy, None for free text.
        max_tokens: Of the reply, None without a limit.
        headers: Raw names in lower case → raw values.
        number: Position of the request in its trace, from 1.
        dice: Everything random in the reply comes from here.
        memory: Kept for the trace between its requests; brains may write to it.
        body: The request as it was sent.
    """

    api: Api
    model: str
    turns: tuple[Turn, ...]
    dice: Dice
    tools: tuple[ToolSpec, ...] = ()
    tool_tokens: int = 0
    tool_choice: str = "auto"
    parallel: bool = True
    schema: Mapping[str, Any] | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    stream: bool = False
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    number: int = 1
    memory: MutableMapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def question(self) -> str:
        """The last words of the user, empty if there are none."""
        return next((turn.text for turn in reversed(self.turns) if turn.role == "user"), "")

    @property
    def results(self) -> tuple[Turn, ...]:
        """Results of tools since the model last spoke, in order."""
        fresh: list[Turn] = []
        for turn in reversed(self.turns):
            if turn.role != "tool":
                break
            fresh.append(turn)
        return tuple(reversed(fresh))

    @property
    def turn(self) -> int:
        """Which reply of the conversation this will be, from 1."""
        return 1 + sum(turn.role == "assistant" for turn in self.turns)

    def header(self, name: str) -> str:
        """A header's value, empty without it."""
        return self.headers.get(name.lower().encode(), b"").decode("latin-1")


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class UsageOverride:
    """Token counts told in place of the counted ones; absurd ones are meant to be possible."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a model says.

    Attributes:
        reasoning: Thoughts before the text; carried as each provider carries them.
        refusal: The model declines in words; takes the place of the text.
        choices: False for a reply without any choice in it.
        tells_usage: False for a reply that leaves its usage out.
    """

    text: str = ""
    calls: tuple[Call, ...] = ()
    reasoning: str = ""
    refusal: str = ""
    finish: Finish = "stop"
    usage: UsageOverride | None = None
    choices: bool = True
    tells_usage: bool = True


class Brain(Protocol):
    """Decides what to say."""

    async def reply(self, ask: Ask) -> Reply:
        """Answer; equal questions with equal dice get equal replies.

        Raises:
            Refusal: There is no answer, and the client is told so.
        """
        ...
