"""What every cache promises (row K11)."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quarterdeck.core.errors import InvalidInput
from quarterdeck.store.cache import Cache, Kept, Levels, MemoryCache
from quarterdeck.store.cache_redis import RedisCache
from quarterdeck.store.cache_sqlite import SqliteCache

SECRET = b"a secret of these tests"


@dataclasses.dataclass
class Wall:
    """Seconds since 1970 that only the test moves. Redis counts its own, so the test begins at an early instant of it."""

    now: float

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall() -> Wall:
    return Wall(1_000_000.0)


async def opened(kind: str, request: pytest.FixtureRequest, wall: Wall) -> Cache:
    folder: Path = request.getfixturevalue("tmp_path")
    match kind:
        case "memory":
            return MemoryCache(now=wall)
        case "redis":
            return RedisCache(request.getfixturevalue("redis_url"), secret=SECRET, timeout_s=5.0, now=wall)
        case "sqlite":
            return await SqliteCache.open(folder / "cache.sqlite", now=wall)
        case _:
            below = await opened(kind.removeprefix("memory over "), request, wall)
            return Levels(MemoryCache(now=wall), below, now=wall)


@pytest.fixture(
    params=[
        pytest.param("memory", marks=pytest.mark.row("K11", part="memory")),
        pytest.param("redis", marks=pytest.mark.row("K11", part="redis")),
        pytest.param("sqlite", marks=pytest.mark.row("K11", part="sqlite")),
        pytest.param("memory over redis", marks=pytest.mark.row("K11", part="levels")),
        pytest.param("memory over sqlite", marks=pytest.mark.row("K11", part="levels")),
    ]
)
async def cache(request: pytest.FixtureRequest, wall: Wall) -> AsyncIterator[Cache]:
    made = await opened(request.param, request, wall)
    await made.forget("acme")
    await made.forget("globex")
    yield made
    await made.close()


async def test_what_is_kept_is_found_until_its_end(cache: Cache, wall: Wall) -> None:
    await cache.put("acme", {"a:1": Kept(b"one", wall.now + 60), "a:2": Kept(bytes(range(256)), wall.now + 120)})

    before = await cache.get("acme", ["a:1", "a:2", "a:3"])
    wall.now += 60
    after = await cache.get("acme", ["a:1", "a:2"])

    assert {key: kept.value for key, kept in before.items()} == {"a:1": b"one", "a:2": bytes(range(256))}
    assert {key: kept.value for key, kept in after.items()} == {"a:2": bytes(range(256))}


async def test_the_end_of_an_entry_is_told_with_it(cache: Cache, wall: Wall) -> None:
    await cache.put("acme", {"a": Kept(b"one", wall.now + 60)})

    found = await cache.get("acme", ["a"])

    assert found == {"a": Kept(b"one", wall.now + 60)}


async def test_a_newer_entry_replaces_the_older_one(cache: Cache, wall: Wall) -> None:
    await cache.put("acme", {"a": Kept(b"old" * 1000, wall.now + 60)})
    await cache.put("acme", {"a": Kept(b"new", wall.now + 60)})

    found = await cache.get("acme", ["a"])

    assert found["a"].value == b"new"


async def test_an_entry_that_is_over_already_is_not_kept(cache: Cache, wall: Wall) -> None:
    await cache.put("acme", {"a": Kept(b"one", wall.now)})

    wall.now -= 1

    assert await cache.get("acme", ["a"]) == {}


@pytest.mark.row("G8", part="same names")
async def test_tenants_have_nothing_in_common(cache: Cache, wall: Wall) -> None:
    await cache.put("acme", {"a": Kept(b"acme's", wall.now + 60)})
    await cache.put("globex", {"a": Kept(b"globex's", wall.now + 60)})

    await cache.forget("acme")

    assert await cache.get("acme", ["a"]) == {}
    assert (await cache.get("globex", ["a"]))["a"].value == b"globex's"


async def test_single_entries_are_dropped(cache: Cache, wall: Wall) -> None:
    await cache.put("acme", {key: Kept(b"x", wall.now + 60) for key in ("a", "b", "ab")})

    gone = await cache.drop("acme", ["a", "never"])

    assert gone
    assert set(await cache.get("acme", ["a", "b", "ab"])) == {"b", "ab"}


async def test_a_prefix_is_forgotten_to_the_letter(cache: Cache, wall: Wall) -> None:
    keys = ["found_1:a", "found_1:b", "foundX1:a", "FOUND_1:a", "answers:a"]
    await cache.put("acme", {key: Kept(b"x", wall.now + 60) for key in keys})

    gone = await cache.forget("acme", "found_1:")

    assert gone
    assert set(await cache.get("acme", keys)) == {"foundX1:a", "FOUND_1:a", "answers:a"}


async def test_many_entries_are_kept_and_found_at_once(cache: Cache, wall: Wall) -> None:
    entries = {f"v:{n}": Kept(n.to_bytes(2, "big"), wall.now + 60) for n in range(1200)}

    await cache.put("acme", entries)

    assert await cache.get("acme", list(entries)) == entries


async def test_nothing_asked_is_nothing_found(cache: Cache) -> None:
    await cache.put("acme", {})

    assert await cache.get("acme", []) == {}
    assert await cache.drop("acme", [])


@pytest.mark.parametrize(
    ("tenant", "key"), [("acme/globex", "a"), ("*", "a"), ("acme", ""), ("acme", "a*"), ("acme", "a/b")]
)
async def test_names_that_could_mean_something_else_are_refused(cache: Cache, tenant: str, key: str) -> None:
    with pytest.raises(InvalidInput):
        await cache.get(tenant, [key])
    with pytest.raises(InvalidInput):
        await cache.put(tenant, {key: Kept(b"", 2e9)})
    with pytest.raises(InvalidInput):
        await cache.drop(tenant, [key])
    with pytest.raises(InvalidInput):
        await cache.forget(tenant, "a*")
