"""What every provider's dialect has in common when its server fails: statuses, cuts, stalls, lies and silence."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from quarterdeck.core.errors import (
    ContextTooLarge,
    DeadlineExceeded,
    ModelInvalid,
    ModelRefused,
    ModelUnavailable,
    Truncated,
)
from quarterdeck.core.events import Delta
from quarterdeck.core.messages import ToolCall
from quarterdeck.models.base import Model
from quarterdeck.net import GuardedClient
from tests.dialects import DIALECTS, KEY, Called, Dialect
from tests.provider import WEATHER, Provider, context, hangs_up, question, responds, stalls, streams

WORDS = ("Hel", "lo, 世界", ".")
OSLO = Called("get_weather", ('{"ci', 'ty": "Os', 'lo"}'))
ROME = Called("get_weather", ('{"city"', ': "Rome"}'), id="call_2")


class Watcher:
    def __init__(self) -> None:
        self.deltas: list[Delta] = []

    async def __call__(self, delta: Delta) -> None:
        self.deltas.append(delta)

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.deltas if delta.kind == "text")


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    return DIALECTS[request.param]


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider() as provider:
        yield provider


@pytest.fixture
async def make(provider: Provider, dialect: Dialect) -> AsyncIterator[Callable[..., Model]]:
    async with GuardedClient(allowed_origins=[provider.origin]) as client:
        yield lambda **options: dialect.model(provider, client, **options)


@pytest.fixture
def model(make: Callable[..., Model]) -> Model:
    return make()


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def watcher(request: pytest.FixtureRequest) -> Watcher | None:
    return Watcher() if request.param else None


@pytest.mark.row("R1", part="dialects")
async def test_text_is_read_with_what_it_consumed(
    dialect: Dialect, provider: Provider, model: Model, watcher: Watcher | None
) -> None:
    provider.script.append(dialect.answers(WORDS, watched=watcher is not None))

    reply = await model.complete(question(), context(), watcher)

    assert (reply.text, reply.finish_reason, reply.attempts) == ("Hello, 世界.", "stop", 1)
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.estimated) == (20, 5, False)
    assert reply.usage.cached_tokens == 8
    assert watcher is None or watcher.text == reply.text


@pytest.mark.row("R1", part="dialects")
@pytest.mark.row("R3", part="dialects")
async def test_parallel_calls_are_read_in_their_order(
    dialect: Dialect, provider: Provider, model: Model, watcher: Watcher | None
) -> None:
    provider.script.append(dialect.answers(("Let me look.",), [OSLO, ROME], "tool_calls", watched=watcher is not None))

    reply = await model.complete(question(tools=(WEATHER,)), context(), watcher)

    assert reply.tool_calls == (
        ToolCall(id="call_1", name="get_weather", args={"city": "Oslo"}),
        ToolCall(id="call_2", name="get_weather", args={"city": "Rome"}),
    )
    assert (reply.text, reply.finish_reason) == ("Let me look.", "tool_calls")
    assert watcher is None or [delta.text for delta in watcher.deltas if delta.kind == "tool_start"] == ["get_weather"] * 2


@pytest.mark.row("R2", part="dialects")
@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
async def test_what_may_pass_is_unavailable(dialect: Dialect, provider: Provider, model: Model, status: int) -> None:
    body = json.dumps(dialect.error("try later"))
    provider.script.append(responds(status, body, headers={"Retry-After": "3"}))

    with pytest.raises(ModelUnavailable, match=f"answered {status}: try later") as caught:
        await model.complete(question(), context())

    assert (caught.value.status, caught.value.retry_after_s, caught.value.delivered) == (status, 3.0, False)


@pytest.mark.row("R2", part="dialects")
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
async def test_what_cannot_pass_is_refused(dialect: Dialect, provider: Provider, model: Model, status: int) -> None:
    provider.script.append(responds(status, json.dumps(dialect.error(f"not like this, {KEY}", "invalid_request_error"))))

    with pytest.raises(ModelRefused, match="not like this") as caught:
        await model.complete(question(), context())

    assert caught.value.status == status
    assert KEY not in str(caught.value)
    assert len(provider.requests) == 1


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 8192 tokens",
        "prompt is too long: 208310 tokens > 200000 maximum",
        "Your input exceeds the context window of this model.",
    ],
)
async def test_a_conversation_that_is_too_long_is_told_apart(
    dialect: Dialect, provider: Provider, model: Model, message: str
) -> None:
    provider.script.append(responds(400, json.dumps(dialect.error(message, "invalid_request_error"))))

    with pytest.raises(ContextTooLarge):
        await model.complete(question(), context())


@pytest.mark.row("R2", part="dialects")
async def test_a_parameter_the_model_does_not_take_is_left_out_from_then_on(
    dialect: Dialect, provider: Provider, model: Model
) -> None:
    error = dialect.error("`temperature` is not supported with this model.", "invalid_request_error")
    error["error"] |= {"param": "temperature"}
    provider.script.append(responds(400, json.dumps(error)))
    provider.otherwise = dialect.obliging

    first = await model.complete(question(), context())
    second = await model.complete(question(), context())

    assert (first.attempts, second.attempts) == (2, 1)
    assert ["temperature" in sent for sent in provider.requests] == [True, False, False]


@pytest.mark.row("R2", part="cuts")
@pytest.mark.parametrize("calls", [(), (OSLO, ROME)], ids=["text", "calls"])
async def test_a_stream_cut_after_any_event_is_whole_or_unavailable(
    dialect: Dialect, provider: Provider, model: Model, calls: tuple[Called, ...]
) -> None:
    events = list(dialect.stream(WORDS, calls, "tool_calls" if calls else "stop"))
    for cut in range(len(events)):
        whole = cut >= len(events) - 1
        for into in (0, len(events[cut]) // 2):
            watcher = Watcher()
            provider.script.append(streams(b"".join(events[:cut]) + events[cut][:into], cut=True))

            asking = model.complete(question(tools=(WEATHER,)), context(), watcher)
            if whole:
                reply = await asking
                assert (reply.text, len(reply.tool_calls)) == ("Hello, 世界.", len(calls))
            else:
                with pytest.raises(ModelUnavailable) as caught:
                    await asking
                assert caught.value.delivered is bool(watcher.deltas)


@pytest.mark.row("R2", part="cuts")
@pytest.mark.parametrize("watched", [True, False])
async def test_a_connection_closed_without_a_word_is_unavailable(provider: Provider, model: Model, watched: bool) -> None:
    provider.script.append(hangs_up)

    with pytest.raises(ModelUnavailable):
        await model.complete(question(), context(), Watcher() if watched else None)


async def test_a_stream_that_ends_before_the_reply_does_is_invalid(
    dialect: Dialect, provider: Provider, model: Model
) -> None:
    events = list(dialect.stream(WORDS))
    provider.script.append(streams(*events[:-2]))

    with pytest.raises(ModelInvalid, match="ended before the reply did") as caught:
        await model.complete(question(), context(), Watcher())

    assert caught.value.usage is not None


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html", "<html><h1>502 Bad Gateway</h1></html>"),
        ("application/json", "{}"),
        ("application/json", "[1]"),
        ("application/json", '{"type": "message", "object": "response", "output": {"a": 1}, "content": 7, "choices": 7}'),
        ("application/json", '{"content": [{"type"'),
        ("application/json", '{"type": "message", "content": [null, 7], "output": [null, 7], "choices": [null, 7]}'),
    ],
    ids=["html", "empty", "array", "wrong types", "cut", "nulls"],
)
async def test_what_is_no_answer_is_invalid(
    provider: Provider, model: Model, kind: str, body: str, watcher: Watcher | None
) -> None:
    provider.script.append(responds(200, body, kind=kind))

    with pytest.raises(ModelInvalid):
        await model.complete(question(), context(), watcher)


async def test_a_page_instead_of_a_stream_is_invalid(provider: Provider, model: Model) -> None:
    provider.script.append(responds(200, "data: <html>no</html>\n\n", kind="text/html"))

    with pytest.raises(ModelInvalid, match="<html>"):
        await model.complete(question(), context(), Watcher())


@pytest.mark.row("R2", part="dialects")
@pytest.mark.parametrize("kind", ["rate_limit_exceeded", "server_error", "overloaded_error"])
async def test_an_error_inside_a_stream_is_unavailable(
    dialect: Dialect, provider: Provider, model: Model, kind: str
) -> None:
    if dialect.name == "responses" and kind == "overloaded_error":
        kind = "server_error"
    begun = list(dialect.stream(WORDS))[:5]
    provider.script.append(streams(*begun, dialect.late_error("overloaded", kind)))
    watcher = Watcher()

    with pytest.raises(ModelUnavailable, match="overloaded") as caught:
        await model.complete(question(), context(), watcher)

    assert caught.value.delivered is bool(watcher.deltas)


@pytest.mark.row("R3", part="dialects")
async def test_a_reply_cut_inside_a_tool_call_is_truncated(
    dialect: Dialect, provider: Provider, model: Model, watcher: Watcher | None
) -> None:
    cut = Called("get_weather", ('{"city": "Os',))
    provider.script.append(dialect.answers((), [cut], "length", watched=watcher is not None))

    with pytest.raises(Truncated) as caught:
        await model.complete(question(), context(), watcher)

    assert caught.value.usage is not None
    assert caught.value.usage.total_tokens == 25


async def test_a_text_cut_at_the_limit_is_kept(
    dialect: Dialect, provider: Provider, model: Model, watcher: Watcher | None
) -> None:
    provider.script.append(dialect.answers(("Once upon",), (), "length", watched=watcher is not None))

    reply = await model.complete(question(), context(), watcher)

    assert (reply.text, reply.finish_reason) == ("Once upon", "length")


async def test_an_answer_stopped_by_the_content_filter_does_nothing(
    dialect: Dialect, provider: Provider, model: Model, watcher: Watcher | None
) -> None:
    provider.script.append(dialect.answers(("I ca",), [OSLO], "content_filter", watched=watcher is not None))

    reply = await model.complete(question(), context(), watcher)

    assert (reply.text, reply.finish_reason, reply.tool_calls) == ("I ca", "content_filter", ())


@pytest.mark.parametrize("usage", [None, {}, 7, {"prompt_tokens": -5, "input_tokens": "many", "output_tokens": 10**12}])
async def test_missing_or_absurd_usage_becomes_a_marked_estimate(
    dialect: Dialect, provider: Provider, model: Model, usage: Any
) -> None:
    provider.script.append(responds(200, json.dumps({**dialect.whole("Hello there."), "usage": usage})))

    reply = await model.complete(question(), context())

    assert reply.usage.estimated
    assert 0 < reply.usage.prompt_tokens < 100
    assert 0 < reply.usage.completion_tokens < 10


@pytest.mark.row("R2", part="dialects")
async def test_a_stalled_stream_is_cut_by_the_idle_timeout(
    dialect: Dialect, provider: Provider, make: Callable[..., Model]
) -> None:
    provider.script.append(streams(*list(dialect.stream(WORDS))[:-2], stall_s=5.0))
    started = time.monotonic()

    with pytest.raises(ModelUnavailable, match="in time"):
        await make(idle_timeout_s=0.1).complete(question(), context(), Watcher())

    assert time.monotonic() - started < 1.0


@pytest.mark.row("R2", part="dialects")
@pytest.mark.parametrize("stalled", [False, True], ids=["silent", "mid-stream"])
async def test_cancelling_the_caller_closes_the_connection_within_a_quarter_second(
    dialect: Dialect, provider: Provider, model: Model, stalled: bool
) -> None:
    began = asyncio.Event()
    handler = streams(*list(dialect.stream(WORDS))[:-2], stall_s=5.0) if stalled else stalls(5.0)
    provider.script.append(handler)

    async def note(delta: Delta) -> None:
        began.set()

    task = asyncio.ensure_future(model.complete(question(), context(), note))
    await (began.wait() if stalled else _until(lambda: bool(provider.requests)))
    cancelled_at = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await _until(lambda: bool(provider.hung_up_at))
    assert provider.hung_up_at[0] - cancelled_at < 0.25


@pytest.mark.row("R2", part="dialects")
async def test_the_deadline_ends_a_call_and_closes_its_connection(provider: Provider, model: Model) -> None:
    provider.script.append(stalls(5.0))
    ctx = context(within_s=0.2)

    with pytest.raises(DeadlineExceeded):
        await model.complete(question(), ctx, Watcher())

    await _until(lambda: bool(provider.hung_up_at))
    assert provider.hung_up_at[0] - ctx.deadline < 0.25


async def test_the_connection_is_kept_after_a_stream(dialect: Dialect, provider: Provider, model: Model) -> None:
    peers = set()

    async def note(request: Any) -> Any:
        peers.add(request.transport.get_extra_info("peername"))
        return await dialect.answers(WORDS, watched=True)(request)

    provider.otherwise = note

    for _ in range(3):
        await model.complete(question(), context(), Watcher())

    assert len(peers) == 1


async def _until(condition: Callable[[], bool], within_s: float = 2.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)
