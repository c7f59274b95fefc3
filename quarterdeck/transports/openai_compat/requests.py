"""What clients send: the fields that are served, those that are refused, and the names of those that are ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from quarterdeck.core.messages import Role
from quarterdeck.service.history import Turn
from quarterdeck.transports.openai_compat.errors import Unserved
from quarterdeck.transports.openai_compat.tools import called

__all__ = ["Asked", "ChatBody", "ChatMessage", "ResponseBody", "asked", "ignored", "refuse_unserved"]

Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
CALL, RESULT = "function_call", "function_call_output"  # items of responses


class _Lenient(BaseModel):
    """Unknown fields are kept aside, as clients of OpenAI send many; types are not coerced."""

    model_config = ConfigDict(extra="allow", strict=True)


class ContentPart(_Lenient):
    type: str
    text: str | None = None
    refusal: str | None = None


class ChatMessage(_Lenient):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


class StreamOptions(_Lenient):
    include_usage: bool | None = None


Metadata = dict[
    Annotated[str, StringConstraints(max_length=64)],
    Annotated[str, StringConstraints(max_length=512)],
]


class _Asked(_Lenient):
    model: Name = Field(description="The name of an agent.")
    stream: bool | None = None
    metadata: Annotated[Metadata, Field(max_length=16)] | None = Field(None, description="Given back as it came.")
    tools: list[dict[str, Any]] | None = Field(
        None, description="Functions of the client: it executes calls of them itself."
    )
    tool_choice: str | dict[str, Any] | None = None


class ChatBody(_Asked):
    messages: list[ChatMessage] = Field(min_length=1, description="The last one is the question, the others its history.")
    stream_options: StreamOptions | None = None
    n: int | None = None
    functions: list[dict[str, Any]] | None = None
    response_format: dict[str, Any] | None = None
    modalities: list[str] | None = None


class InputItem(_Lenient):
    type: str | None = None
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | list[ContentPart] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[ContentPart] | None = None


class ResponseBody(_Asked):
    input: str | Annotated[list[InputItem], Field(min_length=1)]
    instructions: str | None = None
    previous_response_id: str | None = Field(None, description="Go on with the session of that answer.")
    background: bool | None = None
    text: dict[str, Any] | None = None
    conversation: Any = None
    prompt: Any = None


def ignored(body: _Asked) -> list[str]:
    """Names of fields that change nothing here."""
    return list(body.model_extra or {})


def refuse_unserved(body: ChatBody | ResponseBody) -> None:
    """Refuse what cannot be ignored, because the answer would not be what was asked for. Raises Unserved."""
    if not (body.tool_choice is None or body.tool_choice in ("auto", "none")):
        raise _unsupported("tool_choice", "an agent chooses by itself among its tools and those of the client")
    if isinstance(body, ChatBody):
        if body.functions:
            raise _unsupported("functions", "send them as tools")
        if body.n not in (None, 1):
            raise _unsupported("n", "one question is one run with one answer; send 1")
        if body.modalities not in (None, [], ["text"]):
            raise _unsupported("modalities", "answers are text")
        _refuse_form("response_format", body.response_format)
        return
    for name in ("conversation", "prompt"):
        if getattr(body, name) is not None:
            raise _unsupported(name, "it is not kept here; send the messages, or previous_response_id")
    _refuse_form("text.format", (body.text or {}).get("format"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A conversation as a client sends it: what was said before the question, it, and what its own tools gave since."""

    text: str
    before: tuple[Turn, ...] = ()
    since: tuple[Turn, ...] = ()


def asked(messages: Sequence[ChatMessage | InputItem], field: str) -> Asked:
    """The question, which is the last message of a person, with what stands before and behind it.

    Args:
        field: Where the messages stand in the body, for errors.

    Raises:
        Unserved: A message is of a kind that is not served, or the last one is no question of a person and no result.
    """
    calls: dict[str, tuple[object, object]] = {}
    turns: list[Turn] = []
    for at, message in enumerate(messages):
        place = f"{field}.{at}"
        calls |= _calls(message)
        turns.append(_result(message, place, calls) or _turn(message, place))
    at = max((at for at, turn in enumerate(turns) if turn.role is Role.USER), default=-1)
    if at < 0 or turns[-1].role not in (Role.USER, Role.TOOL):
        raise Unserved("invalid_input", "the last message must have the role user or tool: a question, or a result", field)
    return Asked(text=turns[at].text, before=_telling(turns[:at]), since=_telling(turns[at + 1 :]))


def _telling(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """The turns without those of the assistant that only made calls: these are told with their results."""
    return tuple(turn for turn in turns if turn.text.strip() or turn.role is not Role.ASSISTANT)


def _calls(message: ChatMessage | InputItem) -> dict[str, tuple[object, object]]:
    """Names and arguments of what a message calls, by the id of the call."""
    if isinstance(message, InputItem):
        return {message.call_id: (message.name, message.arguments)} if message.type == CALL and message.call_id else {}
    functions = ((str(call.get("id")), call.get("function")) for call in message.tool_calls or ())
    return {call: (told.get("name"), told.get("arguments")) for call, told in functions if isinstance(told, dict)}


def _result(message: ChatMessage | InputItem, place: str, calls: Mapping[str, tuple[object, object]]) -> Turn | None:
    """What came of a call of the client's, None if the message says something else."""
    if isinstance(message, InputItem):
        if message.type == CALL:
            return Turn(role=Role.ASSISTANT, text="")  # it is told with its result
        if message.type != RESULT:
            return None
        call, content = message.call_id, message.output
    else:
        if message.role != "tool":
            return None
        call, content = message.tool_call_id, message.content
    if call is None or call not in calls:
        raise Unserved("invalid_input", "the result belongs to no call of a message before it", place)
    return Turn(role=Role.TOOL, text=_text(content, place), call=called(*calls[call], place))


def _turn(message: ChatMessage | InputItem, place: str) -> Turn:
    if isinstance(message, InputItem) and message.type not in (None, "message"):
        raise _unsupported(f"{place}.type", f"items of the type {message.type[:64]!r} are not served")
    roles = {"system": Role.SYSTEM, "developer": Role.SYSTEM, "user": Role.USER, "assistant": Role.ASSISTANT}
    role = roles.get(message.role or "")
    if role is None:
        raise _unsupported(f"{place}.role", "a message has the role system, developer, user, assistant or tool")
    return Turn(role=role, text=_text(message.content, f"{place}.content"))


def _text(content: str | Sequence[ContentPart] | None, place: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(_part(part, f"{place}.{at}") for at, part in enumerate(content))


def _part(part: ContentPart, place: str) -> str:
    if part.type not in ("text", "input_text", "output_text", "refusal"):
        raise _unsupported(f"{place}.type", f"parts of the type {part.type[:64]!r} are not served, only text")
    text = part.refusal if part.type == "refusal" else part.text
    if text is None:
        raise Unserved("invalid_input", "the part has no text", place)
    return text


def _refuse_form(field: str, form: object) -> None:
    if isinstance(form, dict) and form.get("type", "text") != "text":
        raise _unsupported(field, "the form of an answer is declared with the agent")


def _unsupported(param: str, why: str) -> Unserved:
    return Unserved("unsupported_parameter", f"{param}: {why}", param)
