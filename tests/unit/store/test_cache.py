from __future__ import annotations

from collections.abc import Mapping, Sequence

import anyio
import pytest

from quarterdeck.store.cache import Kept, Levels, MemoryCache, Shelf


class Wall:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def entries(*keys: str, size: int = 1, until: float = 1e11) -> dict[str, Kept]:
    return {key: Kept(b"x" * size, until) for key in keys}


@pytest.mark.row("K11", part="memory")
async def test_memory_lets_go_of_what_was_not_used_for_longest() -> None:
    cache = MemoryCache(max_entries=3)
    await cache.put("acme", entries("a", "b", "c"))
    await cache.get("acme", ["a"])

    await cache.put("acme", entries("d"))

    assert set(await cache.get("acme", ["a", "b", "c", "d"])) == {"a", "c", "d"}


@pytest.mark.row("K11", part="memory")
async def test_memory_is_bounded_in_bytes_too() -> None:
    cache = MemoryCache(max_bytes=10_000)

    await cache.put("acme", entries("a", "b", "c", size=4000))
    await cache.put("acme", entries("huge", size=20_000))

    assert set(await cache.get("acme", ["a", "b", "c", "huge"])) == {"b", "c"}


async def test_memory_counts_what_it_lets_go() -> None:
    cache = MemoryCache(max_bytes=10_000)

    for _ in range(50):
        await cache.put("acme", entries("a", size=4000))
        await cache.put("acme", entries("b", size=4000))
        await cache.drop("acme", ["a"])

    assert set(await cache.get("acme", ["a", "b"])) == {"b"}


@pytest.mark.row("K11", part="levels")
async def test_memory_goes_on_alone_for_five_minutes_at_most() -> None:
    wall = Wall()
    below = MemoryCache(now=wall)
    levels = Levels(MemoryCache(now=wall), below, now=wall)
    await below.put("acme", entries("found", until=1000.0 + 3600))
    await levels.put("acme", entries("put", until=1000.0 + 3600))
    await levels.get("acme", ["found"])
    await below.forget("acme")  # as another process does

    wall.now += 299
    soon = await levels.get("acme", ["found", "put"])
    wall.now += 1
    later = await levels.get("acme", ["found", "put"])

    assert set(soon) == {"found", "put"}
    assert later == {}


@pytest.mark.row("K11", part="levels")
async def test_memory_never_goes_on_beyond_the_end_of_an_entry() -> None:
    wall = Wall()
    below = MemoryCache(now=wall)
    levels = Levels(MemoryCache(now=wall), below, now=wall)
    await below.put("acme", entries("a", until=1010.0))
    await levels.get("acme", ["a"])

    wall.now = 1010.0

    assert await levels.get("acme", ["a"]) == {}


class Slow(MemoryCache):
    """Answers what it found when it was asked, but only once it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = anyio.Event()
        self.let = anyio.Event()

    async def get(self, tenant: str, keys: Sequence[str]) -> dict[str, Kept]:
        found = await super().get(tenant, keys)
        self.asked.set()
        await self.let.wait()
        return found


@pytest.mark.row("K11", part="levels")
async def test_what_was_dropped_while_it_was_read_is_not_written_back() -> None:
    below = Slow()
    memory = MemoryCache()
    levels = Levels(memory, below)
    await below.put("acme", entries("a"))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(levels.get, "acme", ["a"])
            await below.asked.wait()
            await levels.drop("acme", ["a"])
            below.let.set()

    assert await memory.get("acme", ["a"]) == {}


class Away(MemoryCache):
    """Can be read and not told to forget."""

    async def drop(self, tenant: str, keys: Sequence[str]) -> bool:
        return False

    async def forget(self, tenant: str, prefix: str = "") -> bool:
        return False


async def test_a_level_that_cannot_forget_now_is_told() -> None:
    levels = Levels(MemoryCache(), Away())

    assert not await levels.drop("acme", ["a"])
    assert not await levels.forget("acme")


@pytest.mark.row("K11", part="counted")
async def test_a_shelf_counts_hits_and_misses_of_its_own() -> None:
    cache = MemoryCache()
    found, answers = Shelf(cache, "found", ttl_s=60), Shelf(cache, "answers", ttl_s=60)
    await found.put("acme", {"a": b"passages", "b": b"more"})

    got = await found.get("acme", ["a", "b", "c"])
    other = await answers.get("acme", ["a"])

    assert (got, other) == ({"a": b"passages", "b": b"more"}, {})
    assert (found.hits, found.misses) == (2, 1)
    assert (answers.hits, answers.misses) == (0, 1)


@pytest.mark.row("K11", part="counted")
async def test_a_hit_that_is_refused_counts_as_a_miss_and_is_gone() -> None:
    shelf = Shelf(MemoryCache(), "answers", ttl_s=60)
    await shelf.put("acme", {"a": b"old"})
    await shelf.get("acme", ["a"])

    await shelf.refuse("acme", "a")

    assert (shelf.hits, shelf.misses, shelf.stale) == (0, 1, 1)
    assert await shelf.get("acme", ["a"]) == {}


async def test_entries_of_a_shelf_last_as_long_as_it_says() -> None:
    wall = Wall()
    shelf = Shelf(MemoryCache(now=wall), "found", ttl_s=3600, now=wall)
    await shelf.put("acme", {"a": b"x"})

    wall.now += 3599
    before = await shelf.get("acme", ["a"])
    wall.now += 1
    after = await shelf.get("acme", ["a"])

    assert (before, after) == ({"a": b"x"}, {})


async def test_forgetting_a_shelf_leaves_the_others() -> None:
    cache = MemoryCache()
    found, answers = Shelf(cache, "found", ttl_s=60), Shelf(cache, "answers", ttl_s=60)
    shelves: Mapping[str, Shelf] = {"found": found, "answers": answers}
    for shelf in shelves.values():
        await shelf.put("acme", {"a": b"x"})

    await found.forget("acme")

    assert await found.get("acme", ["a"]) == {}
    assert await answers.get("acme", ["a"]) == {"a": b"x"}
