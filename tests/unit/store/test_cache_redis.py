from __future__ import annotations

import time

import anyio
import pytest

from quarterdeck.core.errors import Misconfigured
from quarterdeck.store.cache import Kept
from quarterdeck.store.cache_redis import PREFIX, RedisCache
from tests.redis_server import RedisServer

SECRET = b"a secret of these tests"


def until() -> float:
    return time.time() + 60


@pytest.mark.row("K11", part="redis")
async def test_processes_with_one_redis_find_what_the_other_kept(redis_url: str) -> None:
    one, other = (RedisCache(redis_url, secret=SECRET, timeout_s=5.0) for _ in range(2))
    await one.put("acme", {"a": Kept(b"x", until())})

    found = await other.get("acme", ["a"])

    assert found["a"].value == b"x"
    await one.close()
    await other.close()


@pytest.mark.row("K11", part="redis")
async def test_redis_itself_lets_go_of_what_is_over(own_redis: RedisServer) -> None:
    cache = RedisCache(own_redis.url, secret=SECRET, timeout_s=5.0)

    await cache.put("acme", {"a": Kept(b"x", until())})

    with own_redis.client() as client:
        assert 0 < int(client.ttl(f"{PREFIX}acme/a")) <= 60  # type: ignore[arg-type]  # the client's types are those of two kinds
    await cache.close()


@pytest.mark.row("K11", part="sealed")
async def test_what_somebody_else_put_into_redis_is_not_found(own_redis: RedisServer) -> None:
    cache = RedisCache(own_redis.url, secret=SECRET, timeout_s=5.0)
    stranger = RedisCache(own_redis.url, secret=b"another secret", timeout_s=5.0)
    await cache.put("acme", {"moved": Kept(b"for acme", until())})
    await stranger.put("acme", {"foreign": Kept(b"x", until())})
    with own_redis.client() as client:
        client.set(f"{PREFIX}acme/short", "x")
        client.copy(f"{PREFIX}acme/moved", f"{PREFIX}globex/moved")
        client.copy(f"{PREFIX}acme/moved", f"{PREFIX}acme/elsewhere")

    acme = await cache.get("acme", ["moved", "foreign", "short", "elsewhere"])
    globex = await cache.get("globex", ["moved"])

    assert set(acme) == {"moved"}
    assert globex == {}
    assert cache.foreign == 4
    await cache.close()
    await stranger.close()


@pytest.mark.row("K11", part="outage")
async def test_without_redis_everything_is_a_miss_and_nobody_waits_long(
    own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    clock = [0.0]
    cache = RedisCache(own_redis.url, secret=SECRET, timeout_s=0.2, away_s=2.0, clock=lambda: clock[0])
    await cache.put("acme", {"a": Kept(b"x", until())})
    own_redis.freeze()

    with anyio.fail_after(5):
        frozen = await cache.get("acme", ["a"])
        began = time.monotonic()
        for _ in range(100):
            await cache.get("acme", ["a"])
            await cache.put("acme", {"a": Kept(b"x", until())})
        waited_s = time.monotonic() - began
        forgotten = await cache.forget("acme")
    own_redis.thaw()
    clock[0] += 2.0
    back = await cache.get("acme", ["a"])

    assert frozen == {}
    assert waited_s < 2.0  # and not 200 times 0.2 s
    assert not forgotten
    assert back["a"].value == b"x"
    assert cache.outages == 1
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "Redis does not answer (TimeoutError)",
        "Redis answers again",
    ]
    await cache.close()


@pytest.mark.row("K11", part="outage")
async def test_while_redis_is_away_one_caller_at_a_time_tries_it_again(own_redis: RedisServer) -> None:
    clock = [0.0]
    cache = RedisCache(own_redis.url, secret=SECRET, timeout_s=1.0, away_s=2.0, clock=lambda: clock[0])
    own_redis.freeze()
    await cache.get("acme", ["a"])
    clock[0] += 2.0

    began = time.monotonic()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cache.get, "acme", ["a"])
            await anyio.lowlevel.checkpoint()
            await cache.get("acme", ["a"])
            second_s = time.monotonic() - began

    assert second_s < 0.7
    own_redis.thaw()
    await cache.close()


async def test_a_value_that_is_too_large_is_not_sent(redis_url: str) -> None:
    cache = RedisCache(redis_url, secret=SECRET, timeout_s=5.0, max_value=100)

    await cache.put("acme", {"large": Kept(b"x" * 101, until()), "small": Kept(b"x", until())})

    assert set(await cache.get("acme", ["large", "small"])) == {"small"}
    await cache.close()


def test_a_url_that_is_none_is_refused_without_its_password() -> None:
    with pytest.raises(Misconfigured) as refused:
        RedisCache("http://user:hunter2@host", secret=SECRET)

    assert "hunter2" not in str(refused.value)
