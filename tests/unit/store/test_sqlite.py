"""The writer's and the reader's thread."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from quarterdeck.core.errors import Conflict, StoreUnavailable
from quarterdeck.store.keyvalue import SqliteKeyValue
from quarterdeck.store.sqlite import BATCH, SqliteDatabase
from quarterdeck.store.sqlite_store import DATABASE_NAME, migrate_sqlite, open_sqlite

INSERT = "INSERT INTO keyvalue (tenant, key, bytes, updated_at) VALUES ('t', ?, x'', 0)"
KEYS = "SELECT key FROM keyvalue ORDER BY key"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    opened = SqliteDatabase.open(tmp_path / "data" / "test.db")
    yield opened
    await opened.close()


async def keys(database: SqliteDatabase) -> list[str]:
    return [key for (key,) in await database.read(lambda c: c.execute(KEYS).fetchall())]


class Gate:
    """Holds the writer until it is opened, so that what follows shares a transaction."""

    def __init__(self) -> None:
        self.held, self.opened = threading.Event(), threading.Event()

    def __call__(self, connection: sqlite3.Connection) -> None:
        self.held.set()
        self.opened.wait(10)


async def together(database: SqliteDatabase, *units: object) -> list[object]:
    """The outcome of units that run in one batch."""
    gate = Gate()
    first = asyncio.ensure_future(database.write(gate))
    await anyio.to_thread.run_sync(gate.held.wait)
    tasks = [asyncio.ensure_future(database.write(unit)) for unit in units]  # type: ignore[arg-type]  # units of many results
    await asyncio.sleep(0)
    gate.opened.set()
    await first
    return await asyncio.gather(*tasks, return_exceptions=True)


def put(key: str) -> object:
    return lambda c: c.execute(INSERT, (key,)).rowcount


async def test_work_that_meets_shares_a_transaction(database: SqliteDatabase) -> None:
    commits: list[int] = []
    seen: set[int] = set()

    def unit(connection: sqlite3.Connection) -> None:
        seen.add(threading.get_ident())
        commits.append(connection.total_changes)
        assert connection.in_transaction

    await together(database, *[unit] * 10)

    assert len(commits) == 10
    assert threading.get_ident() not in seen
    assert len(seen) == 1


async def test_failure_before_a_write_costs_nobody_anything(database: SqliteDatabase) -> None:
    runs: list[str] = []

    def good(connection: sqlite3.Connection) -> str:
        runs.append("good")
        connection.execute(INSERT, ("good",))
        return "stored"

    def bad(connection: sqlite3.Connection) -> None:
        raise Conflict("no")

    outcomes = await together(database, good, bad)

    assert outcomes[0] == "stored"
    assert isinstance(outcomes[1], Conflict)
    assert runs == ["good"]
    assert await keys(database) == ["good"]


@pytest.mark.parametrize("error", [Conflict("no"), ValueError("a bug"), sqlite3.OperationalError("disk I/O error")])
async def test_failure_after_a_write_undoes_that_unit_only(database: SqliteDatabase, error: Exception) -> None:
    def bad(connection: sqlite3.Connection) -> None:
        connection.execute(INSERT, ("bad",))
        raise error

    outcomes = await together(database, put("a"), bad, put("b"))

    assert outcomes[0] == outcomes[2] == 1
    assert isinstance(outcomes[1], StoreUnavailable if isinstance(error, sqlite3.Error) else type(error))
    assert await keys(database) == ["a", "b"]


async def test_failed_statement_undoes_its_unit_only(database: SqliteDatabase) -> None:
    def twice(connection: sqlite3.Connection) -> None:
        connection.execute(INSERT, ("c",))
        connection.execute(INSERT, ("a",))

    outcomes = await together(database, put("a"), twice, put("b"))

    assert isinstance(outcomes[1], StoreUnavailable)
    assert "UNIQUE" in str(outcomes[1])
    assert await keys(database) == ["a", "b"]


async def test_lost_transaction_fails_its_whole_batch_and_the_next_works(database: SqliteDatabase) -> None:
    def vandal(connection: sqlite3.Connection) -> None:
        connection.execute("ROLLBACK")  # as SQLite itself does when the disk is full
        raise sqlite3.OperationalError("database or disk is full")

    outcomes = await together(database, put("a"), vandal, put("b"))
    await database.write(put("c"))  # type: ignore[arg-type]  # as above

    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
    assert await keys(database) == ["c"]


async def test_more_than_a_batch_at_once_is_all_stored(database: SqliteDatabase) -> None:
    outcomes = await together(database, *[put(f"{n:04}") for n in range(BATCH * 2 + 7)])

    assert outcomes == [1] * (BATCH * 2 + 7)
    assert len(await keys(database)) == BATCH * 2 + 7


async def test_cancelled_waiter_disturbs_nobody(database: SqliteDatabase) -> None:
    gate = Gate()
    held = asyncio.ensure_future(database.write(gate))
    await anyio.to_thread.run_sync(gate.held.wait)

    with anyio.move_on_after(0.01) as scope:
        await database.write(put("cancelled"))  # type: ignore[arg-type]  # as above
    gate.opened.set()
    await held
    await database.write(put("next"))  # type: ignore[arg-type]  # as above

    assert scope.cancelled_caught
    assert "next" in await keys(database)


async def test_loop_that_is_gone_disturbs_nobody(database: SqliteDatabase) -> None:
    gate = Gate()

    def short_life() -> None:
        loop = asyncio.new_event_loop()
        task = loop.create_task(database.write(gate))
        loop.run_until_complete(asyncio.sleep(0))
        task.cancel()
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        loop.close()

    await anyio.to_thread.run_sync(short_life)
    gate.opened.set()

    await database.write(put("next"))  # type: ignore[arg-type]  # as above
    assert await keys(database) == ["next"]


async def test_two_loops_share_one_database(database: SqliteDatabase) -> None:
    def other() -> list[str]:
        async def write() -> list[str]:
            await database.write(put("other"))  # type: ignore[arg-type]  # as above
            return await keys(database)

        return asyncio.run(write())

    seen, _ = await asyncio.gather(anyio.to_thread.run_sync(other), database.write(put("own")))  # type: ignore[arg-type]  # as above

    assert "other" in seen
    assert await keys(database) == ["other", "own"]


async def test_reader_cannot_write(database: SqliteDatabase) -> None:
    with pytest.raises(StoreUnavailable, match="readonly"):
        await database.read(lambda c: c.execute(INSERT, ("x",)).rowcount)


async def test_closing_finishes_what_is_queued_and_then_refuses(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    database = SqliteDatabase.open(path)
    tasks = [asyncio.ensure_future(database.write(put(str(n)))) for n in range(9)]  # type: ignore[arg-type]  # as above
    await asyncio.sleep(0)

    await database.close()
    await database.close()

    assert await asyncio.gather(*tasks) == [1] * 9
    assert sorted(file.name for file in tmp_path.iterdir()) == ["test.db"]
    with pytest.raises(StoreUnavailable, match="closed"):
        await database.write(put("late"))  # type: ignore[arg-type]  # as above
    with pytest.raises(StoreUnavailable, match="closed"):
        await keys(database)
    reopened = SqliteDatabase.open(path)
    assert len(await keys(reopened)) == 9
    await reopened.close()


async def test_second_process_may_write_beside_us(database: SqliteDatabase, tmp_path: Path) -> None:
    other = SqliteDatabase.open(tmp_path / "data" / "test.db")

    await asyncio.gather(*(each.write(put(f"{n}{m}")) for m, each in enumerate((database, other)) for n in range(20)))  # type: ignore[arg-type]  # as above

    assert len(await keys(database)) == len(await keys(other)) == 40
    await other.close()


async def test_another_program_that_looks_into_it_leaves_the_log_where_it_is(
    database: SqliteDatabase, tmp_path: Path
) -> None:
    await database.read(lambda c: c.execute("SELECT 1").fetchone())
    log = next(tmp_path.rglob("*.db-wal"))
    before = log.stat().st_ino
    looks = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT count(*) FROM sqlite_master'); c.close()"
    )

    subprocess.run([sys.executable, "-c", looks, str(log).removesuffix("-wal")], check=True, timeout=30)

    assert log.exists()  # the last one to close it deletes it
    assert log.stat().st_ino == before


async def test_files_are_for_their_owner_only(database: SqliteDatabase, tmp_path: Path) -> None:
    await database.write(put("x"))  # type: ignore[arg-type]  # as above

    folder = tmp_path / "data"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


async def test_every_commit_reaches_the_disk(database: SqliteDatabase) -> None:
    async def pragma(name: str) -> object:
        return (await database.write(lambda c: c.execute(f"PRAGMA {name}").fetchone()))[0]

    assert await pragma("journal_mode") == "wal"
    assert await pragma("synchronous") == 2
    assert await pragma("foreign_keys") == 1


def test_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    path.write_text("This is a letter, and not a short one. " * 100)

    with pytest.raises(StoreUnavailable, match=r"test\.db cannot be used: file is not a database; put a copy of it back"):
        SqliteDatabase.open(path)
    with pytest.raises(StoreUnavailable, match="see that it is a file this program may write"):
        SqliteDatabase.open(path / "below" / "test.db")


async def test_a_damaged_database_is_named_by_whoever_brings_its_schema_up_to_date(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path)
    await store.close()
    path = tmp_path / DATABASE_NAME
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xaa" * (len(whole) - 4096))

    with pytest.raises(StoreUnavailable, match=r"quarterdeck\.db cannot be used: .*put a copy of it back"):
        await migrate_sqlite(tmp_path)
    with pytest.raises(StoreUnavailable, match=r"quarterdeck\.db cannot be used: .*put a copy of it back"):
        open_sqlite(tmp_path)


@pytest.mark.row("S1", part="full disk")
async def test_a_store_that_could_not_write_tries_again_when_asked_whether_it_is_well(database: SqliteDatabase) -> None:
    await database.probe()
    assert await database.read(lambda c: c.execute("SELECT count(*) FROM keyvalue").fetchone()) == (
        0,
    )  # nothing was written
    full = "CREATE TEMP TRIGGER full BEFORE INSERT ON keyvalue BEGIN SELECT RAISE(FAIL, 'disk is full'); END"
    await database.write(lambda c: c.execute(full))

    with pytest.raises(StoreUnavailable):
        await database.write(lambda c: c.execute(INSERT, ("k",)))
    with pytest.raises(StoreUnavailable):
        await database.probe()
    await database.write(lambda c: c.execute("DROP TRIGGER full"))
    await database.write(lambda c: c.execute(INSERT, ("k",)))

    await database.probe()


async def test_asking_whether_a_store_is_well_touches_no_tenants_state(database: SqliteDatabase) -> None:
    states = SqliteKeyValue(database)
    await states.save("health", "probe", b"of a tenant of that name")
    with pytest.raises(StoreUnavailable):
        await database.write(lambda c: c.execute("INSERT INTO nowhere VALUES (1)"))

    await database.probe()

    assert await states.load("health", "probe") == b"of a tenant of that name"
