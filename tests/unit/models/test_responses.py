"""What only the responses API has: items, encrypted reasoning that is carried back, endings that say why."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from quarterdeck.core.errors import Filtered, ModelRefused, ModelUnavailable
from quarterdeck.core.events import Delta
from quarterdeck.core.messages import Image, Message, Role, ToolCall
from quarterdeck.models.base import ModelRequest
from quarterdeck.models.responses import ResponsesModel
from quarterdeck.net import GuardedClient
from tests.dialects import DIALECTS, event
from tests.provider import WEATHER, Provider, context, question, responds, said, streams
from tests.unit.models.talk import TRUSTED

RESPONSES: Any = DIALECTS["responses"]
REASONING = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "Rain?"}],
    "encrypted_content": "Z0F",
}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "get_weather", "arguments": '{"city":"Oslo"}'}


@pytest.fixture
async def model(provider: Provider) -> AsyncIterator[ResponsesModel]:
    provider.otherwise = responds(200, json.dumps(RESPONSES.whole("Fine.")))
    async with GuardedClient(allowed_origins=[provider.origin]) as client:
        yield RESPONSES.model(provider, client)


async def ignore(delta: Delta) -> None: ...


@pytest.mark.row("R1", part="responses")
async def test_a_plain_question_is_sent_and_nothing_is_stored_there(provider: Provider, model: ResponsesModel) -> None:
    reply = await model.complete(question("How are you?", max_tokens=50), context())

    assert (reply.text, reply.model) == ("Fine.", "openai-responses:gpt-test")
    assert provider.requests == [
        {
            "model": "gpt-test",
            "instructions": "Be brief.",
            "input": [{"role": "user", "content": "How are you?"}],
            "temperature": 0.0,
            "max_output_tokens": 50,
            "store": False,
            "include": ["reasoning.encrypted_content"],
        }
    ]
    assert provider.headers[0]["Authorization"] == "Bearer sk-test-0123456789"
    assert provider.paths == ["/v1/responses"]


@pytest.mark.row("R1", part="responses")
async def test_tools_choice_format_and_options_pass_through(provider: Provider, model: ResponsesModel) -> None:
    schema = {"type": "object"}
    options = {"text": {"verbosity": "low"}, "reasoning": {"effort": "low"}}

    await model.complete(
        question(tools=(WEATHER,), tool_choice="get_weather", output_schema=schema, options=options), context()
    )

    asked = provider.requests[0]
    assert asked["tools"] == [
        {
            "type": "function",
            "name": "get_weather",
            "description": WEATHER.description,
            "parameters": WEATHER.input_schema,
            "strict": False,
        }
    ]
    assert asked["tool_choice"] == {"type": "function", "name": "get_weather"}
    assert asked["text"] == {"verbosity": "low", "format": {"type": "json_schema", "name": "answer", "schema": schema}}
    assert asked["reasoning"] == {"effort": "low"}


async def test_calls_and_their_results_are_items(provider: Provider, model: ResponsesModel) -> None:
    asked = Message(
        role=Role.ASSISTANT,
        parts=said(Role.ASSISTANT, "Let me look.").parts,
        tool_calls=(ToolCall(id="t0c0", name="get weather", args={"city": "Köln"}),),
    )
    answered = Message(role=Role.TOOL, parts=said(Role.TOOL, "rain").parts, call_id="t0c0")

    await model.complete(ModelRequest(messages=(said(Role.USER, "Weather?"), asked, answered)), context())

    assert provider.requests[0]["input"][1:] == [
        {"role": "assistant", "content": "Let me look."},
        {"type": "function_call", "call_id": "t0c0", "name": "get_weather", "arguments": '{"city":"Köln"}'},
        {"type": "function_call_output", "call_id": "t0c0", "output": "rain"},
    ]


@pytest.mark.row("R1", part="pictures")
async def test_pictures_are_shown_beside_the_words(provider: Provider, model: ResponsesModel) -> None:
    picture = Image(media_type="image/png", data="aGk=", label=TRUSTED)
    message = Message(role=Role.USER, parts=(*said(Role.USER, "What is it?").parts, picture))

    await model.complete(ModelRequest(messages=(message,)), context())

    assert provider.requests[0]["input"][0]["content"] == [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": "data:image/png;base64,aGk="},
    ]


@pytest.mark.row("R1", part="reasoning")
@pytest.mark.parametrize("watched", [True, False], ids=["streamed", "whole"])
async def test_encrypted_reasoning_is_carried_back_before_what_it_led_to(
    provider: Provider, model: ResponsesModel, watched: bool
) -> None:
    other = {**CALL, "id": "fc_2", "call_id": "call_2"}
    output = [{**REASONING, "status": None}, CALL, {**REASONING, "id": "rs_2"}, other]
    response = {**RESPONSES.whole(), "output": output}
    response["usage"] = {**RESPONSES.usage, "output_tokens_details": {"reasoning_tokens": 4}}
    handler = responds(200, json.dumps(response))
    if watched:
        handler = streams(
            event({"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "Rain?"}),
            *(
                event({"type": "response.output_item.done", "output_index": place, "item": item})
                for place, item in enumerate(output)
            ),
            event({"type": "response.completed", "response": response}),
        )
    provider.script.append(handler)

    reply = await model.complete(question(tools=(WEATHER,)), context(), ignore if watched else None)
    again = Message(role=Role.ASSISTANT, parts=reply.opaque, tool_calls=reply.tool_calls)
    await model.complete(ModelRequest(messages=(said(Role.USER, "Weather?"), again)), context())

    assert (reply.reasoning, reply.usage.reasoning_tokens) == ("Rain?Rain?", 4)
    sent = provider.requests[1]["input"][1:]
    assert [item.get("id") or item["call_id"] for item in sent] == ["rs_1", "call_1", "rs_2", "call_2"]
    assert sent[0] == REASONING


async def test_reasoning_that_leads_to_nothing_or_cannot_be_read_back_is_not_sent(
    provider: Provider, model: ResponsesModel
) -> None:
    unreadable = {**REASONING, "encrypted_content": None}
    provider.script.append(responds(200, json.dumps({**RESPONSES.whole(), "output": [unreadable, CALL, REASONING]})))

    reply = await model.complete(question(tools=(WEATHER,)), context())
    again = Message(role=Role.ASSISTANT, parts=reply.opaque, tool_calls=reply.tool_calls)
    await model.complete(ModelRequest(messages=(said(Role.USER, "Weather?"), again)), context())

    assert [item["type"] for item in provider.requests[1]["input"][1:]] == ["function_call"]


async def test_a_model_that_does_not_reason_is_asked_without_it(provider: Provider, model: ResponsesModel) -> None:
    error = {"message": "Encrypted content is not supported with this model.", "param": "include", "code": None}
    provider.script.append(responds(400, json.dumps({"error": {**error, "type": "invalid_request_error"}})))

    reply = await model.complete(question(), context())

    assert reply.attempts == 2
    assert "include" not in provider.requests[1]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"type": "error", "code": "rate_limit_exceeded", "message": "slow down", "param": None}, ModelUnavailable),
        ({"type": "error", "code": "invalid_prompt", "message": "no", "param": None}, ModelRefused),
        ({"type": "error", "error": {"type": "server_error", "message": "oops"}}, ModelUnavailable),
        ({"type": "response.failed", "response": {"status": "failed", "error": None}}, ModelUnavailable),
        ({"type": "response.failed", "response": {"error": {"code": "bio_policy", "message": "no"}}}, Filtered),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else value.__name__,
)
async def test_errors_inside_a_stream_have_their_class(
    provider: Provider, model: ResponsesModel, body: dict[str, Any], kind: type[Exception]
) -> None:
    provider.script.append(streams(event(body)))

    with pytest.raises(kind):
        await model.complete(question(), context(), ignore)


async def test_a_refusal_is_the_text(provider: Provider, model: ResponsesModel) -> None:
    message = {"type": "message", "content": [{"type": "refusal", "refusal": "I will not."}]}
    provider.script.append(responds(200, json.dumps({**RESPONSES.whole(), "output": [message]})))

    reply = await model.complete(question(), context())

    assert reply.text == "I will not."
