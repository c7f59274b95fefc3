"""``POST /v1/chat/completions``: reads what OpenAI reads, answers in its shapes, whole or in chunks."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson

from quarterdeck.devtools.simulator.base import Ask, Call, Reply, Turn
from quarterdeck.devtools.simulator.checks import check_number, known_only, missing, one_of, typed
from quarterdeck.devtools.simulator.exchange import Incoming
from quarterdeck.devtools.simulator.openai_tools import ToolTable, check_output_schema, choice_of
from quarterdeck.devtools.simulator.refusals import Refusal
from quarterdeck.devtools.simulator.shape import Counts, pieces

__all__ = ["ChatCompletions"]

_ROLES = ("system", "assistant", "user", "function", "tool", "developer")
_SPOKEN = MappingProxyType({"developer": "system", "function": "user"})
_PARAMETERS = frozenset(
    "messages model audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens "
    "metadata modalities moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key prompt_cache_options "
    "prompt_cache_retention reasoning_effort response_format safety_identifier seed service_tier stop store stream "
    "stream_options temperature tool_choice tools top_logprobs top_p user verbosity web_search_options".split()
)
_USUAL = frozenset({"messages", "model", "stream", "temperature"})  # requests of these alone are read without the rest
_BOUNDS: Mapping[str, tuple[float, float, type]] = MappingProxyType(
    {
        "temperature": (0, 2, float),
        "top_p": (0, 1, float),
        "presence_penalty": (-2, 2, float),
        "frequency_penalty": (-2, 2, float),
        "max_tokens": (1, 1e9, int),
        "max_completion_tokens": (1, 1e9, int),
        "top_logprobs": (0, 20, int),
        "n": (1, 128, int),
    }
)
_PARTS = frozenset({"text", "image_url", "input_audio", "file", "refusal"})
DONE = b"data: [DONE]\n\n"


class ChatCompletions:
    """Attributes: strict: Refuse parameters OpenAI does not have, as it does; off for vendors' extensions."""

    def __init__(self, *, created: int, strict: bool = True) -> None:
        self._created = created
        self._strict = strict
        self._tools = ToolTable(nested=True)

    def read(self, incoming: Incoming) -> Ask:
        """The question in a request. Raises Refusal as OpenAI would."""
        body = incoming.object("openai")
        is_usual = _USUAL.issuperset(body)
        if self._strict and not is_usual:
            known_only(body, _PARAMETERS)
        for name in body:
            if name in _BOUNDS:
                low, high, kind = _BOUNDS[name]
                check_number(body, name, low, high, kind=kind)
        model = body.get("model") or incoming.deployment
        if not model:
            raise Refusal(400, "you must provide a model parameter")
        typed(model, str, "model")
        if "messages" not in body:
            raise missing("messages")
        ask = Ask(
            api="chat",
            model=model,
            turns=_turns(typed(body["messages"], list, "messages")),
            dice=incoming.dice,
            stream=typed(body.get("stream") or False, bool, "stream"),
            headers=incoming.headers,
            number=incoming.number,
            memory=incoming.world.memory,
            body=body,
        )
        if not is_usual:
            self._read_rest(ask, body)
        return ask

    def _read_rest(self, ask: Ask, body: Mapping[str, Any]) -> None:
        """Read into `ask` what most requests do without."""
        if body.get("functions") is not None or body.get("function_call") is not None:
            raise Refusal(
                400,
                "Unsupported parameter: 'functions' is not supported by the simulator. Use 'tools' instead.",
                param="functions",
                code="unsupported_parameter",
            )
        if body.get("tools"):
            ask.tools, ask.tool_tokens = self._tools.read(body["tools"])
        elif body.get("tool_choice") not in (None, "none"):
            message = "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified."
            raise Refusal(400, message, param="tool_choice")
        if body.get("stream_options") is not None and not ask.stream:
            message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
            raise Refusal(400, message, param="stream_options")
        if body.get("stream_options") is not None:
            typed(body["stream_options"], dict, "stream_options")
        ask.tool_choice = choice_of(body.get("tool_choice"), ask.tools, nested=True)
        ask.parallel = body.get("parallel_tool_calls") is not False
        ask.schema = _schema(body, ask.turns)
        ask.max_tokens = body.get("max_completion_tokens") or body.get("max_tokens")
        ask.stop = _stop(body.get("stop"))

    def whole(self, ask: Ask, reply: Reply, counts: Counts) -> bytes:
        """The reply in one piece."""
        message: dict[str, Any] = {"role": "assistant", "content": reply.text or None, "refusal": reply.refusal or None}
        if not reply.calls and not reply.refusal and reply.finish != "content_filter":
            message["content"] = reply.text
        if reply.reasoning:
            message["reasoning_content"] = reply.reasoning
        message["annotations"] = []
        if reply.calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in reply.calls
            ]
        finish = "tool_calls" if reply.calls and reply.finish == "stop" else reply.finish
        n = (ask.body.get("n") or 1) if reply.choices else 0
        value = {
            "id": ask.dice.id("chatcmpl-"),
            "object": "chat.completion",
            "created": self._created,
            "model": ask.model,
            "choices": [
                {"index": index, "message": message, "logprobs": None, "finish_reason": finish} for index in range(n)
            ],
        }
        if reply.tells_usage:
            value["usage"] = _usage(counts)
        value["service_tier"] = "default"
        value["system_fingerprint"] = "fp_simulator"
        return orjson.dumps(value)

    def events(self, ask: Ask, reply: Reply, counts: Counts) -> list[bytes]:
        """The reply in chunks: role first, then its pieces, the reason it ends, usage if asked for, and ``[DONE]``."""
        options = ask.body.get("stream_options") or {}
        tells = bool(options.get("include_usage")) and reply.tells_usage
        head = (
            b'data: {"id":"%s","object":"chat.completion.chunk","created":%d,"model":%s,"service_tier":"default",'
            b'"system_fingerprint":"fp_simulator","choices":['
            % (ask.dice.id("chatcmpl-").encode(), self._created, orjson.dumps(ask.model))
        )
        tail = b'],"usage":null}\n\n' if tells else b"]}\n\n"
        events: list[bytes] = []
        for index in range((ask.body.get("n") or 1) if reply.choices else 0):
            before = b'%b{"index":%d,"delta":' % (head, index)
            after = b',"logprobs":null,"finish_reason":null}' + tail
            finish = "tool_calls" if reply.calls and reply.finish == "stop" else reply.finish
            events += [b"%b%b%b" % (before, delta, after) for delta in _deltas(reply)]
            events.append(b'%b{},"logprobs":null,"finish_reason":"%b"}%b' % (before, finish.encode(), tail))
        if tells:
            events.append(head + b'],"usage":' + orjson.dumps(_usage(counts)) + b"}\n\n")
        events.append(DONE)
        return events


def _deltas(reply: Reply) -> list[bytes]:
    deltas = []
    if reply.reasoning:
        deltas.append(b'{"role":"assistant","content":null,"reasoning_content":""}')
        deltas += [b'{"reasoning_content":%b}' % orjson.dumps(piece) for piece in pieces(reply.reasoning)]
    if reply.refusal:
        deltas.append(b'{"role":"assistant","content":null,"refusal":""}')
        deltas += [b'{"refusal":%b}' % orjson.dumps(piece) for piece in pieces(reply.refusal)]
    elif reply.text or not reply.calls:
        deltas.append(b'{"role":"assistant","content":"","refusal":null}')
        deltas += [b'{"content":%b}' % orjson.dumps(piece) for piece in pieces(reply.text)]
    for index, call in enumerate(reply.calls):
        function = {"name": call.name, "arguments": ""}
        first: dict[str, Any] = {"tool_calls": [{"index": index, "id": call.id, "type": "function", "function": function}]}
        if not deltas:
            first = {"role": "assistant", "content": None, **first, "refusal": None}
        deltas.append(orjson.dumps(first))
        deltas += [
            b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}' % (index, orjson.dumps(piece))
            for piece in pieces(call.arguments)
        ]
    return deltas


def _usage(counts: Counts) -> dict[str, Any]:
    return {
        "prompt_tokens": counts.prompt,
        "completion_tokens": counts.completion,
        "total_tokens": counts.prompt + counts.completion,
        "prompt_tokens_details": {"cached_tokens": counts.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": counts.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _turns(messages: list[Any]) -> tuple[Turn, ...]:
    if not messages:
        message = "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead."
        raise Refusal(400, message, param="messages", code="empty_array")
    turns: list[Turn] = []
    names: dict[str, str] = {}  # calls of the last assistant message → tools
    waiting: list[str] = []  # of them, those without a result yet
    caller = -1
    for index, message in enumerate(messages):
        plain = None if waiting else _plain(message)
        if plain is not None:  # nothing to check about most messages, and there are many
            turns.append(plain)
            names = {}
            continue
        typed(message, dict, f"messages[{index}]")
        if "role" not in message:
            raise missing(f"messages[{index}].role")
        role = one_of(message["role"], _ROLES, f"messages[{index}].role")
        if waiting and role != "tool":
            raise _unanswered(caller, waiting)
        if role == "tool":
            call_id = _answered(message, index, names)
            if call_id in waiting:
                waiting.remove(call_id)
            text, images = _content(message, index)
            turns.append(Turn("tool", text, (), call_id, names[call_id], images))
            continue
        calls = _calls(message, index) if role == "assistant" else ()
        names = {}
        if calls:
            names = {call.id: call.name for call in calls}
            waiting, caller = list(names), index
        text, images = _content(message, index, optional=bool(calls) or role == "assistant")
        turns.append(Turn(_SPOKEN.get(role, role), text, calls, "", "", images))
    if waiting:
        raise _unanswered(caller, waiting)
    return tuple(turns)


def _plain(message: Any) -> Turn | None:
    """A message of a system or user in plain text; None for any other."""
    if message.__class__ is dict:
        content, role = message.get("content"), message.get("role")
        if content.__class__ is str and (role == "user" or role == "system"):
            return Turn(role, content)
    return None


def _answered(message: Mapping[str, Any], index: int, names: Mapping[str, str]) -> str:
    """The call a tool message answers."""
    if not names:
        text = "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
        raise Refusal(400, text, param=f"messages.[{index}].role")
    call_id = message.get("tool_call_id")
    if call_id is None:
        raise missing(f"messages[{index}].tool_call_id")
    if call_id not in names:
        text = f"Invalid parameter: 'tool_call_id' of '{call_id}' not found in 'tool_calls' of previous message."
        raise Refusal(400, text, param=f"messages.[{index}].tool_call_id")
    return str(call_id)


def _unanswered(caller: int, waiting: list[str]) -> Refusal:
    text = (
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The "
        f"following tool_call_ids did not have response messages: {', '.join(waiting)}"
    )
    return Refusal(400, text, param=f"messages.[{caller + 1}].role")


def _calls(message: Mapping[str, Any], index: int) -> tuple[Call, ...]:
    given = message.get("tool_calls")
    if given is None:
        return ()
    where = f"messages[{index}].tool_calls"
    if not typed(given, list, where):
        text = f"Invalid '{where}': empty array. Expected an array with minimum length 1, but got an empty array instead."
        raise Refusal(400, text, param=where, code="empty_array")
    calls = []
    for position, call in enumerate(given):
        here = f"{where}[{position}]"
        typed(call, dict, here)
        for name in ("id", "type"):
            if name not in call:
                raise missing(f"{here}.{name}")
        kind = one_of(call["type"], ("function", "custom"), f"{here}.type")
        function = call.get(kind)
        if function is None:
            raise missing(f"{here}.{kind}")
        arguments = function.get("arguments", function.get("input"))
        if arguments is None:
            raise missing(f"{here}.{kind}.arguments")
        typed(arguments, str, f"{here}.{kind}.arguments")
        name = typed(function.get("name"), str, f"{here}.{kind}.name")
        calls.append(Call(name, arguments, typed(call["id"], str, f"{here}.id")))
    return tuple(calls)


def _content(message: Mapping[str, Any], index: int, *, optional: bool = False) -> tuple[str, int]:
    """The text of a message, and how many of its parts are no text."""
    content = message.get("content")
    if content.__class__ is str:
        return content, 0
    where = f"messages[{index}].content"
    if content is None:
        if optional:
            return str(message.get("refusal") or ""), 0
        if "content" not in message:
            raise missing(where)
        raise Refusal(400, "Invalid value for 'content': expected a string, got null.", param=f"messages.[{index}].content")
    if not isinstance(content, list):
        wanted = "one of a string or array of objects"
        got = {dict: "an object", int: "an integer", bool: "a boolean", float: "a decimal number"}[type(content)]
        text = f"Invalid type for '{where}': expected {wanted}, but got {got} instead."
        raise Refusal(400, text, param=where, code="invalid_type")
    texts, others = [], 0
    for position, part in enumerate(content):
        here = f"{where}[{position}]"
        typed(part, dict, here)
        if "type" not in part:
            raise missing(f"{here}.type")
        kind = one_of(part["type"], _PARTS, f"{here}.type")
        if kind not in part:
            raise missing(f"{here}.{kind}")
        if kind in ("text", "refusal"):
            texts.append(typed(part[kind], str, f"{here}.{kind}"))
        else:
            typed(part[kind], dict, f"{here}.{kind}")
            if kind == "image_url" and "url" not in part[kind]:
                raise missing(f"{here}.image_url.url")
            others += 1
    return "\n".join(texts), others


def _schema(body: Mapping[str, Any], turns: tuple[Turn, ...]) -> Mapping[str, Any] | None:
    wanted = body.get("response_format")
    if wanted is None:
        return None
    typed(wanted, dict, "response_format")
    if "type" not in wanted:
        raise missing("response_format.type")
    kind = one_of(wanted["type"], ("json_object", "json_schema", "text"), "response_format.type")
    if kind == "text":
        return None
    if kind == "json_object":
        if not any("json" in turn.text.lower() for turn in turns):
            text = "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
            raise Refusal(400, text, param="messages")
        return {"type": "object"}
    if "json_schema" not in wanted:
        raise missing("response_format.json_schema")
    return check_output_schema(
        typed(wanted["json_schema"], dict, "response_format.json_schema"), "response_format.json_schema"
    )


def _stop(stop: Any) -> tuple[str, ...]:
    if stop is None:
        return ()
    if isinstance(stop, str):
        return (stop,)
    if not isinstance(stop, list) or len(stop) > 4 or not all(isinstance(one, str) for one in stop):
        raise Refusal(400, "Invalid 'stop': expected a string or an array of at most 4 strings.", param="stop")
    return tuple(stop)
