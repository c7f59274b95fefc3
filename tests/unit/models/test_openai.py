"""Chat completions against a provider that answers well and badly."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from aiohttp import web

from quarterdeck.core.errors import (
    ContextTooLarge,
    DeadlineExceeded,
    Filtered,
    Misconfigured,
    ModelInvalid,
    ModelRefused,
    ModelUnavailable,
    Truncated,
)
from quarterdeck.core.events import Delta
from quarterdeck.core.messages import Message, Role, ToolCall
from quarterdeck.models.base import ModelRequest
from quarterdeck.models.openai import OpenAIModel
from quarterdeck.net import GuardedClient
from tests.provider import (
    DONE,
    HELLO,
    USAGE,
    WEATHER,
    Provider,
    called,
    chunk,
    completion,
    context,
    fails,
    hangs_up,
    question,
    responds,
    said,
    stalls,
    streams,
)

MakeModel = Callable[..., OpenAIModel]


class Watcher:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.deltas: list[Delta] = []

    async def __call__(self, delta: Delta) -> None:
        self.deltas.append(delta)

    def text(self, kind: str = "text") -> str:
        return "".join(delta.text for delta in self.deltas if delta.kind == kind)


@pytest.mark.row("R1", part="openai")
async def test_a_plain_question_is_sent_whole_and_answered(provider: Provider, model: OpenAIModel) -> None:
    provider.script.append(completion("Fine."))

    reply = await model.complete(question("How are you?", max_tokens=50, temperature=0.2), context())

    assert (reply.text, reply.finish_reason, reply.model, reply.attempts) == ("Fine.", "stop", "openai:gpt-test", 1)
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.estimated) == (20, 5, False)
    assert provider.requests == [
        {
            "model": "gpt-test",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How are you?"}],
            "temperature": 0.2,
            "max_tokens": 50,
        }
    ]
    assert provider.headers[0]["Authorization"] == "Bearer sk-test-0123456789"


@pytest.mark.row("R1", part="openai")
async def test_tools_choice_format_and_options_pass_through(provider: Provider, make_model: MakeModel) -> None:
    model = make_model(options={"top_p": 0.5, "seed": 1})
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}

    await model.complete(
        question(tools=(WEATHER,), tool_choice="get_weather", output_schema=schema, options={"seed": 7}), context()
    )

    sent = provider.requests[0]
    assert sent["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "get_weather",
                "description": "Tell the weather of a city.",
                "parameters": WEATHER.input_schema,
            },
        }
    ]
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "get_weather"}}
    assert sent["response_format"] == {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    assert (sent["top_p"], sent["seed"], sent["temperature"]) == (0.5, 7, 0.0)


async def test_calls_and_their_results_are_sent_back_as_pairs(provider: Provider, model: OpenAIModel) -> None:
    call = ToolCall(id="t0c0", name="get weather!", args={"city": "Köln"})
    asked = Message(role=Role.ASSISTANT, tool_calls=(call,))
    answered = Message(role=Role.TOOL, parts=said(Role.TOOL, "rain").parts, call_id="t0c0")

    await model.complete(ModelRequest(messages=(said(Role.USER, "Weather?"), asked, answered)), context())

    _, sent_call, sent_result = provider.requests[0]["messages"]
    assert sent_call["tool_calls"] == [
        {"id": "t0c0", "type": "function", "function": {"name": "get_weather_", "arguments": '{"city":"Köln"}'}}
    ]
    assert sent_result == {"role": "tool", "tool_call_id": "t0c0", "content": "rain"}


async def test_the_trace_goes_along(provider: Provider, model: OpenAIModel) -> None:
    await model.complete(question(), context(trace_id="4bf92f3577b34da6a3ce929d0e0e4736"))
    await model.complete(question(), context(trace_id="no trace\r\nX-Evil: 1"))

    first, second = provider.headers
    assert first["traceparent"].startswith("00-4bf92f3577b34da6a3ce929d0e0e4736-")
    assert "traceparent" not in second
    assert "X-Evil" not in second


@pytest.mark.row("R1", part="openai")
async def test_nothing_is_streamed_unless_somebody_watches(provider: Provider, model: OpenAIModel) -> None:
    provider.script.extend([completion("Quiet."), streams(HELLO)])
    watcher = Watcher()

    await model.complete(question(), context())
    watched = await model.complete(question(), context(), watcher)

    assert "stream" not in provider.requests[0]
    assert provider.requests[1]["stream"] is True
    assert provider.requests[1]["stream_options"] == {"include_usage": True}
    assert watched.text == watcher.text() == "Hello, 世界."
    assert [delta.n for delta in watcher.deltas] == [0, 1, 2]
    assert (watched.usage.total_tokens, watched.usage.estimated) == (25, False)


async def test_a_stream_may_be_cut_into_single_bytes(provider: Provider, model: OpenAIModel) -> None:
    body = b": comment\r\n\r\n" + HELLO.replace(b"\n", b"\r\n").replace(b"data: ", b"data:")
    provider.script.append(streams(*(body[i : i + 1] for i in range(len(body)))))

    reply = await model.complete(question(), context(), Watcher())

    assert reply.text == "Hello, 世界."


async def test_the_connection_is_kept_after_a_stream(provider: Provider, model: OpenAIModel) -> None:
    peers = set()

    async def note(request: Any) -> Any:
        peers.add(request.transport.get_extra_info("peername"))
        return await streams(HELLO)(request)

    provider.otherwise = note

    for _ in range(3):
        await model.complete(question(), context(), Watcher())

    assert len(peers) == 1


async def test_reasoning_and_tool_starts_are_told_apart(provider: Provider, model: OpenAIModel) -> None:
    first = {"index": 0, "id": "c1", "function": {"name": "get_weather", "arguments": ""}}
    provider.script.append(
        streams(
            chunk({"reasoning_content": "They ask "}),
            chunk({"reasoning_content": "for rain."}),
            chunk({"content": "Let me look."}),
            chunk({"tool_calls": [first]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"city": '}}]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"Oslo"}'}}]}),
            chunk({}, "tool_calls"),
            DONE,
        )
    )
    watcher = Watcher()

    reply = await model.complete(question(tools=(WEATHER,)), context(), watcher)

    assert (reply.text, reply.reasoning, reply.finish_reason) == ("Let me look.", "They ask for rain.", "tool_calls")
    assert reply.tool_calls == (ToolCall(id="c1", name="get_weather", args={"city": "Oslo"}),)
    assert (watcher.text("reasoning"), watcher.text(), watcher.text("tool_start")) == (
        "They ask for rain.",
        "Let me look.",
        "get_weather",
    )
    assert reply.usage.estimated
    assert reply.usage.prompt_tokens > 0 < reply.usage.completion_tokens


async def test_a_server_that_does_not_stream_is_understood(provider: Provider, model: OpenAIModel) -> None:
    provider.script.append(completion("All at once."))
    watcher = Watcher()

    reply = await model.complete(question(), context(), watcher)

    assert reply.text == watcher.text() == "All at once."


async def test_names_that_providers_refuse_come_back_as_registered(provider: Provider, model: OpenAIModel) -> None:
    tool = type(WEATHER)(name="weather.get", description="", input_schema={"type": "object"})
    provider.script.append(completion(calls=[called("weather_get", "{}")], finish="tool_calls"))

    reply = await model.complete(question(tools=(tool,)), context())

    assert provider.requests[0]["tools"][0]["function"]["name"] == "weather_get"
    assert reply.tool_calls[0].name == "weather.get"


@pytest.mark.row("R2")
@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
async def test_what_may_pass_is_unavailable(provider: Provider, model: OpenAIModel, status: int) -> None:
    provider.script.append(fails(status, "try later", headers={"Retry-After": "3", "x-request-id": "req_7"}))

    with pytest.raises(ModelUnavailable, match=f"openai:gpt-test answered {status}: try later .request req_7") as caught:
        await model.complete(question(), context())

    assert (caught.value.status, caught.value.retry_after_s, caught.value.delivered) == (status, 3.0, False)


@pytest.mark.row("R2")
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_what_cannot_pass_is_refused(provider: Provider, model: OpenAIModel, status: int) -> None:
    provider.script.append(fails(status, "not like this"))

    with pytest.raises(ModelRefused, match=f"answered {status}: not like this") as caught:
        await model.complete(question(), context())

    assert caught.value.status == status
    assert len(provider.requests) == 1


@pytest.mark.row("R2")
@pytest.mark.parametrize(
    ("code", "kind"), [("content_filter", Filtered), ("context_length_exceeded", ContextTooLarge), ("other", ModelRefused)]
)
async def test_a_bad_request_is_told_by_its_code(
    provider: Provider, model: OpenAIModel, code: str, kind: type[Exception]
) -> None:
    provider.script.append(fails(400, code=code))

    with pytest.raises(kind) as caught:
        await model.complete(question(), context())

    assert type(caught.value) is kind


async def test_a_redirect_is_not_followed(provider: Provider, model: OpenAIModel) -> None:
    provider.script.append(responds(307, headers={"Location": "http://127.0.0.1:1/"}))

    with pytest.raises(ModelRefused, match="redirect"):
        await model.complete(question(), context())


async def test_an_error_never_shows_the_key(provider: Provider, model: OpenAIModel) -> None:
    message = "Incorrect API key sk-test-0123456789, sk-other-99887766 given\x1b[31m\nsee docs " + "x" * 1000
    provider.script.append(fails(401, message))

    with pytest.raises(ModelRefused) as caught:
        await model.complete(question(), context())

    text = str(caught.value)
    assert "0123456789" not in text
    assert "99887766" not in text
    assert text.isprintable()
    assert len(text) < 400


@pytest.mark.parametrize("body", ["", "not json", "[]", '{"detail": "wrong"}', '{"error": "plain"}', '{"error": null}'])
async def test_any_error_body_makes_a_typed_error(provider: Provider, model: OpenAIModel, body: str) -> None:
    provider.script.append(responds(500, body))

    with pytest.raises(ModelUnavailable, match="answered 500"):
        await model.complete(question(), context())


@pytest.mark.row("R2")
async def test_a_parameter_the_model_does_not_take_is_left_out_from_then_on(provider: Provider, model: OpenAIModel) -> None:
    provider.script.append(fails(400, "no temperature", code="unsupported_value", param="temperature"))
    provider.script.append(fails(400, "other name", code="unsupported_parameter", param="max_tokens"))

    first = await model.complete(question(max_tokens=9), context())
    second = await model.complete(question(max_tokens=9), context())

    assert (first.attempts, second.attempts) == (3, 1)
    for sent in provider.requests[2:]:
        assert "temperature" not in sent
        assert (sent.get("max_tokens"), sent["max_completion_tokens"]) == (None, 9)


async def test_a_parameter_refused_twice_is_an_error(provider: Provider, model: OpenAIModel) -> None:
    provider.otherwise = fails(400, "no", code="unsupported_value", param="temperature")

    with pytest.raises(ModelRefused):
        await model.complete(question(), context())

    assert len(provider.requests) == 2


@pytest.mark.row("R2")
@pytest.mark.parametrize("watched", [True, False])
async def test_a_connection_closed_without_a_word_is_unavailable(
    provider: Provider, model: OpenAIModel, watched: bool
) -> None:
    provider.script.append(hangs_up)

    with pytest.raises(ModelUnavailable) as caught:
        await model.complete(question(), context(), Watcher() if watched else None)

    assert caught.value.status is None


@pytest.mark.row("R2")
async def test_nobody_listening_is_unavailable(free_port: int) -> None:
    origin = f"http://127.0.0.1:{free_port}"
    async with GuardedClient(allowed_origins=[origin]) as client:
        model = OpenAIModel("local:m", base_url=origin, api_key="", client=client)

        with pytest.raises(ModelUnavailable, match="cannot be reached"):
            await model.complete(question(), context())


@pytest.mark.row("R2")
@pytest.mark.parametrize("at", [i for i, byte in enumerate(HELLO[: HELLO.index(b'"stop"')]) if byte in b'{:"\n\xe4'][::3])
async def test_a_stream_cut_anywhere_is_an_error_that_says_whether_text_was_delivered(
    provider: Provider, model: OpenAIModel, at: int
) -> None:
    provider.script.append(streams(HELLO[:at], cut=True))
    watcher = Watcher()

    with pytest.raises(ModelUnavailable) as caught:
        await model.complete(question(), context(), watcher)

    assert caught.value.delivered is bool(watcher.deltas)


async def test_a_stream_cut_after_the_finish_reason_is_whole(provider: Provider, model: OpenAIModel) -> None:
    provider.script.append(streams(HELLO[: HELLO.index(b"data: [DONE]") - 10], cut=True))

    reply = await model.complete(question(), context(), Watcher())

    assert (reply.text, reply.finish_reason) == ("Hello, 世界.", "stop")


async def test_a_stream_that_ends_without_finish_reason_and_done_is_invalid(provider: Provider, model: OpenAIModel) -> None:
    provider.script.append(streams(chunk({"content": "Hel"})))

    with pytest.raises(ModelInvalid, match="ended before the reply did") as caught:
        await model.complete(question(), context(), Watcher())

    assert caught.value.usage is not None
    assert caught.value.usage.estimated


@pytest.mark.parametrize("tail", [chunk({}, "stop"), DONE, b"data: [DONE]"])
async def test_either_finish_reason_or_done_ends_a_stream(provider: Provider, model: OpenAIModel, tail: bytes) -> None:
    provider.script.append(streams(chunk({"content": "Hello"}), tail))

    reply = await model.complete(question(), context(), Watcher())

    assert reply.text == "Hello"


@pytest.mark.row("R2")
async def test_a_stalled_stream_ends_at_the_idle_timeout(provider: Provider, make_model: MakeModel) -> None:
    provider.script.append(streams(chunk({"content": "Hel"}), stall_s=5.0))
    model = make_model(idle_timeout_s=0.1)
    started = time.monotonic()

    with pytest.raises(ModelUnavailable, match="in time") as caught:
        await model.complete(question(), context(), Watcher())

    assert caught.value.delivered
    assert time.monotonic() - started < 1.0


@pytest.mark.row("R2")
async def test_comments_do_not_keep_a_stalled_stream_alive(provider: Provider, make_model: MakeModel) -> None:
    async def comments(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(chunk({"content": "Hel"}))
        while True:
            await response.write(b": still there\n\n")
            await asyncio.sleep(0.02)

    provider.script.append(comments)

    with anyio.fail_after(5), pytest.raises(ModelUnavailable, match="in time"):
        await make_model(idle_timeout_s=0.2).complete(question(), context(), Watcher())


async def test_a_provider_that_says_nothing_until_the_callers_time_is_over_is_known_to_be_slow(
    provider: Provider, make_model: MakeModel
) -> None:
    provider.script.extend([stalls(5.0), streams(chunk({"content": "Hel"}), stall_s=5.0)])
    waited = []

    for _ in range(2):
        with pytest.raises(DeadlineExceeded) as caught:
            await make_model().complete(question(), context(within_s=0.15), Watcher())
        waited.append(caught.value.waited_s)

    assert 0.1 < waited[0] < 1.0
    assert waited[1] == 0.0


async def test_thinking_before_the_first_byte_is_no_stall(provider: Provider, make_model: MakeModel) -> None:
    async def slow(request: Any) -> Any:
        await asyncio.sleep(0.3)
        return await streams(HELLO)(request)

    provider.script.append(slow)

    reply = await make_model(idle_timeout_s=0.1).complete(question(), context(), Watcher())

    assert reply.text == "Hello, 世界."


@pytest.mark.row("R2")
@pytest.mark.parametrize("watched", [True, False])
async def test_a_request_ends_at_its_own_timeout(provider: Provider, make_model: MakeModel, watched: bool) -> None:
    provider.script.append(stalls(5.0))

    with pytest.raises(ModelUnavailable, match="in time"):
        await make_model(timeout_s=0.1).complete(question(), context(), Watcher() if watched else None)


@pytest.mark.row("R2")
@pytest.mark.parametrize("handler", [stalls(5.0), streams(chunk({"content": "a"}), stall_s=5.0)], ids=["silent", "stalled"])
async def test_the_deadline_ends_a_call_and_closes_its_connection(
    provider: Provider, model: OpenAIModel, handler: Any
) -> None:
    provider.script.append(handler)
    ctx = context(within_s=0.2)

    with pytest.raises(DeadlineExceeded):
        await model.complete(question(), ctx, Watcher())

    late = time.monotonic() - ctx.deadline
    await _until(lambda: bool(provider.hung_up_at))
    assert late < 0.25
    assert provider.hung_up_at[0] - ctx.deadline < 0.25


async def test_a_passed_deadline_sends_nothing(provider: Provider, model: OpenAIModel) -> None:
    with pytest.raises(DeadlineExceeded):
        await model.complete(question(), context(within_s=-1.0))

    assert provider.requests == []


@pytest.mark.parametrize("handler", [stalls(5.0), streams(chunk({"content": "a"}), stall_s=5.0)], ids=["silent", "stalled"])
async def test_cancelling_closes_the_connection(provider: Provider, model: OpenAIModel, handler: Any) -> None:
    provider.script.append(handler)
    task = asyncio.ensure_future(model.complete(question(), context(), Watcher()))
    await _until(lambda: bool(provider.requests))
    await asyncio.sleep(0.05)
    cancelled_at = time.monotonic()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await _until(lambda: bool(provider.hung_up_at))
    assert provider.hung_up_at[0] - cancelled_at < 0.25


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html", "<html><h1>502 Bad Gateway</h1></html>"),
        ("application/json", '{"choices": []}'),
        ("application/json", '{"choices": [{"message": {"content": null}, "finish_reason": "stop"}]}'),
        ("application/json", "{}"),
        ("application/json", "[1]"),
        ("application/json", '{"choices": [{"message"'),
        ("application/json", '{"choices": {"0": 1}, "usage": "none"}'),
        ("application/json", '{"choices": [{"message": {"tool_calls": [{"function": {"arguments": "{}"}}]}}]}'),
    ],
    ids=["html", "no choices", "null content", "empty", "array", "cut", "wrong types", "call without name"],
)
async def test_what_is_no_answer_is_invalid(provider: Provider, model: OpenAIModel, kind: str, body: str) -> None:
    provider.script.append(responds(200, body, kind=kind))

    with pytest.raises(ModelInvalid):
        await model.complete(question(), context())


async def test_a_page_instead_of_a_stream_is_quoted_shortly(provider: Provider, model: OpenAIModel) -> None:
    provider.script.append(responds(200, "data: <html>" + "\x1b[1m no " * 100 + "\n\n", kind="text/html"))

    with pytest.raises(ModelInvalid, match="<html>") as caught:
        await model.complete(question(), context(), Watcher())

    assert len(str(caught.value)) < 300
    assert "\x1b" not in str(caught.value)


async def test_an_error_inside_a_stream_is_an_error(provider: Provider, model: OpenAIModel) -> None:
    failed = b'data: {"error": {"message": "overloaded", "code": 503}}\n\n'
    provider.script.append(streams(chunk({"content": "Hel"}), failed))

    with pytest.raises(ModelUnavailable, match="overloaded") as caught:
        await model.complete(question(), context(), Watcher())

    assert (caught.value.status, caught.value.delivered) == (503, True)


async def test_an_answer_stopped_by_the_content_filter_says_so_and_does_nothing(
    provider: Provider, model: OpenAIModel
) -> None:
    provider.script.append(completion("I ca", calls=[called("get_weather", "{}")], finish="content_filter"))

    reply = await model.complete(question(), context())

    assert (reply.finish_reason, reply.text, reply.tool_calls) == ("content_filter", "I ca", ())


@pytest.mark.row("R3")
@pytest.mark.parametrize("watched", [True, False])
async def test_a_reply_cut_inside_a_tool_call_is_truncated(provider: Provider, model: OpenAIModel, watched: bool) -> None:
    cut = called("get_weather", '{"city": "Os')
    provider.script.append(
        streams(chunk({"tool_calls": [{"index": 0, **cut}]}), chunk({}, "length"), chunk(usage=USAGE), DONE)
        if watched
        else completion(calls=[cut], finish="length")
    )

    with pytest.raises(Truncated) as caught:
        await model.complete(question(), context(), Watcher() if watched else None)

    assert caught.value.usage is not None
    assert caught.value.usage.total_tokens == 25


async def test_a_text_cut_at_the_limit_is_kept(provider: Provider, model: OpenAIModel) -> None:
    provider.script.append(completion("Once upon", finish="length"))

    reply = await model.complete(question(), context())

    assert (reply.text, reply.finish_reason) == ("Once upon", "length")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ('{"city": "Os', "not JSON"),
        ("__import__('os').system('id')", "not JSON"),
        ('{"n": NaN}', "not JSON"),
        ("[1]", "array"),
        ('"Oslo"', "string"),
        ("null", "null"),
        ("7", "number"),
        ('{"a":' * 70 + "1" + "}" * 70, "levels deep"),
        (json.dumps({"city": "x" * 300_000}), "longer than"),
    ],
    ids=["cut", "code", "nan", "array", "string", "null", "number", "deep", "long"],
)
async def test_arguments_that_are_no_object_make_a_malformed_call(
    provider: Provider, model: OpenAIModel, arguments: str, reason: str
) -> None:
    provider.script.append(completion(calls=[called("get_weather", arguments)], finish="tool_calls"))

    reply = await model.complete(question(), context())

    (call,) = reply.tool_calls
    assert reason in (call.malformed or "")
    assert call.args == {}


async def test_two_calls_with_one_id_stay_two(provider: Provider, model: OpenAIModel) -> None:
    calls = [called("get_weather", {"city": "Oslo"}), called("get_weather", "")]
    provider.script.append(completion("Both.", calls=calls, finish="stop"))

    reply = await model.complete(question(), context())

    assert [call.args for call in reply.tool_calls] == [{"city": "Oslo"}, {}]
    assert (reply.text, reply.finish_reason) == ("Both.", "tool_calls")


async def test_a_lone_surrogate_in_a_reply_is_replaced(provider: Provider, model: OpenAIModel) -> None:
    body = '{"choices": [{"message": {"content": "ok \\ud83d \\ud83d\\ude00"}, "finish_reason": "stop"}]}'
    provider.script.append(responds(200, body))

    reply = await model.complete(question("lone \ud83d"), context())

    assert reply.text == "ok \ufffd 😀"


@pytest.mark.parametrize(
    "usage", [None, {}, {"prompt_tokens": -5, "completion_tokens": 10**12}, {"prompt_tokens": "many"}, 7]
)
async def test_missing_or_absurd_usage_becomes_a_marked_estimate(provider: Provider, model: OpenAIModel, usage: Any) -> None:
    provider.script.append(completion("Hello there.", usage=usage))

    reply = await model.complete(question(), context())

    assert reply.usage.estimated
    assert 0 < reply.usage.prompt_tokens < 100
    assert 0 < reply.usage.completion_tokens < 10


async def test_cached_and_reasoning_tokens_are_parts_of_the_whole(provider: Provider, model: OpenAIModel) -> None:
    details = {"prompt_tokens_details": {"cached_tokens": 12}, "completion_tokens_details": {"reasoning_tokens": 900}}
    provider.script.append(completion("Hello.", usage={**USAGE, **details}))

    reply = await model.complete(question(), context())

    assert (reply.usage.cached_tokens, reply.usage.reasoning_tokens) == (12, 5)
    assert reply.usage.cost_usd is None


async def test_a_body_that_inflates_beyond_the_bound_is_refused(provider: Provider, model: OpenAIModel) -> None:
    bomb = gzip.compress(b" " * (64 << 20))
    provider.script.append(responds(200, bomb, headers={"Content-Encoding": "gzip"}))

    with pytest.raises(ModelInvalid, match="longer than"):
        await model.complete(question(), context())


async def test_a_compressed_reply_is_read(provider: Provider, model: OpenAIModel) -> None:
    body = gzip.compress(b'{"choices": [{"message": {"content": "small"}, "finish_reason": "stop"}]}')
    provider.script.append(responds(200, body, headers={"Content-Encoding": "gzip"}))

    reply = await model.complete(question(), context())

    assert reply.text == "small"


async def test_a_conversation_of_megabytes_is_sent(provider: Provider, model: OpenAIModel) -> None:
    reply = await model.complete(question("x" * (3 << 20)), context())

    assert reply.text == "Hello."
    assert len(provider.requests[0]["messages"][1]["content"]) == 3 << 20


async def test_a_private_address_nobody_allowed_is_refused_unsent(provider: Provider) -> None:
    async with GuardedClient() as client:
        model = OpenAIModel("local:m", base_url=provider.base_url, api_key="", client=client)

        with pytest.raises(ModelRefused, match="not a public address"):
            await model.complete(question(), context())

    assert provider.requests == []


async def test_a_key_that_no_header_can_carry_is_a_configuration_error(make_model: MakeModel) -> None:
    with pytest.raises(Misconfigured):
        make_model(api_key="sk-\r\nX-Evil: 1")


async def _until(condition: Callable[[], bool], within_s: float = 2.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.row("G9", part="metering")
@pytest.mark.parametrize("end", [{"cut": True}, {"stall_s": 30.0}, {}], ids=["cut", "stalled", "ended"])
async def test_a_stream_that_broke_off_tells_what_it_consumed(
    provider: Provider, make_model: MakeModel, end: dict[str, Any]
) -> None:
    provider.script.append(streams(chunk({"content": "word " * 40}), **end))

    with pytest.raises((ModelUnavailable, ModelInvalid)) as failed:
        await make_model(idle_timeout_s=0.1).complete(question("word " * 100), context(), Watcher())

    usage = failed.value.usage
    assert usage is not None
    assert (usage.estimated, usage.cost_usd) == (True, None)
    assert 90 <= usage.prompt_tokens <= 130
    assert 35 <= usage.completion_tokens <= 50
