"""Requests a provider refuses are refused in the provider's own words."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.devtools.simulator.asking import CHAT_TOOL, called, chat, claude, returned, send, simulator

pytestmark = pytest.mark.row("D1", part="validation")

USER = {"role": "user", "content": "Hello."}


def tool(**function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}, **function}}


CHAT: list[tuple[str, Any, str | None, str | None, str]] = [
    ("not json", b"{", None, None, "could not parse"),
    ("no model", {"messages": [USER]}, None, None, "you must provide a model parameter"),
    ("no messages", {"model": "m"}, "messages", "missing_required_parameter", "Missing required parameter: 'messages'."),
    ("messages a text", {"model": "m", "messages": "hi"}, "messages", "invalid_type", "expected an array"),
    ("no message at all", {"model": "m", "messages": []}, "messages", "empty_array", "empty array"),
    (
        "unknown role",
        chat() | {"messages": [{"role": "robot", "content": "x"}]},
        "messages[0].role",
        "invalid_value",
        "'robot'",
    ),
    ("no role", chat() | {"messages": [{"content": "x"}]}, "messages[0].role", "missing_required_parameter", "role"),
    (
        "no content",
        chat() | {"messages": [{"role": "user"}]},
        "messages[0].content",
        "missing_required_parameter",
        "content",
    ),
    (
        "content a number",
        chat() | {"messages": [{"role": "user", "content": 7}]},
        "messages[0].content",
        "invalid_type",
        "got an",
    ),
    ("orphan result", chat() | {"messages": [USER, returned("x")]}, "messages.[1].role", None, "preceeding message"),
    (
        "result of another call",
        chat() | {"messages": [USER, called("f", "{}"), returned("x", "call_9")]},
        "messages.[2].tool_call_id",
        None,
        "not found in 'tool_calls'",
    ),
    ("call without a result", chat() | {"messages": [USER, called("f", "{}"), USER]}, "messages.[2].role", None, "call_1"),
    (
        "call without a result at the end",
        chat() | {"messages": [USER, called("f", "{}")]},
        "messages.[2].role",
        None,
        "call_1",
    ),
    ("temperature", chat(temperature=3), "temperature", "decimal_above_max_value", "<= 2"),
    ("temperature a text", chat(temperature="hot"), "temperature", "invalid_type", "decimal number"),
    ("max_tokens", chat(max_tokens=0), "max_tokens", "integer_below_min_value", ">= 1"),
    (
        "max_tokens told whole",
        chat(max_tokens=-1234567),
        "max_tokens",
        "integer_below_min_value",
        "but got -1234567 instead",
    ),
    ("unknown parameter", chat(colour="red"), "colour", "unknown_parameter", "'colour'"),
    ("tool_choice without tools", chat(tool_choice="auto"), "tool_choice", None, "only allowed when 'tools'"),
    ("unknown tool_choice", chat(tools=[CHAT_TOOL], tool_choice="never"), "tool_choice", "invalid_value", "'never'"),
    (
        "forced tool that is not there",
        chat(tools=[CHAT_TOOL], tool_choice={"type": "function", "function": {"name": "g"}}),
        "tool_choice",
        None,
        "'g'",
    ),
    (
        "tool without a name",
        chat(tools=[{"type": "function", "function": {}}]),
        "tools[0].function.name",
        "missing_required_parameter",
        "name",
    ),
    ("name with a space", chat(tools=[tool(name="a b")]), "tools[0].function.name", "invalid_value", "pattern"),
    (
        "schema no object",
        chat(tools=[tool(parameters={"type": "string"})]),
        "tools[0].function.parameters",
        "invalid_function_parameters",
        'type: "object"',
    ),
    (
        "array without items",
        chat(tools=[tool(parameters={"type": "object", "properties": {"a": {"type": "array"}}})]),
        "tools[0].function.parameters",
        "invalid_function_parameters",
        "array schema missing items",
    ),
    (
        "strict without additionalProperties",
        chat(tools=[tool(strict=True, parameters={"type": "object", "properties": {"a": {"type": "string"}}})]),
        "tools[0].function.parameters",
        "invalid_function_parameters",
        "'additionalProperties' is required",
    ),
    ("stream_options alone", chat(stream_options={"include_usage": True}), "stream_options", None, "'stream' is enabled"),
    (
        "json without the word",
        chat(response_format={"type": "json_object"}),
        "messages",
        None,
        "must contain the word 'json'",
    ),
    (
        "strict schema with an optional property",
        chat(
            response_format={
                "type": "json_schema",
                "json_schema": {
                    "name": "a",
                    "strict": True,
                    "schema": {"type": "object", "properties": {"x": {"type": "string"}}, "additionalProperties": False},
                },
            }
        ),
        "response_format",
        None,
        "Missing 'x'",
    ),
]


@pytest.mark.parametrize(("body", "param", "code", "says"), [case[1:] for case in CHAT], ids=[case[0] for case in CHAT])
async def test_chat_completions_refuse_as_openai_does(body: Any, param: str | None, code: str | None, says: str) -> None:
    heard = await send(simulator(), "/v1/chat/completions", body)

    assert heard.status == 400
    assert heard.error["type"] == "invalid_request_error"
    assert (heard.error["param"], heard.error["code"]) == (param, code)
    assert says in heard.error["message"]


CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
RESPONSES: list[tuple[str, Any, str | None, str | None, str]] = [
    ("no model", {"input": "x"}, "model", "missing_required_parameter", "model"),
    ("no input", {"model": "m"}, "input", "missing_required_parameter", "input"),
    ("input a number", {"model": "m", "input": 7}, "input", "invalid_type", "input items"),
    (
        "orphan output",
        {"model": "m", "input": [{"type": "function_call_output", "call_id": "c1", "output": "x"}]},
        "input",
        None,
        "call_id c1",
    ),
    ("call without output", {"model": "m", "input": [CALL]}, "input", None, "No tool output found for function call c1"),
    (
        "unknown role",
        {"model": "m", "input": [{"role": "robot", "content": "x"}]},
        "input[0].role",
        "invalid_value",
        "robot",
    ),
    ("messages of the other API", {"model": "m", "input": "x", "messages": []}, "messages", "unknown_parameter", "messages"),
    (
        "unknown response",
        {"model": "m", "input": "x", "previous_response_id": "resp_0"},
        "previous_response_id",
        "previous_response_not_found",
        "resp_0",
    ),
    (
        "nested tool",
        {"model": "m", "input": "x", "tools": [CHAT_TOOL]},
        "tools[0].name",
        "missing_required_parameter",
        "name",
    ),
]


@pytest.mark.parametrize(
    ("body", "param", "code", "says"), [case[1:] for case in RESPONSES], ids=[case[0] for case in RESPONSES]
)
async def test_responses_refuse_as_openai_does(body: Any, param: str | None, code: str | None, says: str) -> None:
    heard = await send(simulator(), "/v1/responses", body)

    assert heard.status == 400
    assert (heard.error["param"], heard.error["code"]) == (param, code)
    assert says in heard.error["message"]


USE = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "x"}]}
MESSAGES: list[tuple[str, Any, str]] = [
    ("no max_tokens", {"model": "m", "messages": [USER]}, "max_tokens: Field required"),
    ("no messages", {"model": "m", "max_tokens": 5}, "messages: Field required"),
    ("no message at all", claude() | {"messages": []}, "at least one message is required"),
    ("system as a role", claude() | {"messages": [{"role": "system", "content": "x"}]}, 'Unexpected role "system"'),
    ("unknown role", claude() | {"messages": [{"role": "robot", "content": "x"}]}, "Input should be 'user' or 'assistant'"),
    ("empty text", claude() | {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}, "non-empty"),
    ("unknown field", claude(colour="red"), "colour: Extra inputs are not permitted"),
    ("orphan result", claude() | {"messages": [RESULT]}, "unexpected `tool_use_id` found in `tool_result` blocks: t1"),
    (
        "call without a result",
        claude() | {"messages": [USER, USE, USER]},
        "without `tool_result` blocks immediately after: t1",
    ),
    ("call at the end", claude() | {"messages": [USER, USE]}, "without `tool_result` blocks immediately after: t1"),
    (
        "schema without a type",
        claude(tools=[{"name": "f", "input_schema": {}}]),
        "tools.0.input_schema.type: Field required",
    ),
    (
        "bad tool name",
        claude(tools=[{"name": "a b", "input_schema": {"type": "object"}}]),
        "tools.0.name: String should match",
    ),
    ("choice without tools", claude(tool_choice={"type": "auto"}), "while providing tools"),
    ("temperature", claude(temperature=1.5), "temperature: range: 0..1"),
    ("thinking over the limit", claude(thinking={"type": "enabled", "budget_tokens": 2000}), "must be greater than"),
    ("not json", b"[", "not valid JSON"),
]


@pytest.mark.parametrize(("body", "says"), [case[1:] for case in MESSAGES], ids=[case[0] for case in MESSAGES])
async def test_messages_refuse_as_anthropic_does(body: Any, says: str) -> None:
    heard = await send(simulator(), "/v1/messages", body)

    assert heard.status == 400
    assert heard.json["type"] == "error"
    assert heard.error["type"] == "invalid_request_error"
    assert says in heard.error["message"]
    assert heard.json["request_id"] == heard.headers["request-id"]


@pytest.mark.parametrize(
    ("path", "headers", "kind", "says"),
    [
        ("/v1/chat/completions", {"authorization": ""}, "invalid_request_error", "didn't provide an API key"),
        (
            "/v1/chat/completions",
            {"authorization": "Bearer wrong-key-of-mine"},
            "invalid_request_error",
            "Incorrect API key",
        ),
        ("/v1/messages", {"x_api_key": ""}, "authentication_error", "x-api-key header is required"),
        ("/v1/messages", {"x_api_key": "wrong"}, "authentication_error", "invalid x-api-key"),
    ],
)
async def test_missing_and_wrong_keys_are_refused(path: str, headers: dict[str, str], kind: str, says: str) -> None:
    app = simulator(api_keys=["sk-right"])

    heard = await send(app, path, chat(), **headers)

    assert heard.status == 401
    assert heard.error["type"] == kind
    assert says in heard.error["message"]
    assert "wrong-key-of-mine" not in heard.body.decode()


async def test_unknown_model_path_and_method_are_refused() -> None:
    app = simulator(models=["gpt-5"])

    model = await send(app, "/v1/chat/completions", chat() | {"model": "gpt-9"})
    path = await send(app, "/v1/paintings", {})
    method = await send(app, "/v1/chat/completions")
    claude_model = await send(app, "/v1/messages", claude())

    assert (model.status, model.error["code"]) == (404, "model_not_found")
    assert (path.status, path.error["message"]) == (404, "Invalid URL (POST /paintings)")
    assert (method.status, method.error["code"]) == (405, "method_not_supported")
    assert (claude_model.status, claude_model.error["type"]) == (404, "not_found_error")


async def test_prompt_beyond_the_window_is_refused() -> None:
    app = simulator(context_window=50)

    heard = await send(app, "/v1/chat/completions", chat("word " * 100))
    other = await send(app, "/v1/messages", claude("word " * 100))

    assert heard.error["code"] == "context_length_exceeded"
    assert "maximum context length is 50 tokens" in heard.error["message"]
    assert "prompt is too long" in other.error["message"]


async def test_lenient_simulator_takes_what_vendors_added() -> None:
    heard = await send(simulator(strict=False), "/v1/chat/completions", chat(top_k=4, min_p=0.1))

    assert heard.status == 200
