"""A bus over a real Redis that is stopped, started again, frozen, and shared with others."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable

import anyio
import pytest

from quarterdeck.core.errors import Misconfigured
from quarterdeck.store.bus_redis import RedisBus
from tests.contracts.test_bus import Ear, served, until
from tests.redis_server import RedisServer

Opened = Callable[..., RedisBus]


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    all_opened: list[RedisBus] = []

    def open_one(url: str, **options: float) -> RedisBus:
        all_opened.append(RedisBus(url, **{"timeout_s": 5.0, "answer_s": 5.0, "away_s": 0.01, **options}))
        return all_opened[-1]

    yield open_one
    for bus in all_opened:
        await bus.close()


async def test_bus_is_back_by_itself_once_redis_is_and_that_is_said_once(
    own_redis: RedisServer, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    ear, other = Ear(opened(own_redis.url)), opened(own_redis.url)
    ear.bus.listen("a")

    async with served(ear, Ear(other)):
        await until(lambda: ear.joined == ["a"])
        own_redis.stop()
        await until(lambda: not ear.bus.up and not other.up)
        await other.publish([("a", b"lost")])
        lost = await other.listened("a")
        await anyio.sleep(0.05)  # some vain attempts
        own_redis.start()
        await until(lambda: ear.joined == ["a", "a"] and ear.bus.up and other.up)
        await other.publish([("a", b"x")])
        await until(lambda: bool(ear.heard))

    assert (ear.heard, lost, other.outages) == ([("a", b"x")], False, 1)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 4
    assert str(own_redis.port) not in caplog.text


async def test_frozen_redis_holds_nobody_up_for_long_and_is_noticed(own_redis: RedisServer, opened: Opened) -> None:
    bus = opened(own_redis.url, timeout_s=0.2, answer_s=0.05, ping_s=0.1)

    async with served(Ear(bus)):
        own_redis.freeze()
        began = time.monotonic()
        answer = await bus.listened("a")
        asked_s = time.monotonic() - began
        await bus.publish([("a", b"x")])
        waited_s = time.monotonic() - began
        await until(lambda: not bus.up)
        own_redis.thaw()
        await until(lambda: bus.up)

    assert not answer
    assert asked_s < 2
    assert waited_s < 5


async def test_whoever_has_another_number_of_the_same_server_hears_nothing(redis_url: str, opened: Opened) -> None:
    one, other = Ear(opened(redis_url)), Ear(opened(redis_url.removesuffix("/0") + "/1"))
    one.bus.listen("a")
    other.bus.listen("a")

    async with served(one, other):
        await until(lambda: bool(one.joined and other.joined))
        await other.bus.publish([("a", b"other's")])
        await one.bus.publish([("a", b"one's")])
        await until(lambda: bool(one.heard and other.heard))

    assert (one.heard, other.heard) == ([("a", b"one's")], [("a", b"other's")])


async def test_more_listeners_than_connections_are_no_trouble(redis_url: str, opened: Opened) -> None:
    ear = Ear(opened(redis_url, connections=3))

    async with served(ear):
        for number in range(500):
            ear.bus.listen(f"c{number}")
        await until(lambda: len(ear.joined) == 500)
        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(ear.bus.publish, [(f"c{number}", b"x")])
        await until(lambda: len(ear.heard) == 100)

        assert ear.bus.up


@pytest.mark.parametrize("url", ["http://:canary@host", "redis://:canary@host:canary/0", "canary"])
def test_url_that_is_none_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        RedisBus(url)

    assert "canary" not in str(caught.value)
