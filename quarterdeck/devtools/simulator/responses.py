"""``POST /v1/responses``: reads OpenAI's newer request shape, answers whole or in semantic events."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import orjson

from quarterdeck.devtools.simulator.base import Ask, Call, Reply, Turn
from quarterdeck.devtools.simulator.checks import check_number, known_only, missing, one_of, typed
from quarterdeck.devtools.simulator.exchange import Incoming
from quarterdeck.devtools.simulator.openai_tools import Declared, ToolTable, check_output_schema, choice_of
from quarterdeck.devtools.simulator.refusals import Refusal
from quarterdeck.devtools.simulator.response_events import response_events
from quarterdeck.devtools.simulator.shape import Counts

__all__ = ["Responses"]

_PARAMETERS = frozenset(
    "access_programs background context_management conversation image include input instructions max_output_tokens "
    "max_tool_calls metadata model moderation parallel_tool_calls previous_response_id prompt prompt_cache_key "
    "prompt_cache_options prompt_cache_retention reasoning safety_identifier service_tier store stream stream_options "
    "temperature text tool_choice tools top_logprobs top_p truncation user".split()
)
_ROLES = ("assistant", "system", "developer", "user")
_NO_TOOLS: Declared = ((), 0)
_KEPT = 1000
_MEMORY = "responses"


class Responses:
    def __init__(self, *, created: int, strict: bool = True) -> None:
        self._created = created
        self._strict = strict
        self._tools = ToolTable(nested=False)

    def read(self, incoming: Incoming) -> Ask:
        """The question in a request. Raises Refusal as OpenAI would."""
        body = incoming.object("openai")
        if self._strict:
            known_only(body, _PARAMETERS)
        if not body.get("model"):
            raise missing("model")
        model = typed(body["model"], str, "model")
        if "input" not in body:
            raise missing("input")
        check_number(body, "temperature", 0, 2)
        check_number(body, "top_p", 0, 1)
        check_number(body, "max_output_tokens", 1, 1e9, kind=int)
        tools, tool_tokens = self._tools.read(body["tools"]) if body.get("tools") else _NO_TOOLS
        turns = (*_before(body, incoming), *_turns(body["input"], _known_calls(body, incoming)))
        if body.get("instructions"):
            turns = (Turn("system", typed(body["instructions"], str, "instructions")), *turns)
        return Ask(
            api="responses",
            model=model,
            turns=turns,
            dice=incoming.dice,
            tools=tools,
            tool_tokens=tool_tokens,
            tool_choice=choice_of(body.get("tool_choice"), tools, nested=False),
            parallel=body.get("parallel_tool_calls") is not False,
            schema=_schema(body),
            max_tokens=body.get("max_output_tokens"),
            stream=typed(body.get("stream") or False, bool, "stream"),
            headers=incoming.headers,
            number=incoming.number,
            memory=incoming.world.memory,
            body=body,
        )

    def whole(self, ask: Ask, reply: Reply, counts: Counts) -> bytes:
        return orjson.dumps(self._response(ask, reply, counts))

    def events(self, ask: Ask, reply: Reply, counts: Counts) -> list[bytes]:
        return response_events(self._response(ask, reply, counts))

    def _response(self, ask: Ask, reply: Reply, counts: Counts) -> dict[str, Any]:
        """The whole response; a stream is told from it."""
        body, dice = ask.body, ask.dice
        status = "completed" if reply.finish in ("stop", "tool_calls") else "incomplete"
        reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(reply.finish)
        response_id = dice.id("resp_", length=48)
        if body.get("store") is not False:
            _remember(ask, reply, response_id)
        text = body.get("text") or {}
        return {
            "id": response_id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "background": False,
            "completed_at": self._created if status == "completed" else None,
            "error": None,
            "incomplete_details": {"reason": reason} if reason else None,
            "instructions": body.get("instructions"),
            "max_output_tokens": body.get("max_output_tokens"),
            "max_tool_calls": body.get("max_tool_calls"),
            "model": ask.model,
            "output": _output(ask, reply, status),
            "parallel_tool_calls": ask.parallel,
            "previous_response_id": body.get("previous_response_id"),
            "prompt_cache_key": body.get("prompt_cache_key"),
            "reasoning": body.get("reasoning") or {"effort": None, "summary": None},
            "safety_identifier": body.get("safety_identifier"),
            "service_tier": "default",
            "store": body.get("store") is not False,
            "temperature": body.get("temperature", 1.0),
            "text": {"format": {"type": "text"}, "verbosity": "medium", **text},
            "tool_choice": body.get("tool_choice") or "auto",
            "tools": body.get("tools") or [],
            "top_logprobs": 0,
            "top_p": body.get("top_p", 1.0),
            "truncation": body.get("truncation") or "disabled",
            "usage": _usage(counts) if reply.tells_usage else None,
            "user": body.get("user"),
            "metadata": body.get("metadata") or {},
        }


def _output(ask: Ask, reply: Reply, status: str) -> list[dict[str, Any]]:
    if not reply.choices:
        return []
    items: list[dict[str, Any]] = []
    if reply.reasoning:
        summary = [{"type": "summary_text", "text": reply.reasoning}]
        items.append({"id": ask.dice.id("rs_", length=48), "type": "reasoning", "summary": summary})
    if reply.text or reply.refusal or not reply.calls:
        content: dict[str, Any] = {"type": "output_text", "annotations": [], "logprobs": [], "text": reply.text}
        if reply.refusal:
            content = {"type": "refusal", "refusal": reply.refusal}
        item_id = ask.dice.id("msg_", length=48)
        items.append({"id": item_id, "type": "message", "status": status, "content": [content], "role": "assistant"})
    for index, call in enumerate(reply.calls):
        items.append(
            {
                "id": ask.dice.id("fc_", str(index), 48),
                "type": "function_call",
                "status": status,
                "arguments": call.arguments,
                "call_id": call.id,
                "name": call.name,
            }
        )
    return items


def _usage(counts: Counts) -> dict[str, Any]:
    return {
        "input_tokens": counts.prompt,
        "input_tokens_details": {"cached_tokens": counts.cached, "cache_write_tokens": 0},
        "output_tokens": counts.completion,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning},
        "total_tokens": counts.prompt + counts.completion,
    }


def _remember(ask: Ask, reply: Reply, id: str) -> None:
    kept: OrderedDict[str, tuple[Turn, ...]] = ask.memory.setdefault(_MEMORY, OrderedDict())
    said = tuple(turn for turn in ask.turns if turn.role != "system")  # instructions are not carried over
    kept[id] = (*said, Turn("assistant", reply.text, reply.calls))
    if len(kept) > _KEPT:
        kept.popitem(last=False)


def _before(body: Mapping[str, Any], incoming: Incoming) -> tuple[Turn, ...]:
    """The conversation that ``previous_response_id`` stands for."""
    before = body.get("previous_response_id")
    if before is None:
        return ()
    kept = incoming.world.memory.get(_MEMORY, {})
    if before not in kept:
        raise Refusal(
            400,
            f"Previous response with id '{before}' not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    return tuple(kept[before])


def _known_calls(body: Mapping[str, Any], incoming: Incoming) -> dict[str, str]:
    return {call.id: call.name for turn in _before(body, incoming) for call in turn.calls}


def _turns(given: Any, names: dict[str, str]) -> tuple[Turn, ...]:
    """The input as turns. `names` holds calls made before it."""
    if isinstance(given, str):
        return (Turn("user", given),)
    if not isinstance(given, list):
        text = f"Invalid type for 'input': expected one of a string or array of input items, but got {given!r:.40} instead."
        raise Refusal(400, text, param="input", code="invalid_type")
    turns: list[Turn] = []
    waiting = dict(names)
    for index, item in enumerate(given):
        where = f"input[{index}]"
        typed(item, dict, where)
        kind = item.get("type", "message")
        if kind == "function_call":
            for name in ("call_id", "name", "arguments"):
                if name not in item:
                    raise missing(f"{where}.{name}")
            call = Call(item["name"], item["arguments"], item["call_id"])
            names[call.id] = waiting[call.id] = call.name
            last = turns[-1] if turns else None
            if last is not None and last.role == "assistant":
                turns[-1] = last._replace(calls=(*last.calls, call))
            else:
                turns.append(Turn("assistant", "", (call,)))
        elif kind == "function_call_output":
            turns.append(_result(item, where, names))
            waiting.pop(item["call_id"], None)
        elif kind == "message":
            turns.append(_message(item, where))
        elif kind not in ("reasoning", "item_reference"):
            one_of(
                kind, ("message", "function_call", "function_call_output", "reasoning", "item_reference"), f"{where}.type"
            )
    if waiting:
        raise Refusal(400, f"No tool output found for function call {next(iter(waiting))}.", param="input")
    return tuple(turns)


def _result(item: Mapping[str, Any], where: str, names: Mapping[str, str]) -> Turn:
    for name in ("call_id", "output"):
        if name not in item:
            raise missing(f"{where}.{name}")
    if item["call_id"] not in names:
        raise Refusal(400, f"No tool call found for function call output with call_id {item['call_id']}.", param="input")
    text, images = _content(item["output"], f"{where}.output")
    return Turn("tool", text, (), item["call_id"], names[item["call_id"]], images)


def _message(item: Mapping[str, Any], where: str) -> Turn:
    if "role" not in item:
        raise missing(f"{where}.role")
    role = one_of(item["role"], _ROLES, f"{where}.role")
    if "content" not in item:
        raise missing(f"{where}.content")
    text, images = _content(item["content"], f"{where}.content")
    return Turn("system" if role == "developer" else role, text, (), "", "", images)


def _content(content: Any, where: str) -> tuple[str, int]:
    if isinstance(content, str):
        return content, 0
    texts, others = [], 0
    for position, part in enumerate(typed(content, list, where)):
        here = f"{where}[{position}]"
        typed(part, dict, here)
        kinds = ("input_text", "input_image", "output_text", "refusal", "input_file")
        kind = one_of(part.get("type"), kinds, f"{here}.type")
        if kind.endswith("text"):
            if "text" not in part:
                raise missing(f"{here}.text")
            texts.append(typed(part["text"], str, f"{here}.text"))
        elif kind == "refusal":
            texts.append(str(part.get("refusal", "")))
        else:
            others += 1
    return "\n".join(texts), others


def _schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    wanted = (body.get("text") or {}).get("format")
    if wanted is None:
        return None
    kind = one_of(typed(wanted, dict, "text.format").get("type"), ("json_object", "json_schema", "text"), "text.format.type")
    if kind == "json_schema":
        return check_output_schema(wanted, "text.format")
    return {"type": "object"} if kind == "json_object" else None
