"""The fault matrix: every kind, every place, every API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quarterdeck.core.errors import InvalidInput
from quarterdeck.devtools.simulator import Fault, RateLimit, VirtualClock
from quarterdeck.devtools.simulator.faults import parse_fault
from tests.unit.devtools.simulator.asking import Heard, chat, claude, send, simulator

pytestmark = pytest.mark.row("D1", part="faults")

APIS: dict[str, Any] = {
    "/v1/chat/completions": chat("Hello."),
    "/v1/responses": {"model": "gpt-5", "input": "Hello."},
    "/v1/messages": claude("Hello."),
}
ERRORS = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    408: "api_error", 409: "api_error", 413: "request_too_large", 429: "rate_limit_error", 500: "api_error",
    502: "api_error", 503: "api_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip


async def ask(fault: Fault | str, path: str, *, stream: bool = False, patience_s: float | None = None) -> Heard:
    if isinstance(fault, str):
        fault = parse_fault(fault)
    return await send(simulator(faults=[fault]), path, {**APIS[path], "stream": stream}, patience_s=patience_s)


@pytest.mark.parametrize("status", ERRORS)
@pytest.mark.parametrize("path", APIS)
async def test_every_status_has_the_error_body_of_the_provider(path: str, status: int) -> None:
    heard = await ask(Fault(kind="status", status=status), path)

    assert heard.status == status
    if "/messages" in path:
        assert heard.json["type"] == "error"
        assert heard.error["type"] == ERRORS[status]
    else:
        assert set(heard.error) == {"message", "type", "param", "code"}
        assert (heard.error["type"] == "server_error") == (status >= 500)


@pytest.mark.parametrize("path", APIS)
async def test_rate_limit_tells_when_to_come_back(path: str) -> None:
    heard = await ask("429 retry_after_s=2.5", path)

    assert (heard.status, heard.headers["retry-after"]) == (429, "2.5")
    prefix = "anthropic-ratelimit-requests-remaining" if "/messages" in path else "x-ratelimit-remaining-requests"
    assert heard.headers[prefix] == "0"
    assert ("retry-after-ms" in heard.headers) == ("/messages" not in path)


async def test_quota_that_is_used_up_says_so() -> None:
    heard = await ask("429 code=insufficient_quota kind_of_error=insufficient_quota", "/v1/chat/completions")

    assert (heard.status, heard.error["code"], heard.error["type"]) == (429, "insufficient_quota", "insufficient_quota")
    assert "x-ratelimit-remaining-requests" not in heard.headers


async def whole_stream(path: str) -> list[bytes]:
    heard = await send(simulator(), path, {**APIS[path], "stream": True})
    return [event + b"\n\n" for event in heard.body.split(b"\n\n")[:-1]]


@pytest.mark.parametrize("path", APIS)
async def test_stream_is_cut_after_any_chunk(path: str) -> None:
    events = await whole_stream(path)

    for position in range(len(events)):
        heard = await ask(f"cut after_chunk={position}", path, stream=True)

        assert heard.was_cut
        assert heard.status == 200
        assert heard.body == b"".join(events[:position])


@pytest.mark.parametrize("path", APIS)
async def test_connection_is_cut_before_a_word(path: str) -> None:
    heard = await ask("cut", path, stream=True)

    assert heard.was_cut
    assert (heard.status, heard.body) == (0, b"")


@pytest.mark.parametrize("path", APIS)
async def test_whole_reply_is_cut_in_its_middle(path: str) -> None:
    heard = await ask("cut after_chunk=1", path)

    assert heard.was_cut
    assert heard.body
    with pytest.raises(json.JSONDecodeError):
        json.loads(heard.body)


@pytest.mark.parametrize("path", APIS)
async def test_stream_ends_early_but_in_order(path: str) -> None:
    events = await whole_stream(path)

    heard = await ask("end after_chunk=3", path, stream=True)

    assert not heard.was_cut
    assert heard.body == b"".join(events[:3])


@pytest.mark.parametrize("path", APIS)
async def test_stalled_stream_is_silent_until_the_client_leaves(path: str) -> None:
    app = simulator(faults=[parse_fault("stall after_chunk=2")])

    heard = await send(app, path, {**APIS[path], "stream": True}, patience_s=0.02)

    assert heard.body == b"".join((await whole_stream(path))[:2])
    assert [entry.ended for entry in app.journal] == ["stalled"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", APIS)
async def test_malformed_json_is_where_it_was_ordered(path: str, stream: bool) -> None:
    heard = await ask("malformed after_chunk=2", path, stream=stream)

    assert heard.status == 200
    if not stream:
        with pytest.raises(json.JSONDecodeError):
            json.loads(heard.body)
        return
    events = [event for event in heard.body.split(b"\n\n") if event]
    assert events[:2] == [event.strip() for event in (await whole_stream(path))[:2]]
    with pytest.raises(json.JSONDecodeError):
        json.loads(events[2].partition(b"data: ")[2])


@pytest.mark.parametrize("path", APIS)
async def test_proxy_answers_html_with_success(path: str) -> None:
    heard = await ask("html", path)

    assert (heard.status, heard.headers["content-type"]) == (200, "text/html")
    assert heard.body.startswith(b"<!DOCTYPE html>")


@pytest.mark.parametrize("path", APIS)
async def test_error_arrives_inside_the_stream(path: str) -> None:
    heard = await ask("error_event after_chunk=3", path, stream=True)

    assert "error" in heard.events[3]
    if "/messages" in path:
        assert b"event: error\n" in heard.body
        assert heard.events[3]["error"]["type"] == "overloaded_error"


@pytest.mark.parametrize("path", APIS)
async def test_fragments_cut_the_bytes_anywhere(path: str) -> None:
    heard = await ask("fragments size=3", path, stream=True)

    assert max(map(len, heard.writes)) == 3
    assert heard.body == b"".join(await whole_stream(path))


async def test_fault_happens_to_the_request_it_is_meant_for() -> None:
    app = simulator(faults=[parse_fault("503 request=3")])

    statuses = [(await send(app, "/v1/chat/completions", chat())).status for _ in range(5)]

    assert statuses == [200, 200, 503, 200, 200]


async def test_fault_happens_so_many_times_to_one_model() -> None:
    app = simulator(faults=[Fault(kind="status", status=500, model="gpt-5*", times=2)])

    mini = [(await send(app, "/v1/chat/completions", chat() | {"model": "gpt-5-mini"})).status for _ in range(3)]
    other = await send(app, "/v1/chat/completions", chat() | {"model": "o9"})

    assert mini == [500, 500, 200]
    assert other.status == 200


async def test_faults_by_chance_are_the_same_for_the_same_seed() -> None:
    async def statuses(seed: int) -> list[int]:
        app = simulator(seed=seed, faults=[Fault(kind="status", chance=0.5)])
        return [(await send(app, "/v1/chat/completions", chat(f"{n}"))).status for n in range(20)]

    assert await statuses(1) == await statuses(1)
    assert await statuses(1) != await statuses(2)
    assert set(await statuses(1)) == {200, 500}


async def test_header_breaks_one_request_only() -> None:
    app = simulator()

    broken = await send(app, "/v1/chat/completions", chat(), x_sim_fault="503 retry_after_s=1")
    fine = await send(app, "/v1/chat/completions", chat())

    assert (broken.status, broken.headers["retry-after"], fine.status) == (503, "1", 200)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "explode",
        "cut after_chunk=many",
        "cut when=now",
        "fragments size=0",
        "429 retry_after_s=nan",
        "503 retry_after_s=-1",
    ],
)
async def test_fault_nobody_knows_is_refused_loudly(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_fault(text)

    heard = await send(simulator(), "/v1/chat/completions", chat(), x_sim_fault=text or " ")

    assert (heard.status, heard.error["type"]) == (400, "simulator_error")


async def test_bucket_refuses_when_empty_and_refills_with_the_clock() -> None:
    clock = VirtualClock()
    app = simulator(rate_limit=RateLimit(requests_per_min=2), clock=clock)

    first, second, third = [await send(app, "/v1/chat/completions", chat()) for _ in range(3)]
    clock.advance(float(third.headers["retry-after"]))
    fourth = await send(app, "/v1/chat/completions", chat())

    assert [one.status for one in (first, second, third, fourth)] == [200, 200, 429, 200]
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert third.headers["x-ratelimit-limit-requests"] == "2"
    assert third.error["code"] == "rate_limit_exceeded"
    assert "Please try again in" in third.error["message"]


async def test_bucket_counts_tokens_too() -> None:
    app = simulator(rate_limit=RateLimit(requests_per_min=100, tokens_per_min=60))

    small = await send(app, "/v1/messages", claude("Hi."))
    large = await send(app, "/v1/messages", claude("word " * 200))

    assert (small.status, large.status) == (200, 429)
    assert large.error["type"] == "rate_limit_error"
    assert int(large.headers["anthropic-ratelimit-tokens-remaining"]) < 60
