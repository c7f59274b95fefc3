from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from quarterdeck.core.errors import Misconfigured
from quarterdeck.store.cache import Kept
from quarterdeck.store.cache_sqlite import SqliteCache

FAR = 1e11


@pytest.mark.row("K11", part="sqlite")
async def test_what_is_kept_outlives_the_process(tmp_path: Path) -> None:
    cache = await SqliteCache.open(tmp_path / "cache.sqlite")
    await cache.put("acme", {"a": Kept(b"x", FAR)})
    await cache.close()

    again = await SqliteCache.open(tmp_path / "cache.sqlite")

    assert (await again.get("acme", ["a"]))["a"].value == b"x"
    await again.close()


@pytest.mark.row("K11", part="sqlite")
async def test_processes_share_the_file(tmp_path: Path) -> None:
    one = await SqliteCache.open(tmp_path / "cache.sqlite")
    other = await SqliteCache.open(tmp_path / "cache.sqlite")

    await one.put("acme", {"a": Kept(b"x", FAR)})
    await other.put("acme", {"b": Kept(b"y", FAR)})

    assert set(await one.get("acme", ["a", "b"])) == set(await other.get("acme", ["a", "b"])) == {"a", "b"}
    await one.close()
    await other.close()


@pytest.mark.row("K11", part="sqlite")
async def test_a_full_cache_lets_go_of_what_was_written_first(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    cache = await SqliteCache.open(path, max_bytes=100_000)

    for n in range(200):
        await cache.put("acme", {f"k{n}": Kept(bytes(2_000), FAR)})
    found = await cache.get("acme", [f"k{n}" for n in range(200)])

    assert "k199" in found
    assert "k0" not in found
    assert 40 <= len(found) <= 50
    assert sorted(found, key=lambda key: int(key[1:])) == [f"k{n}" for n in range(200 - len(found), 200)]
    await cache.close()
    assert path.stat().st_size < 400_000


async def test_what_is_over_makes_room(tmp_path: Path) -> None:
    now = [1000.0]
    cache = await SqliteCache.open(tmp_path / "cache.sqlite", max_bytes=10_000, now=lambda: now[0])
    await cache.put("acme", {"long": Kept(bytes(4_000), 9000.0), "short": Kept(bytes(4_000), 1010.0)})

    now[0] = 1010.0
    await cache.put("acme", {"new": Kept(bytes(4_000), 9000.0)})

    assert set(await cache.get("acme", ["long", "short", "new"])) == {"long", "new"}
    await cache.close()


@pytest.mark.row("K11", part="outage")
async def test_a_damaged_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    path.write_bytes(b"this is no database, whatever its name" * 100)

    cache = await SqliteCache.open(path)
    await cache.put("acme", {"a": Kept(b"x", FAR)})

    assert set(await cache.get("acme", ["a"])) == {"a"}
    await cache.close()


@pytest.mark.row("K11", part="outage")
async def test_a_file_that_is_damaged_while_it_is_used_is_a_miss_and_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    cache = await SqliteCache.open(path)
    await cache.put("acme", {f"k{n}": Kept(bytes(2_000), FAR) for n in range(50)})
    await cache.close()
    cache = await SqliteCache.open(path)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 60_000)

    damaged = await cache.get("acme", [f"k{n}" for n in range(50)])
    await cache.put("acme", {"new": Kept(b"x", FAR)})
    after = await cache.get("acme", ["new"])

    assert damaged == {}
    assert set(after) == {"new"}
    assert cache.failures >= 1
    await cache.close()


@pytest.mark.row("K11", part="outage")
async def test_a_file_that_another_process_holds_is_a_miss_and_no_error(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    cache = await SqliteCache.open(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    await cache.put("acme", {"a": Kept(b"x", FAR)})
    dropped = await cache.drop("acme", ["a"])
    found = await cache.get("acme", ["a"])

    assert not dropped
    assert found == {}
    other.close()
    await cache.close()


async def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE precious(x)")
    db.close()

    with pytest.raises(Misconfigured, match="another program"):
        await SqliteCache.open(path)

    assert sqlite3.connect(path).execute("SELECT count(*) FROM precious").fetchone() == (0,)


async def test_nobody_else_may_read_the_file(tmp_path: Path) -> None:
    cache = await SqliteCache.open(tmp_path / "deep" / "cache.sqlite")
    await cache.put("acme", {"a": Kept(b"x", FAR)})

    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "deep").iterdir()]

    assert set(modes) == {0o600}
    await cache.close()


async def test_a_closed_cache_holds_nothing(tmp_path: Path) -> None:
    cache = await SqliteCache.open(tmp_path / "cache.sqlite")
    await cache.close()

    assert await cache.get("acme", ["a"]) == {}
    await cache.put("acme", {"a": Kept(b"x", FAR)})
    await cache.close()
