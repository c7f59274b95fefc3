"""``POST /v1/messages``: reads what Anthropic reads, answers in its shapes, whole or as its sequence of events."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from quarterdeck.devtools.simulator.anthropic_turns import invalid, read_turns, required, text_of
from quarterdeck.devtools.simulator.base import Ask, Reply, Turn
from quarterdeck.devtools.simulator.checks import check_schema
from quarterdeck.devtools.simulator.exchange import Incoming
from quarterdeck.devtools.simulator.refusals import Refusal
from quarterdeck.devtools.simulator.shape import Counts, pieces
from quarterdeck.models.base import ToolSpec
from quarterdeck.models.tokens import count_tokens

__all__ = ["Messages"]

_PARAMETERS = frozenset(
    "max_tokens messages model cache_control container diagnostics inference_geo metadata output_config output_format "
    "service_tier speed stop_sequences stream system temperature thinking tool_choice tools top_k top_p user_profile_id "
    "workspace_id".split()
)
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}\Z")
_STOPS: Mapping[str, str] = {
    "stop": "end_turn",
    "tool_calls": "tool_use",
    "length": "max_tokens",
    "content_filter": "refusal",
}


class Messages:
    def __init__(self, *, strict: bool = True) -> None:
        self._strict = strict

    def read(self, incoming: Incoming, *, counting: bool = False) -> Ask:
        """The question in a request. Raises Refusal as Anthropic would.

        Args:
            counting: Only its tokens are to be counted, which needs no ``max_tokens``.
        """
        if b"anthropic-version" not in incoming.headers:
            raise invalid("anthropic-version: header is required")
        body = incoming.object("anthropic")
        if self._strict and not _PARAMETERS.issuperset(body):
            raise invalid(f"{next(name for name in body if name not in _PARAMETERS)}: Extra inputs are not permitted")
        model = required(body, "model", str)
        max_tokens = None if counting else required(body, "max_tokens", int)
        if max_tokens is not None and max_tokens < 1:
            raise invalid("max_tokens: Input should be greater than or equal to 1")
        turns = read_turns(required(body, "messages", list))
        if body.get("system") is not None:
            turns = (Turn("system", text_of(body["system"], "system")[0]), *turns)
        temperature = body.get("temperature")
        if temperature is not None and not (isinstance(temperature, (int, float)) and 0 <= temperature <= 1):
            raise invalid("temperature: range: 0..1")
        tools = _tools(body.get("tools"))
        choice, parallel = _choice(body.get("tool_choice"), tools)
        _check_thinking(body, max_tokens)
        return Ask(
            api="messages",
            model=model,
            turns=turns,
            dice=incoming.dice,
            tools=tools,
            tool_tokens=count_tokens(orjson.dumps(body["tools"]).decode()) if tools else 0,
            tool_choice=choice,
            parallel=parallel,
            schema=_schema(body),
            max_tokens=max_tokens,
            stop=tuple(body.get("stop_sequences") or ()),
            stream=bool(body.get("stream")),
            headers=incoming.headers,
            number=incoming.number,
            memory=incoming.world.memory,
            body=body,
        )

    def whole(self, ask: Ask, reply: Reply, counts: Counts) -> bytes:
        message = self._message(ask, counts)
        message["content"] = [_decoded(block) for block in _blocks(ask, reply)]
        message["stop_reason"] = _stop(reply)
        message["usage"]["output_tokens"] = counts.completion
        if not reply.tells_usage:
            del message["usage"]
        return orjson.dumps(message)

    def events(self, ask: Ask, reply: Reply, counts: Counts) -> list[bytes]:
        """``message_start``, each block with its deltas, ``message_delta`` with the reason and usage, ``message_stop``."""
        message = {**self._message(ask, counts), "content": [], "stop_reason": None}
        message["usage"] = {**message["usage"], "output_tokens": 1}
        if not reply.tells_usage:
            del message["usage"]
        events = [_event("message_start", {"message": message})]
        for index, block in enumerate(_blocks(ask, reply)):
            empty, deltas = _told(block)
            events.append(_event("content_block_start", {"index": index, "content_block": empty}))
            if index == 0:
                events.append(_event("ping", {}))
            before = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":' % index
            events += [b"%b%b}\n\n" % (before, delta) for delta in deltas]
            events.append(_event("content_block_stop", {"index": index}))
        ending: dict[str, Any] = {"delta": {"stop_reason": _stop(reply), "stop_sequence": None}}
        if reply.tells_usage:
            ending["usage"] = _usage(counts)
        events.append(_event("message_delta", ending))
        events.append(_event("message_stop", {}))
        return events

    def _message(self, ask: Ask, counts: Counts) -> dict[str, Any]:
        return {
            "id": ask.dice.id("msg_01"),
            "type": "message",
            "role": "assistant",
            "model": ask.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**_usage(counts), "service_tier": "standard"},
        }


def _event(kind: str, fields: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **fields}))


def _stop(reply: Reply) -> str:
    return _STOPS["tool_calls" if reply.calls and reply.finish == "stop" else reply.finish]


def _blocks(ask: Ask, reply: Reply) -> list[dict[str, Any]]:
    if not reply.choices:
        return []
    blocks: list[dict[str, Any]] = []
    if reply.reasoning:
        signature = ask.dice.id("", "signature", 64)
        blocks.append({"type": "thinking", "thinking": reply.reasoning, "signature": signature})
    text = reply.text or reply.refusal
    if text:
        blocks.append({"type": "text", "text": text})
    calls = ({"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments} for call in reply.calls)
    return [*blocks, *calls]


def _decoded(block: dict[str, Any]) -> dict[str, Any]:
    """A block as a whole reply carries it: arguments are a value there, in a stream they are text."""
    if block["type"] != "tool_use":
        return block
    try:
        value = orjson.loads(block["input"])
    except orjson.JSONDecodeError:
        value = {"INVALID_JSON": block["input"]}  # as Anthropic returns what its model could not finish
    return {**block, "input": value}


def _told(block: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """A block as it starts, and the deltas that fill it."""
    match block["type"]:
        case "text":
            return {**block, "text": ""}, [
                b'{"type":"text_delta","text":%b}' % orjson.dumps(piece) for piece in pieces(block["text"])
            ]
        case "thinking":
            deltas = [
                b'{"type":"thinking_delta","thinking":%b}' % orjson.dumps(piece) for piece in pieces(block["thinking"])
            ]
            deltas.append(b'{"type":"signature_delta","signature":%b}' % orjson.dumps(block["signature"]))
            return {**block, "thinking": "", "signature": ""}, deltas
    parts = ["", *pieces(block["input"])]
    return {**block, "input": {}}, [b'{"type":"input_json_delta","partial_json":%b}' % orjson.dumps(part) for part in parts]


def _usage(counts: Counts) -> dict[str, Any]:
    return {
        "input_tokens": counts.prompt - counts.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": counts.cached,
        "output_tokens": counts.completion,
        "output_tokens_details": {"thinking_tokens": counts.reasoning},
    }


def _tools(given: Any) -> tuple[ToolSpec, ...]:
    if given is None:
        return ()
    if not isinstance(given, list):
        raise invalid("tools: Input should be a valid list")
    specs: list[ToolSpec] = []
    for index, tool in enumerate(given):
        if not isinstance(tool, dict):
            raise invalid(f"tools.{index}: Input should be an object")
        if tool.get("type", "custom") != "custom":
            continue  # tools the provider itself runs are accepted and never called
        where = f"tools.{index}"
        name = required(tool, "name", str, where)
        if _TOOL_NAME.match(name) is None:
            raise invalid(f"{where}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
        if any(spec.name == name for spec in specs):
            raise invalid("tools: Tool names must be unique.")
        schema = required(tool, "input_schema", dict, where)
        if "type" not in schema:
            raise invalid(f"{where}.input_schema.type: Field required")
        if schema["type"] != "object":
            raise invalid(f"{where}.input_schema.type: Input should be 'object'")
        try:
            check_schema(schema, f"tool '{name}'")
        except Refusal as error:
            message = "JSON schema is invalid. It must match JSON Schema draft 2020-12"
            raise invalid(f"{where}.input_schema: {message} ({error})") from error
        specs.append(ToolSpec(name=name, description=str(tool.get("description") or ""), input_schema=schema))
    return tuple(specs)


def _choice(value: Any, tools: tuple[ToolSpec, ...]) -> tuple[str, bool]:
    """The choice of tools, and whether several may be called at once."""
    if value is None:
        return "auto", True
    kind = required(value, "type", str, "tool_choice")
    parallel = not value.get("disable_parallel_tool_use")
    if not tools and kind != "none":
        raise invalid("tool_choice: tool_choice may only be specified while providing tools")
    if kind == "tool":
        name = required(value, "name", str, "tool_choice")
        if all(tool.name != name for tool in tools):
            raise invalid(f"tool_choice: Tool '{name}' not found in provided tools")
        return name, parallel
    if kind not in ("auto", "any", "none"):
        raise invalid("tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none'")
    return "required" if kind == "any" else kind, parallel


def _check_thinking(body: Mapping[str, Any], max_tokens: int | None) -> None:
    thinking = body.get("thinking")
    if not isinstance(thinking, dict) or thinking.get("type") != "enabled":
        return
    budget = required(thinking, "budget_tokens", int, "thinking.enabled")
    if budget < 1024:
        raise invalid("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
    if max_tokens is not None and budget >= max_tokens:
        raise invalid("`max_tokens` must be greater than `thinking.budget_tokens`.")


def _schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    wanted = (body.get("output_config") or {}).get("format") or body.get("output_format")
    if wanted is None:
        return None
    if wanted.get("type") != "json_schema":
        raise invalid("output_config.format.type: Input should be 'json_schema'")
    return dict(required(wanted, "schema", dict, "output_config.format"))
