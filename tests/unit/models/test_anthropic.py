"""What only the messages API has: blocks, signed thinking, pauses, its own ways with system messages and results."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from quarterdeck.core.errors import InvalidInput, ModelInvalid, ModelRefused
from quarterdeck.core.events import Delta
from quarterdeck.core.messages import Image, Message, Opaque, Role, ToolCall
from quarterdeck.models.anthropic import AnthropicModel
from quarterdeck.models.base import ModelRequest
from quarterdeck.net import GuardedClient
from tests.dialects import DIALECTS, event
from tests.provider import WEATHER, Provider, context, question, responds, said, streams
from tests.unit.models.talk import TRUSTED

MakeModel = Callable[..., AnthropicModel]
ANTHROPIC: Any = DIALECTS["anthropic"]
THINKING = {"type": "thinking", "thinking": "Rain or sun?", "signature": "c2lnbmVk"}
REDACTED = {"type": "redacted_thinking", "data": "aGlkZGVu"}


@pytest.fixture
async def make(provider: Provider) -> AsyncIterator[MakeModel]:
    provider.otherwise = responds(200, json.dumps(ANTHROPIC.whole("Fine.")))
    async with GuardedClient(allowed_origins=[provider.origin]) as client:
        yield lambda **options: ANTHROPIC.model(provider, client, **options)


@pytest.fixture
def model(make: MakeModel) -> AnthropicModel:
    return make()


def whole(*content: Any, reason: str = "end_turn", **usage: Any) -> dict[str, Any]:
    return {**ANTHROPIC.whole(), "content": list(content), "stop_reason": reason, "usage": {**ANTHROPIC.usage, **usage}}


@pytest.mark.row("R1", part="anthropic")
async def test_a_plain_question_is_sent_as_the_api_wants_it(provider: Provider, model: AnthropicModel) -> None:
    reply = await model.complete(question("How are you?", temperature=0.2), context())

    assert (reply.text, reply.model) == ("Fine.", "anthropic:claude-test")
    assert provider.requests == [
        {
            "model": "claude-test",
            "max_tokens": 8192,
            "temperature": 0.2,
            "system": "Be brief.",
            "messages": [{"role": "user", "content": [{"type": "text", "text": "How are you?"}]}],
        }
    ]
    assert (provider.headers[0]["x-api-key"], provider.headers[0]["anthropic-version"]) == (
        "sk-test-0123456789",
        "2023-06-01",
    )
    assert "Authorization" not in provider.headers[0]


@pytest.mark.row("R1", part="anthropic")
@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", None),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ("get_weather", {"type": "tool", "name": "get_weather"}),
    ],
)
async def test_tools_and_the_choice_among_them_are_mapped(
    provider: Provider, model: AnthropicModel, choice: str, sent: Any
) -> None:
    await model.complete(question(tools=(WEATHER,), tool_choice=choice, max_tokens=9, options={"top_k": 3}), context())

    asked = provider.requests[0]
    assert asked["tools"] == [
        {"name": "get_weather", "description": WEATHER.description, "input_schema": WEATHER.input_schema}
    ]
    assert (asked.get("tool_choice"), asked["max_tokens"], asked["top_k"]) == (sent, 9, 3)


async def test_results_of_parallel_calls_stand_in_one_message_before_what_follows(
    provider: Provider, model: AnthropicModel
) -> None:
    calls = tuple(ToolCall(id=f"t0c{n}", name="get weather", args={"n": n}) for n in range(2))
    results = [
        Message(role=Role.TOOL, parts=said(Role.TOOL, text).parts, call_id=f"t0c{n}") for n, text in enumerate(["rain", ""])
    ]
    asked = Message(role=Role.ASSISTANT, parts=said(Role.ASSISTANT, " ").parts, tool_calls=calls)

    await model.complete(
        ModelRequest(messages=(said(Role.USER, "Weather?"), asked, *results, said(Role.USER, "And?"))), context()
    )

    _, sent_calls, sent_results = provider.requests[0]["messages"]
    assert sent_calls == {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": f"t0c{n}", "name": "get_weather", "input": {"n": n}} for n in range(2)],
    }
    assert sent_results == {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "t0c0", "content": [{"type": "text", "text": "rain"}]},
            {"type": "tool_result", "tool_use_id": "t0c1"},
            {"type": "text", "text": "And?"},
        ],
    }


@pytest.mark.row("R1", part="pictures")
async def test_pictures_go_as_bytes_or_as_address(provider: Provider, model: AnthropicModel) -> None:
    shown = Image(media_type="image/png", data="aGk=", label=TRUSTED)
    linked = Image(media_type="image/png", url="https://pictures.example/a.png", label=TRUSTED)

    await model.complete(ModelRequest(messages=(Message(role=Role.USER, parts=(shown, linked)),)), context())

    assert provider.requests[0]["messages"][0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        {"type": "image", "source": {"type": "url", "url": "https://pictures.example/a.png"}},
    ]


async def test_a_picture_inside_our_network_is_refused_unsent(provider: Provider, model: AnthropicModel) -> None:
    inside = Image(media_type="image/png", url="https://169.254.169.254/latest", label=TRUSTED)

    with pytest.raises(InvalidInput, match="not public"):
        await model.complete(ModelRequest(messages=(Message(role=Role.USER, parts=(inside,)),)), context())

    assert provider.requests == []


@pytest.mark.row("R1", part="structured")
async def test_a_schema_is_sent_closed_beside_other_output_options(provider: Provider, make: MakeModel) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]}

    await make(options={"output_config": {"effort": "low"}}).complete(question(output_schema=schema), context())

    config = provider.requests[0]["output_config"]
    assert (config["effort"], config["format"]["type"]) == ("low", "json_schema")
    assert config["format"]["schema"]["additionalProperties"] is False


@pytest.mark.row("R1", part="reasoning")
@pytest.mark.parametrize("watched", [True, False], ids=["streamed", "whole"])
async def test_thinking_is_told_kept_and_sent_back_as_it_was_signed(
    provider: Provider, model: AnthropicModel, watched: bool
) -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Oslo"}}
    if watched:
        provider.script.append(streams(*thinking_stream()))
    else:
        details = {"output_tokens_details": {"thinking_tokens": 3}}
        provider.script.append(responds(200, json.dumps(whole(THINKING, REDACTED, call, reason="tool_use", **details))))
    deltas: list[Delta] = []

    async def keep(delta: Delta) -> None:
        deltas.append(delta)

    reply = await model.complete(question(tools=(WEATHER,)), context(), keep if watched else None)
    again = Message(role=Role.ASSISTANT, parts=reply.opaque, tool_calls=reply.tool_calls)
    await model.complete(ModelRequest(messages=(said(Role.USER, "Weather?"), again)), context())

    assert reply.reasoning == "Rain or sun?"
    assert [part.item for part in reply.opaque] == [THINKING, REDACTED]
    assert reply.usage.reasoning_tokens == 3
    assert not watched or "".join(delta.text for delta in deltas if delta.kind == "reasoning") == "Rain or sun?"
    assert provider.requests[1]["messages"][1]["content"] == [THINKING, REDACTED, call]


def thinking_stream() -> list[bytes]:
    begun = {**ANTHROPIC.whole(), "content": [], "stop_reason": None}
    blocks: list[tuple[Any, list[Any]]] = [
        (
            {"type": "thinking", "thinking": "", "signature": ""},
            [
                {"type": "thinking_delta", "thinking": "Rain "},
                {"type": "thinking_delta", "thinking": "or sun?"},
                {"type": "signature_delta", "signature": "c2lnbmVk"},
            ],
        ),
        (REDACTED, []),
        (
            {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}},
            [{"type": "input_json_delta", "partial_json": piece} for piece in ("", '{"city": "Os', 'lo"}')],
        ),
    ]
    sent = [event({"type": "message_start", "message": begun})]
    for index, (block, deltas) in enumerate(blocks):
        sent.append(event({"type": "content_block_start", "index": index, "content_block": block}))
        sent += [event({"type": "content_block_delta", "index": index, "delta": delta}) for delta in deltas]
        sent.append(event({"type": "content_block_stop", "index": index}))
    usage = {"output_tokens": 5, "output_tokens_details": {"thinking_tokens": 3}}
    return [
        *sent,
        event({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": usage}),
        event({"type": "message_stop"}),
    ]


async def test_thinking_of_another_provider_is_not_sent(provider: Provider, model: AnthropicModel) -> None:
    foreign = Opaque(provider="openai-responses", item={"type": "reasoning"}, label=TRUSTED)
    before = Message(role=Role.ASSISTANT, parts=(foreign, *said(Role.ASSISTANT, "Hello.").parts))

    await model.complete(ModelRequest(messages=(said(Role.USER, "Hi"), before, said(Role.USER, "So?"))), context())

    assert provider.requests[0]["messages"][1]["content"] == [{"type": "text", "text": "Hello."}]


async def test_thinking_that_was_cut_before_its_signature_is_dropped(provider: Provider, model: AnthropicModel) -> None:
    unsigned = {"type": "thinking", "thinking": "Hm", "signature": ""}
    provider.script.append(responds(200, json.dumps(whole(unsigned, {"type": "text", "text": "Hm."}, reason="max_tokens"))))

    reply = await model.complete(question(), context())

    assert (reply.opaque, reply.finish_reason) == ((), "length")


async def test_a_reply_that_pauses_is_asked_for_to_its_end(provider: Provider, model: AnthropicModel) -> None:
    search = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "rain"}}
    text = {"type": "text", "text": "Looking. "}
    provider.script.append(responds(200, json.dumps(whole(text, search, reason="pause_turn"))))
    provider.script.append(responds(200, json.dumps(whole({"type": "text", "text": "It rains."}))))

    reply = await model.complete(question("Weather?"), context())

    assert (reply.text, reply.finish_reason, reply.attempts) == ("Looking. It rains.", "stop", 2)
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.cached_tokens) == (40, 10, 16)
    assert provider.requests[1]["messages"][-1] == {"role": "assistant", "content": [text, search]}


async def test_a_reply_that_pauses_for_ever_is_given_up(provider: Provider, model: AnthropicModel) -> None:
    provider.otherwise = responds(200, json.dumps(whole({"type": "text", "text": "."}, reason="pause_turn")))

    with pytest.raises(ModelInvalid, match="paused"):
        await model.complete(question(), context())

    assert len(provider.requests) == 11


async def test_what_was_put_into_the_cache_is_part_of_the_prompt(provider: Provider, model: AnthropicModel) -> None:
    provider.script.append(
        responds(200, json.dumps(whole({"type": "text", "text": "Hi."}, cache_creation_input_tokens=100)))
    )

    usage = (await model.complete(question(), context())).usage

    assert (usage.prompt_tokens, usage.cached_tokens, usage.cache_write_tokens) == (120, 8, 100)


async def test_a_model_that_takes_no_temperature_says_so_in_words(provider: Provider, model: AnthropicModel) -> None:
    error = ANTHROPIC.error("`temperature` may only be set to 1 when thinking is enabled.", "invalid_request_error")
    provider.script.append(responds(400, json.dumps(error)))

    reply = await model.complete(question(), context())

    assert reply.attempts == 2
    assert "temperature" not in provider.requests[1]


@pytest.mark.parametrize("kind", ["authentication_error", "permission_error", "invalid_request_error"])
async def test_an_error_that_asking_again_cannot_mend_is_refused_even_inside_a_stream(
    provider: Provider, model: AnthropicModel, kind: str
) -> None:
    provider.script.append(streams(ANTHROPIC.late_error("no", kind)))

    async def ignore(delta: Delta) -> None: ...

    with pytest.raises(ModelRefused):
        await model.complete(question(), context(), ignore)


async def test_an_address_with_and_without_its_version_is_the_same(provider: Provider) -> None:
    async with GuardedClient(allowed_origins=[provider.origin]) as client:
        for base_url in (provider.origin, provider.origin + "/", provider.base_url):
            provider.script.append(responds(200, json.dumps(ANTHROPIC.whole("Fine."))))
            model = AnthropicModel("anthropic:m", base_url=base_url, api_key="", client=client)
            assert (await model.complete(question(), context())).text == "Fine."

    assert provider.paths == ["/v1/messages"] * 3


async def test_pieces_of_a_block_that_never_began_are_heard_all_the_same(provider: Provider, model: AnthropicModel) -> None:
    pieces = [piece for piece in ANTHROPIC.stream(("Hel", "lo."), ()) if b"content_block_start" not in piece]
    provider.script.append(streams(*pieces))

    async def ignore(delta: Delta) -> None: ...

    assert (await model.complete(question(), context(), ignore)).text == "Hello."
