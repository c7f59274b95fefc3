"""The messages of an Anthropic request, checked in the words its API uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from quarterdeck.devtools.simulator.base import Call, Turn
from quarterdeck.devtools.simulator.refusals import Refusal

__all__ = ["invalid", "read_turns", "required", "text_of"]

_KINDS: Mapping[type, str] = {str: "string", int: "integer", list: "list", dict: "dictionary"}
_NO_TEXT = frozenset({"image", "document", "search_result", "thinking", "redacted_thinking", "server_tool_use"})


def invalid(message: str) -> Refusal:
    return Refusal(400, message, kind="invalid_request_error")


def required(holder: Any, name: str, kind: type, where: str = "") -> Any:
    """The value under `name`, which must be there and of `kind`."""
    path = f"{where}.{name}" if where else name
    if not isinstance(holder, Mapping) or name not in holder:
        raise invalid(f"{path}: Field required")
    value = holder[name]
    if type(value) is not kind:
        raise invalid(f"{path}: Input should be a valid {_KINDS[kind]}")
    return value


def read_turns(messages: list[Any]) -> tuple[Turn, ...]:
    """The messages as turns. A message with results of tools and words becomes several.

    Raises:
        Refusal: They are malformed, or a call lacks its result, or a result its call.
    """
    if not messages:
        raise invalid("messages: at least one message is required")
    turns: list[Turn] = []
    open_calls: dict[str, str] = {}
    for index, message in enumerate(messages):
        where = f"messages.{index}"
        role = required(message, "role", str, where)
        if role == "system":
            text = 'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, not'
            raise invalid(f'{text} "system" as an input message role.')
        if role not in ("user", "assistant"):
            raise invalid(f"{where}.role: Input should be 'user' or 'assistant'")
        content = message.get("content")
        if content is None:
            raise invalid(f"{where}.content: Field required")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(blocks, list):
            raise invalid(f"{where}.content: Input should be a valid list")
        is_empty = not content or not blocks
        if is_empty and (role == "user" or index < len(messages) - 1):
            raise invalid(
                f"{where}: all messages must have non-empty content except for the optional final assistant message"
            )
        if role == "assistant":
            _check_answered(open_calls, index)
            turn = _said(blocks, where)
            turns.append(turn)
            open_calls = {call.id: call.name for call in turn.calls}
        else:
            turns += _heard(blocks, where, open_calls)
            _check_answered(open_calls, index)
    _check_answered(open_calls, len(messages))
    return tuple(turns)


def _check_answered(open_calls: Mapping[str, str], index: int) -> None:
    if open_calls:
        raise invalid(
            f"messages.{max(index - 1, 0)}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(open_calls)}. Each `tool_use` block must have a corresponding `tool_result` block in the next "
            "message."
        )


def _said(blocks: list[Any], where: str) -> Turn:
    texts, calls, others = [], [], 0
    for position, block in enumerate(blocks):
        here = f"{where}.content.{position}"
        match required(block, "type", str, here):
            case "text":
                texts.append(_text(block, here))
            case "tool_use":
                arguments = orjson.dumps(required(block, "input", dict, here)).decode()
                calls.append(Call(required(block, "name", str, here), arguments, required(block, "id", str, here)))
            case kind:
                others += _other(kind, here, ("text", "tool_use"))
    return Turn("assistant", "\n".join(texts), tuple(calls), "", "", others)


def _heard(blocks: list[Any], where: str, open_calls: dict[str, str]) -> list[Turn]:
    """Turns of a user's message; the calls it answers leave `open_calls`."""
    turns: list[Turn] = []
    texts, others = [], 0
    for position, block in enumerate(blocks):
        here = f"{where}.content.{position}"
        match required(block, "type", str, here):
            case "text":
                texts.append(_text(block, here))
            case "tool_result":
                call_id = required(block, "tool_use_id", str, here)
                if call_id not in open_calls:
                    raise invalid(
                        f"{here}: unexpected `tool_use_id` found in `tool_result` blocks: {call_id}. Each `tool_result` "
                        "block must have a corresponding `tool_use` block in the previous message."
                    )
                text, images = text_of(block.get("content", ""), f"{here}.content")
                turns.append(Turn("tool", text, (), call_id, open_calls.pop(call_id), images))
            case kind:
                others += _other(kind, here, ("text", "tool_result"))
    if texts or others:
        turns.append(Turn("user", "\n".join(texts), (), "", "", others))
    return turns


def text_of(content: Any, where: str) -> tuple[str, int]:
    """A text, or a list of blocks: their text, and how many are something else."""
    if isinstance(content, str):
        return content, 0
    if not isinstance(content, list):
        raise invalid(f"{where}: Input should be a valid list")
    texts, others = [], 0
    for position, block in enumerate(content):
        here = f"{where}.{position}"
        kind = required(block, "type", str, here)
        if kind == "text":
            texts.append(required(block, "text", str, here))
        else:
            others += _other(kind, here, ("text",))
    return "\n".join(texts), others


def _text(block: Any, here: str) -> str:
    text: str = required(block, "text", str, here)
    if not text:
        raise invalid("messages: text content blocks must be non-empty")
    return text


def _other(kind: str, here: str, readable: tuple[str, ...]) -> int:
    if kind not in _NO_TEXT:
        tags = ", ".join(f"'{name}'" for name in (*sorted(_NO_TEXT), *readable))
        raise invalid(f"{here}: Input tag '{kind}' found using 'type' does not match any of the expected tags: {tags}")
    return 1 if kind in ("image", "document") else 0
