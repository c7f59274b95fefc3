"""Circuits that replicas share in a real Redis, and what happens when it is stopped, frozen, or never was there."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from redis import Redis

from quarterdeck.app.chains import Chains, circuits
from quarterdeck.core.errors import Misconfigured, ModelUnavailable
from quarterdeck.models.base import Completion
from quarterdeck.settings import Settings
from quarterdeck.settings.schema import ModelSettings
from quarterdeck.store.breaker import Admission, BreakerRule, Circuit, MemoryBreaker, Outcome
from quarterdeck.store.breaker_redis import PREFIX, RedisBreaker
from quarterdeck.telemetry.metrics import Metrics
from tests.contracts.test_breaker import Switched, Time, ask, end
from tests.redis_server import RedisServer

RULE = BreakerRule(share=0.5, minimum=4, window_s=10.0, open_s=5.0, probe_s=60.0)
GOOD, BAD, VOID = Outcome.SUCCEEDED, Outcome.FAILED, Outcome.VOID
Opened = Callable[..., RedisBreaker]

_T = TypeVar("_T")


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    """Opens a replica's state, and closes it in the end."""
    all_opened: list[RedisBreaker] = []

    def open_one(url: str, **options: object) -> RedisBreaker:
        all_opened.append(RedisBreaker(url, **{"rule": RULE, "timeout_s": 5.0, **options}))
        return all_opened[-1]

    yield open_one
    for state in all_opened:
        await state.close()


async def until(look: Callable[[], Awaitable[_T | None]]) -> _T:
    give_up_at = time.monotonic() + 10
    while (found := await look()) is None:
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.01)
    return found


def shared(state: RedisBreaker) -> Callable[[], Awaitable[Admission | None]]:
    """Looks for an admission that Redis decided."""

    async def look() -> Admission | None:
        alone = state.alone
        admission = await state.admit("x")
        return admission if state.alone == alone else None

    return look


@pytest.mark.row("R4", part="redis breaker")
async def test_what_one_replica_finds_out_holds_for_the_other(redis_url: str, opened: Opened) -> None:
    one, other = opened(redis_url), opened(redis_url)

    await end(one, BAD, BAD)
    await end(other, BAD, BAD)

    assert [(await state.admit("x")).circuit for state in (one, other)] == [Circuit.OPEN] * 2


@pytest.mark.row("R4", part="redis breaker")
async def test_of_fifty_callers_on_each_of_two_replicas_one_is_the_probe(redis_url: str, opened: Opened) -> None:
    clock = Time()
    one, other = opened(redis_url, clock=clock), opened(redis_url, clock=clock)
    await end(one, *[BAD] * 4)
    clock.now += RULE.open_s

    found = await asyncio.gather(*(state.admit("x") for _ in range(50) for state in (one, other)))

    assert sorted(admission.circuit for admission in found) == [Circuit.OPEN] * 99 + [Circuit.PROBE]
    assert one.alone == other.alone == 0


@pytest.mark.row("R4", part="redis breaker")
async def test_the_probe_of_one_replica_closes_the_circuit_for_the_other(redis_url: str, opened: Opened) -> None:
    rule = BreakerRule(minimum=4, open_s=0.0)
    one, other = opened(redis_url, rule=rule), opened(redis_url, rule=rule)
    await end(one, *[BAD] * 4)

    await one.report("x", await one.admit("x"), GOOD)

    assert (await other.admit("x")).circuit is Circuit.CLOSED


async def test_the_server_tells_the_time(redis_url: str, opened: Opened) -> None:
    state = opened(redis_url)
    await end(state, *[BAD] * 4)

    admission = await state.admit("x")

    assert 0 < admission.retry_after_s <= RULE.open_s
    with Redis.from_url(redis_url, decode_responses=True) as client:
        seconds, _ = client.time()
        assert float(client.hget(f"{PREFIX}x", "opened_until")) == pytest.approx(seconds + RULE.open_s, abs=3)


async def test_a_circuit_takes_few_fields_at_any_traffic_and_is_forgotten_with_time(redis_url: str, opened: Opened) -> None:
    clock = Time()
    state = opened(redis_url, clock=clock)

    for _ in range(300):
        await end(state, GOOD, GOOD, BAD)
        clock.now += 0.1

    with Redis.from_url(redis_url, decode_responses=True) as client:
        assert client.keys() == [f"{PREFIX}x"]
        assert client.hlen(f"{PREFIX}x") <= 2 * 21
        assert 0 < client.pttl(f"{PREFIX}x") <= 75_000


@pytest.mark.row("R4", part="redis breaker")
async def test_without_redis_a_process_goes_by_what_it_sees_itself(
    own_redis: RedisServer, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    state = opened(own_redis.url)
    model = Switched()
    chains = Chains(ModelSettings(retries=0), lambda name: model, folder=Path(), breakers=state)
    assert all(isinstance(reply, Completion) for reply in await ask(chains.whole("test:m"), 50))

    own_redis.stop()
    answered = await ask(chains.whole("test:m"), 50)
    model.error = ModelUnavailable("down")
    await end(state, *[BAD] * 4)
    refused = await state.admit("x")

    assert all(isinstance(reply, Completion) for reply in answered)
    assert refused.circuit is Circuit.OPEN
    assert state.outages == 1
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert str(own_redis.port) not in caplog.text


@pytest.mark.row("R4", part="redis breaker")
async def test_replicas_share_again_once_redis_is_back(own_redis: RedisServer, opened: Opened) -> None:
    one, other = opened(own_redis.url, alone_s=0.0), opened(own_redis.url, alone_s=0.0)
    own_redis.stop()
    await end(one, *[BAD] * 4)
    assert ((await one.admit("x")).circuit, (await other.admit("x")).circuit) == (Circuit.OPEN, Circuit.CLOSED)

    own_redis.start()
    await until(shared(one))
    await until(shared(other))
    await end(one, *[BAD] * 4)

    assert [(await state.admit("x")).circuit for state in (one, other)] == [Circuit.OPEN] * 2
    assert one.outages == 1


async def test_a_frozen_redis_holds_up_one_caller_at_a_time_and_none_for_long(
    own_redis: RedisServer, opened: Opened
) -> None:
    state = opened(own_redis.url, timeout_s=0.5, alone_s=60.0)
    await state.admit("x")
    own_redis.freeze()

    began = time.monotonic()
    first = await state.admit("x")
    waited_s = time.monotonic() - began
    rest = [await state.admit("x") for _ in range(1000)]

    assert {admission.circuit for admission in (first, *rest)} == {Circuit.CLOSED}
    assert 0.4 < waited_s < 5
    assert time.monotonic() - began - waited_s < 2
    assert (state.outages, state.alone) == (1, 1001)


@pytest.mark.row("R4", part="redis breaker")
async def test_a_probe_whose_answer_was_lost_is_given_back(own_redis: RedisServer, opened: Opened) -> None:
    clock = Time()
    state = opened(own_redis.url, timeout_s=0.5, alone_s=0.0, clock=clock)
    await end(state, *[BAD] * 4)
    clock.now += RULE.open_s
    own_redis.freeze()
    await state.admit("x")  # Redis will read it when it wakes up, and nobody will hear the answer

    own_redis.thaw()
    found = await until(shared(state))

    assert found.circuit is Circuit.PROBE


@pytest.mark.row("R4", part="redis breaker")
async def test_how_a_probe_ended_is_told_when_redis_is_back(own_redis: RedisServer, opened: Opened) -> None:
    clock = Time()
    state = opened(own_redis.url, timeout_s=0.5, alone_s=0.0, clock=clock)
    await end(state, *[BAD] * 4)
    clock.now += RULE.open_s
    probe = await state.admit("x")
    own_redis.freeze()
    await state.report("x", probe, GOOD)

    own_redis.thaw()
    found = await until(shared(state))

    assert found.circuit is Circuit.CLOSED


async def test_a_caller_who_leaves_spoils_no_connection(redis_url: str, opened: Opened) -> None:
    state = opened(redis_url, connections=1)
    await end(state, *[BAD] * 4, name="broken")

    for _ in range(50):
        asking = asyncio.ensure_future(state.admit("broken"))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert (await state.admit("sound")).circuit is Circuit.CLOSED
    assert state.outages == 0


async def test_more_callers_than_connections_wait_their_turn(redis_url: str, opened: Opened) -> None:
    state = opened(redis_url, connections=2)

    await asyncio.gather(*(state.admit("x") for _ in range(300)))

    assert (state.outages, state.alone) == (0, 0)


@pytest.mark.row("R4", part="redis breaker")
async def test_a_server_shares_circuits_where_a_redis_is_configured(redis_url: str) -> None:
    settings = Settings.model_validate({"store": {"redis_url": redis_url}, "models": {"breaker": {"minimum_calls": 4}}})

    async with circuits(settings, Metrics()) as one, circuits(settings, Metrics()) as other:
        await end(one, *[BAD] * 4)

        assert isinstance(one, RedisBreaker)
        assert (await other.admit("x")).circuit is Circuit.OPEN


async def test_without_a_redis_circuits_are_of_the_process() -> None:
    async with circuits(Settings(), Metrics()) as state:
        assert isinstance(state, MemoryBreaker)


@pytest.mark.parametrize("url", ["http://:canary@host", "redis://:canary@host:canary/0", "canary", "canary:x@host"])
async def test_a_url_that_is_none_is_refused_without_being_repeated(url: str) -> None:
    settings = Settings.model_validate({"store": {"redis_url": url}})

    with pytest.raises(Misconfigured) as caught:
        async with circuits(settings, Metrics()):
            raise AssertionError

    assert "canary" not in str(caught.value)
