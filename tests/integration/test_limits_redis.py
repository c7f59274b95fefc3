"""Rate limits that replicas share in a real Redis, and what each allows while it is stopped, frozen, or never was there."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable

import pytest
from redis import Redis

from quarterdeck.app.limits import opened_limits
from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Misconfigured, RateLimited
from quarterdeck.settings import Settings
from quarterdeck.store.limits import Rate, Room, Want
from quarterdeck.store.limits_redis import PREFIX, RedisLimits
from quarterdeck.telemetry.metrics import Metrics
from tests.redis_server import RedisServer

RATE = Rate(amount=12, window_s=60.0)
EMMA = Principal(user="emma", tenant="acme")
Opened = Callable[..., RedisLimits]


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    """Opens a replica's state, and closes it in the end."""
    all_opened: list[RedisLimits] = []

    def open_one(url: str, **options: object) -> RedisLimits:
        all_opened.append(RedisLimits(url, **{"timeout_s": 5.0, **options}))  # type: ignore[arg-type]  # a test's options
        return all_opened[-1]

    yield open_one
    for state in all_opened:
        await state.close()


async def one(state: RedisLimits, rate: Rate = RATE) -> Room:
    (room,) = await state.take("acme", [Want("x", rate)])
    return room


async def allowed(state: RedisLimits, times: int, rate: Rate = RATE) -> int:
    rooms = await asyncio.gather(*(one(state, rate) for _ in range(times)))
    return sum(room.retry_after_s == 0 for room in rooms)


@pytest.mark.row("S10", part="redis")
@pytest.mark.parametrize("rate", [RATE, Rate(amount=1, window_s=600.0, burst=12)], ids=["window", "bucket"])
async def test_replicas_together_allow_exactly_what_there_is(redis_url: str, opened: Opened, rate: Rate) -> None:
    replicas = [opened(redis_url) for _ in range(4)]

    counts = await asyncio.gather(*(allowed(replica, 10, rate) for replica in replicas))

    assert sum(counts) == 12
    assert [replica.alone for replica in replicas] == [0] * 4


async def test_counters_go_away_by_themselves_once_they_say_nothing(redis_url: str, opened: Opened) -> None:
    state = opened(redis_url)
    await one(state, Rate(amount=1, window_s=2.0))
    await one(state, Rate(amount=1, window_s=2.0, burst=4))

    with Redis.from_url(redis_url) as client:
        lives = [client.pttl(f"{PREFIX}{{acme}}:{kind}:x") for kind in ("window", "bucket")]

    assert 2000 < lives[0] <= 3000
    assert 8000 < lives[1] <= 9000


@pytest.mark.row("S10", part="without redis")
async def test_without_redis_each_replica_allows_its_share(
    own_redis: RedisServer, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    replicas = [opened(own_redis.url, replicas=3, timeout_s=0.5, alone_s=60.0) for _ in range(3)]
    own_redis.stop()

    with caplog.at_level(logging.WARNING):
        counts = [await allowed(replica, 10) for replica in replicas]

    assert counts == [4, 4, 4]
    assert [replica.outages for replica in replicas] == [1, 1, 1]
    assert sum("Redis does not answer" in line for line in caplog.messages) == 3


@pytest.mark.row("S10", part="without redis")
async def test_replicas_count_together_again_once_redis_is_back(own_redis: RedisServer, opened: Opened) -> None:
    state = opened(own_redis.url, replicas=12, timeout_s=0.5, alone_s=0.05)
    own_redis.stop()
    alone = await allowed(state, 5)
    own_redis.start()

    give_up_at = time.monotonic() + 10
    while (await one(state)).limit != RATE.limit:
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.02)

    assert alone == 1
    assert await allowed(state, 20) <= 11


@pytest.mark.row("S10", part="without redis")
async def test_a_redis_that_comes_and_goes_gives_no_new_share_each_time(own_redis: RedisServer, opened: Opened) -> None:
    state = opened(own_redis.url, replicas=3, timeout_s=0.3, alone_s=0.01)
    counts = []

    for _ in range(3):
        own_redis.freeze()
        counts.append(await allowed(state, 10))
        own_redis.thaw()
        give_up_at = time.monotonic() + 10
        while (await one(state)).limit != RATE.limit:
            assert time.monotonic() < give_up_at
            await asyncio.sleep(0.02)

    assert counts == [4, 0, 0]


async def test_a_redis_that_is_frozen_keeps_nobody_waiting_for_long(own_redis: RedisServer, opened: Opened) -> None:
    state = opened(own_redis.url, replicas=2, timeout_s=0.2, alone_s=60.0)
    await one(state)
    own_redis.freeze()
    began = time.monotonic()

    counted = await allowed(state, 50)

    assert time.monotonic() - began < 2.0
    assert counted == 6


@pytest.mark.row("S10", part="configuration")
async def test_rules_of_the_configuration_are_counted_in_the_configured_redis(redis_url: str) -> None:
    settings = Settings.model_validate(
        {
            "store": {"redis_url": redis_url},
            "limits": {"rules": [{"scope": "user", "rate": 1}, {"scope": "tool", "names": "send", "rate": 1, "burst": 1}]},
        }
    )

    async with opened_limits(settings, Metrics()) as one, opened_limits(settings, Metrics()) as other:
        await one.check(EMMA, "/chat")
        with pytest.raises(RateLimited):
            await other.check(EMMA, "/chat")
        waits = [await limits.tool(EMMA, "send") for limits in (one, other)]

    assert waits[0] == 0
    assert waits[1] > 0


@pytest.mark.row("S10", part="without redis")
async def test_a_redis_that_is_away_is_counted_in_the_metrics_with_the_first_request(own_redis: RedisServer) -> None:
    rules = {"rules": [{"scope": "user", "rate": 100}]}
    settings = Settings.model_validate({"store": {"redis_url": own_redis.url}, "limits": rules})
    metrics = Metrics()

    async with opened_limits(settings, metrics) as limits:
        await limits.check(EMMA, "/chat")
        before = metrics.rendered()[0].decode()
        own_redis.stop()
        await limits.check(EMMA, "/chat")

    assert 'quarterdeck_redis_outages_total{part="limits"} 0.0' in before
    assert 'quarterdeck_redis_outages_total{part="limits"} 1.0' in metrics.rendered()[0].decode()


async def test_an_address_that_is_none_is_refused_at_the_start() -> None:
    settings = Settings.model_validate(
        {"store": {"redis_url": "localhost:6379"}, "limits": {"rules": [{"scope": "user", "rate": 1}]}}
    )

    with pytest.raises(Misconfigured, match="rate limits"):
        async with opened_limits(settings, Metrics()):
            pass
