"""Rate limits over HTTP: counted where the caller is known, told in headers, refused with 429."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from grpc import StatusCode, aio

from quarterdeck.core.events import RunStarted
from quarterdeck.service.limits import LimitRule, RateLimits
from quarterdeck.store.limits import MemoryLimits, Rate
from quarterdeck.transports.grpc import agent_pb2 as pb
from quarterdeck.transports.grpc.calls import Entrance
from quarterdeck.transports.grpc.server import serving as grpc_serving
from quarterdeck.transports.grpc.service import AgentService

from .conftest import KEYS, Served
from .test_grpc import Client, trailer
from .test_websocket import hear, opening, say
from .test_websocket import serving as ws_serving

ASK = {"message": "How long does a VPN session last?"}


def limited(served: Served, *rules: LimitRule) -> None:
    served.app.state.rates = RateLimits(rules, MemoryLimits(clock=lambda: 100.0))


@pytest.mark.row("S10", part="http")
async def test_one_request_too_many_is_429_and_says_when_the_next_is_taken(served: Served) -> None:
    limited(served, LimitRule(scope="user", rate=Rate(amount=2, window_s=30.0)))

    replies = [await served.send("POST", "/chat", ASK) for _ in range(3)]

    assert [reply.status for reply in replies] == [200, 200, 429]
    assert replies[2].code == "rate_limited"
    assert replies[2].headers["retry-after"] == "30"
    assert [reply.headers["ratelimit-remaining"] for reply in replies] == ["1", "0", "0"]
    assert {reply.headers["ratelimit-limit"] for reply in replies} == {"2"}
    assert replies[0].headers["ratelimit-reset"] == "30"


@pytest.mark.row("S10", part="http")
async def test_routes_are_counted_by_their_template(served: Served) -> None:
    limited(served, LimitRule(scope="route", names=("/api/v1/runs/{run_id}",), rate=Rate(amount=1, window_s=30.0)))

    statuses = [(await served.send("GET", f"/api/v1/runs/r{number}")).status for number in range(2)]

    assert statuses == [404, 429]
    assert (await served.send("GET", "/api/v1/runs")).status == 200


async def test_another_caller_has_a_counter_of_his_own(served: Served) -> None:
    limited(served, LimitRule(scope="user", rate=Rate(amount=1, window_s=30.0)))
    await served.send("GET", "/api/v1/runs", key=KEYS["emma"])

    statuses = [(await served.send("GET", "/api/v1/runs", key=KEYS[name])).status for name in ("emma", "omar")]

    assert statuses == [429, 200]


async def test_a_caller_that_is_not_known_is_not_counted_for_anybody(served: Served) -> None:
    limited(served, LimitRule(scope="user", rate=Rate(amount=1, window_s=30.0)))

    statuses = [(await served.send("GET", "/api/v1/runs", key="qd_wrong")).status for _ in range(3)]

    assert statuses == [401] * 3
    assert (await served.send("GET", "/api/v1/runs")).status == 200


async def test_without_rules_nothing_is_told(served: Served) -> None:
    reply = await served.send("GET", "/api/v1/runs")

    assert not [name for name in reply.headers if name.startswith("ratelimit")]


@pytest.mark.row("S10", part="openai")
async def test_clients_of_openai_are_told_in_their_words_and_try_again(served: Served) -> None:
    limited(served, LimitRule(scope="route", rate=Rate(amount=1, window_s=30.0, burst=1)))
    body = {"model": "support", "messages": [{"role": "user", "content": "Hello?"}]}
    await served.send("POST", "/v1/chat/completions", body)

    reply = await served.send("POST", "/v1/chat/completions", body)

    assert (reply.status, reply.json["error"]["code"]) == (429, "rate_limit_exceeded")
    assert (reply.headers["retry-after"], reply.headers["x-should-retry"]) == ("30", "true")


async def test_a_million_small_requests_end_at_the_limit(served: Served) -> None:
    limited(served, LimitRule(scope="tenant", rate=Rate(amount=50, window_s=60.0)))

    statuses = [(await served.send("GET", "/api/v1/runs")).status for _ in range(200)]

    assert (statuses.count(200), statuses.count(429)) == (50, 150)


@pytest.mark.row("S10", part="grpc")
async def test_a_call_too_many_is_resource_exhausted_with_seconds_to_wait(served: Served) -> None:
    rule = LimitRule(scope="route", names=("agent.AgentService/Query",), rate=Rate(amount=1, window_s=30.0))
    rates = RateLimits([rule], MemoryLimits(clock=lambda: 100.0))
    service = AgentService(served.app.state.desk, Entrance(served.app.state.access, rates=rates), answer_timeout_s=5.0)
    metadata = (("authorization", f"Bearer {KEYS['emma']}"),)
    async with (
        grpc_serving(service, host="127.0.0.1", port=0, max_message_bytes=131_072) as server,
        aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        client = Client(channel)
        await client.query(pb.QueryRequest(query="Hi"), metadata=metadata, timeout=10)

        with pytest.raises(aio.AioRpcError) as caught:
            await client.query(pb.QueryRequest(query="Hi"), metadata=metadata, timeout=10)

    assert caught.value.code() is StatusCode.RESOURCE_EXHAUSTED
    assert trailer(caught.value, "error-code") == "rate_limited"
    assert trailer(caught.value, "retry-after") == "30"


@pytest.mark.row("S11", part="grpc deadline")
async def test_the_deadline_of_a_call_stands_in_its_run(served: Served) -> None:
    service = AgentService(served.app.state.desk, Entrance(served.app.state.access), answer_timeout_s=5.0)
    metadata = (("authorization", f"Bearer {KEYS['emma']}"),)
    before = datetime.now(UTC)
    async with (
        grpc_serving(service, host="127.0.0.1", port=0, max_message_bytes=131_072) as server,
        aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        await Client(channel).query(pb.QueryRequest(query="Hi"), metadata=metadata, timeout=60)

    (row,) = await served.store.journal.runs("acme")
    started = await anext(entry.event async for entry in served.store.journal.read("acme", row.run_id))
    assert isinstance(started, RunStarted)
    assert started.deadline is not None
    assert timedelta(seconds=50) < started.deadline - before < timedelta(seconds=60)


@pytest.mark.row("S10", part="websocket")
async def test_a_message_too_many_is_an_error_and_the_connection_stays(served: Served) -> None:
    rule = LimitRule(scope="route", names=("/api/v1/stream",), rate=Rate(amount=2, window_s=30.0))
    rates = RateLimits([rule], MemoryLimits(clock=lambda: 100.0))
    async with ws_serving(served, rates=rates) as (port, _), opening(port, KEYS["emma"]) as client:
        await say(client, "cancel", run_id="none")
        first = await hear(client)
        await say(client, "cancel", run_id="none")
        second = await hear(client)
        await say(client, "ping")
        third = await hear(client)

    assert first["error"]["code"] == "not_found"
    assert (second["error"]["code"], second["error"]["retryable"]) == ("rate_limited", True)
    assert third["type"] == "pong"
