"""Workers that die, freeze, lose their database or are taken for dead: their runs go on elsewhere, and only there."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream
from procrastinate import App, PsycopgConnector
from procrastinate.jobs import Status
from procrastinate.schema import SchemaManager

from quarterdeck.core.errors import Misconfigured, SchemaMismatch, StoreUnavailable, Unavailable
from quarterdeck.store.memory import MemoryStore
from quarterdeck.store.postgres import migrate_postgres
from quarterdeck.workflow.base import Advance
from quarterdeck.workflow.dispatch_jobs import QUEUE, Jobs, Outages, Pool
from quarterdeck.workflow.dispatch_procrastinate import ProcrastinateDispatcher
from quarterdeck.workflow.dispatch_schema import PART, apply_schema
from tests.contracts.stores import started
from tests.postgres_server import PostgresServer

_HEARTBEAT_S, _STALLED_S, _SCAN_S = 0.5, 2.0, 0.2

# A worker that says what it begins and never comes to an end with it, but for the run "short".
_WORKER = f"""
import sys, anyio
from quarterdeck.store.memory import MemoryStore
from quarterdeck.workflow.dispatch_procrastinate import ProcrastinateDispatcher

async def advance(tenant, run_id):
    print(run_id, flush=True)
    if run_id != "short":
        await anyio.sleep(float(sys.argv[2]))
        print("ended", run_id, flush=True)

async def main():
    async with ProcrastinateDispatcher.opened(
        sys.argv[1], MemoryStore().journal, heartbeat_s={_HEARTBEAT_S}, stalled_s={_STALLED_S}, scan_s={_SCAN_S}
    ) as dispatcher:
        await dispatcher.serve(advance)

anyio.run(main)
"""


@pytest.fixture
async def url(postgres_url: str) -> str:
    await migrate_postgres(postgres_url)
    return postgres_url


def _opened(url: str, **options: Any) -> Any:
    timing = {"heartbeat_s": _HEARTBEAT_S, "stalled_s": _STALLED_S, "scan_s": _SCAN_S}
    return ProcrastinateDispatcher.opened(url, options.pop("journal", MemoryStore().journal), **{**timing, **options})


class Lines:
    """What a process says, line by line."""

    def __init__(self, process: Process) -> None:
        assert process.stdout is not None
        self._text = TextReceiveStream(process.stdout)
        self._rest = ""

    async def next(self) -> str:
        while "\n" not in self._rest:
            self._rest += await self._text.receive()
        line, _, self._rest = self._rest.partition("\n")
        return line


@asynccontextmanager
async def _other_worker(url: str, *, work_s: float = 3600) -> AsyncIterator[tuple[Process, Lines]]:
    process = await anyio.open_process([sys.executable, "-c", _WORKER, url, str(work_s)], stderr=None)
    try:
        with anyio.fail_after(20):
            yield process, Lines(process)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.aclose()


@asynccontextmanager
async def _serving(dispatcher: ProcrastinateDispatcher, advance: Advance) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(dispatcher.serve, advance)
        yield
        await dispatcher.stop(1.0)


class Advanced:
    """Notes which runs were advanced, and lets the test wait for one."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self._changed = anyio.Event()

    async def __call__(self, tenant: str, run_id: str) -> None:
        self.runs.append(run_id)
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, condition: Callable[[list[str]], bool], within_s: float = 10.0) -> None:
        with anyio.fail_after(within_s):
            while not condition(self.runs):
                await self._changed.wait()


async def _jobs(url: str) -> list[tuple[Any, ...]]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        cursor = await connection.execute("SELECT id, status::text, lock FROM procrastinate_jobs ORDER BY id")
        return await cursor.fetchall()


async def _until_no_jobs(url: str) -> None:
    with anyio.fail_after(10):
        while await _jobs(url):
            await anyio.sleep(0.02)


@pytest.mark.row("R7", part="take-over")
async def test_runs_of_a_killed_worker_are_taken_over(url: str) -> None:
    advanced = Advanced()
    async with _opened(url) as dispatcher, _other_worker(url) as (other, said):
        await dispatcher.wake("acme", "r1")
        assert await said.next() == "r1"

        async with _serving(dispatcher, advanced):
            os.kill(other.pid, signal.SIGKILL)
            killed = time.monotonic()
            await advanced.until(lambda runs: runs == ["r1"])
            took_s = time.monotonic() - killed

        assert took_s < _STALLED_S + 2
        assert await _jobs(url) == []


@pytest.mark.row("R7", part="take-over")
async def test_a_frozen_worker_loses_its_run_and_cannot_end_the_job_of_the_one_that_took_it(url: str) -> None:
    taken, go_on = anyio.Event(), anyio.Event()

    async def slow(tenant: str, run_id: str) -> None:
        taken.set()
        await go_on.wait()

    async with _opened(url) as dispatcher, _other_worker(url, work_s=0.1) as (other, said):
        await dispatcher.wake("acme", "r1")
        assert await said.next() == "r1"
        os.kill(other.pid, signal.SIGSTOP)

        async with _serving(dispatcher, slow):
            await taken.wait()
            os.kill(other.pid, signal.SIGCONT)
            assert await said.next() == "ended r1"
            while len(await dispatcher.workers()) < 2:  # it shows itself again, and may take jobs
                await anyio.sleep(0.02)

            assert [(status, lock) for _, status, lock in await _jobs(url)] == [("doing", "acme/r1")]
            go_on.set()

        await dispatcher.wake("acme", "short")
        assert await said.next() == "short"


async def test_a_run_that_was_cut_goes_to_another_worker_at_once(url: str) -> None:
    begun, advanced = anyio.Event(), Advanced()

    async def endless(tenant: str, run_id: str) -> None:
        begun.set()
        await anyio.sleep_forever()

    async with _opened(url) as stopping, _opened(url) as other, anyio.create_task_group() as tasks:
        tasks.start_soon(stopping.serve, endless)
        await stopping.wake("acme", "r1")
        await begun.wait()
        async with _serving(other, advanced):
            await stopping.stop(0.01)
            await advanced.until(lambda runs: runs == ["r1"], within_s=1.0)  # long before anybody is missed

    assert await _jobs(url) == []


async def test_a_worker_that_stops_slowly_keeps_its_runs(url: str) -> None:
    begun, go_on, advanced = anyio.Event(), anyio.Event(), Advanced()

    async def slow(tenant: str, run_id: str) -> None:
        begun.set()
        await go_on.wait()

    async with _opened(url) as stopping, _opened(url) as other, anyio.create_task_group() as tasks:
        tasks.start_soon(stopping.serve, slow)
        await stopping.wake("acme", "r1")
        await begun.wait()
        async with _serving(other, advanced):
            tasks.start_soon(stopping.stop, 30.0)
            for _ in range(3):
                await anyio.sleep(_STALLED_S / 2)
                assert all(worker.alive for worker in await other.workers())
            go_on.set()

    assert advanced.runs == []


async def test_a_job_whose_taker_never_heard_of_it_is_found(url: str) -> None:
    advanced = Advanced()
    async with _opened(url) as dispatcher, _serving(dispatcher, advanced):
        while not await dispatcher.workers():
            await anyio.sleep(0.02)
        (worker,) = await dispatcher.workers()

        async with await psycopg.AsyncConnection.connect(url) as connection:
            await connection.execute(
                "INSERT INTO procrastinate_jobs (queue_name, task_name, lock, args, status, worker_id) VALUES "
                """('runs', 'advance', 'acme/r1', '{"tenant": "acme", "run_id": "r1"}', 'doing', %s)""",
                (worker.id,),
            )
        await advanced.until(lambda runs: runs == ["r1"])

    assert advanced.runs == ["r1"]  # once, and not again before the end


@pytest.mark.row("R7", part="postgres away")
async def test_postgres_may_go_away_and_come_back_under_a_serving_worker(own_postgres: PostgresServer) -> None:
    url = own_postgres.new_database()
    await migrate_postgres(url)
    store, advanced = MemoryStore(), Advanced()
    told: list[tuple[str, Exception]] = []

    async def heard(run_id: str, error: Exception) -> None:
        told.append((run_id, error))

    async def take(tenant: str, run_id: str) -> None:
        claim = await store.journal.claim(tenant, run_id)
        assert claim is not None
        await store.journal.append(claim, (), folded=claim.head)
        await advanced(tenant, run_id)

    async with _opened(url, journal=store.journal, on_error=heard) as dispatcher, _serving(dispatcher, take):
        await dispatcher.wake("acme", "before")
        await store.journal.create("acme", "before", started())
        await advanced.until(lambda runs: "before" in runs)

        await anyio.to_thread.run_sync(own_postgres.stop)
        asked = time.monotonic()
        await dispatcher.wake("acme", "meanwhile")
        assert time.monotonic() - asked < 0.1
        await store.journal.create("acme", "meanwhile", started())
        with pytest.raises(StoreUnavailable):
            await dispatcher.workers()
        assert time.monotonic() - asked < 1.0
        await anyio.sleep(_STALLED_S)
        await anyio.to_thread.run_sync(own_postgres.start)

        await advanced.until(lambda runs: "meanwhile" in runs, within_s=5.0)
        await store.journal.create("acme", "after", started())
        await dispatcher.wake("acme", "after")
        await advanced.until(lambda runs: "after" in runs, within_s=5.0)

    assert [type(error) for _, error in told] == [StoreUnavailable]


@pytest.mark.row("R7", part="postgres away")
async def test_a_run_whose_worker_died_while_postgres_was_away_is_taken_over(own_postgres: PostgresServer) -> None:
    url = own_postgres.new_database()
    await migrate_postgres(url)
    advanced = Advanced()
    async with _opened(url) as dispatcher, _other_worker(url) as (other, said):
        await dispatcher.wake("acme", "r1")
        assert await said.next() == "r1"

        async with _serving(dispatcher, advanced):
            own_postgres.stop()
            os.kill(other.pid, signal.SIGKILL)
            await anyio.sleep(_STALLED_S)  # until nobody's heartbeat can tell who is dead
            own_postgres.start()
            back = time.monotonic()
            await advanced.until(lambda runs: runs == ["r1"])
            took_s = time.monotonic() - back

        assert took_s < _STALLED_S / 2 + 6
        assert await _jobs(url) == []


async def test_a_frozen_database_holds_nobody_up_and_no_worker_is_taken_for_dead(own_postgres: PostgresServer) -> None:
    url = own_postgres.new_database()
    await migrate_postgres(url)
    begun, go_on, advanced = anyio.Event(), anyio.Event(), Advanced()

    async def slow(tenant: str, run_id: str) -> None:
        begun.set()
        await go_on.wait()
        await advanced(tenant, run_id)

    async with _opened(url) as one, _opened(url) as other, _serving(one, slow):
        await one.wake("acme", "r1")
        await begun.wait()
        async with _serving(other, advanced):
            while len(await one.workers()) < 2:
                await anyio.sleep(0.02)

            own_postgres.freeze()
            asked = time.monotonic()
            await one.wake("acme", "r2")
            with pytest.raises(StoreUnavailable):
                await one.workers()
            assert time.monotonic() - asked < 1.0
            await anyio.sleep(_STALLED_S)
            own_postgres.thaw()

            await _until_all_live(one)
            assert advanced.runs.count("r1") == 0
            go_on.set()
            await advanced.until(lambda runs: "r1" in runs)


async def _until_all_live(dispatcher: ProcrastinateDispatcher) -> None:
    with anyio.fail_after(10):
        while True:
            with suppress(StoreUnavailable):
                if all(worker.alive for worker in await dispatcher.workers()):
                    return
            await anyio.sleep(0.02)


async def test_a_worker_waits_for_a_database_that_is_away_and_can_be_stopped_meanwhile(own_postgres: PostgresServer) -> None:
    url = own_postgres.new_database()
    await migrate_postgres(url)
    advanced, ended = Advanced(), anyio.Event()
    async with _opened(url) as dispatcher:
        own_postgres.stop()

        async def serve() -> None:
            await dispatcher.serve(advanced)
            ended.set()

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(serve)
                await anyio.sleep(0.2)
                waited = not ended.is_set()
                await dispatcher.stop(1.0)

    assert waited
    assert ended.is_set()
    assert advanced.runs == []


async def test_a_database_that_is_away_at_the_start_is_an_error(own_postgres: PostgresServer) -> None:
    own_postgres.stop()

    with pytest.raises(StoreUnavailable):
        async with _opened(own_postgres.url()):
            pass


async def test_a_worker_that_ends_by_itself_is_fatal(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: Jobs, **arguments: Any) -> None:
        raise RuntimeError("a part of the worker that is not the database's")

    monkeypatch.setattr(Jobs, "listen_for_jobs", broken)

    async with _opened(url) as dispatcher:
        with anyio.fail_after(5), pytest.raises(Unavailable, match="by itself"):
            await dispatcher.serve(Advanced())


async def test_workers_are_seen_by_everybody_with_the_age_of_their_heartbeat(url: str) -> None:
    async with _opened(url) as replica, _opened(url) as dispatcher:
        assert await replica.workers() == ()

        async with _serving(dispatcher, Advanced()):
            while not await replica.workers():
                await anyio.sleep(0.02)
            (worker,) = await replica.workers()

        assert worker.alive
        assert 0 <= worker.age_s < _STALLED_S
        assert await replica.workers() == ()


async def test_a_twin_that_was_given_the_run_keeps_its_job_when_the_first_ends(url: str) -> None:
    async def nobody(run_id: str, error: Exception) -> None:
        raise error

    async with _opened(url), Pool(url, min_size=2, open=False, configure=_autocommit) as pool:
        connector = PsycopgConnector()
        app = App(connector=connector)
        await app.open_async(pool)
        first, twin = (Jobs(connector, pool, Outages(nobody, time.monotonic)) for _ in range(2))
        await first.defer({("acme", "r1"): 0})
        job = await first.fetch_job([QUEUE], await first.enrol())
        assert job is not None

        assert await twin.bury(stalled_s=0.0) == 1
        again = await twin.fetch_job([QUEUE], await twin.enrol())
        await first.finish_job(job, Status.SUCCEEDED, delete_job=True)

        assert again is not None
        assert [(job_id, status) for job_id, status, _ in await _jobs(url)] == [(again.id, "doing")]


async def test_workers_that_find_the_same_runs_at_once_add_one_job_for_each(url: str) -> None:
    runs = [("acme", f"r{number:03}") for number in range(200)]
    added: list[int] = []

    async def nobody(run_id: str, error: Exception) -> None:
        raise error

    async with _opened(url), Pool(url, min_size=2, open=False, configure=_autocommit) as pool:
        jobs = Jobs(PsycopgConnector(), pool, Outages(nobody, time.monotonic))

        async def scan() -> None:
            added.append(await jobs.defer_missing(runs))

        async with await psycopg.AsyncConnection.connect(url) as connection, anyio.create_task_group() as tasks:
            await connection.execute("LOCK TABLE procrastinate_jobs IN SHARE MODE")  # all may look, nobody may write
            tasks.start_soon(scan)
            tasks.start_soon(scan)
            await _until_both_wait(connection)
            await connection.rollback()

    assert sum(added) == len(runs)
    assert [lock for _, _, lock in await _jobs(url)] == [f"{tenant}/{run_id}" for tenant, run_id in runs]


async def _until_both_wait(connection: psycopg.AsyncConnection[Any]) -> None:
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'procrastinate_jobs'::regclass"
    with anyio.fail_after(10):
        while (await (await connection.execute(waiting)).fetchone()) != (2,):
            await anyio.sleep(0.01)


async def _autocommit(connection: Any) -> None:
    await connection.set_autocommit(True)


async def test_replicas_that_start_together_make_the_tables_once(url: str) -> None:
    ran: list[str] = []

    async def start() -> None:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            ran.extend(await apply_schema(connection))

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(start)

    assert ran == ["schema.sql", "jobs_open_by_lock.sql", "grants.sql"]


async def test_a_later_version_of_the_queue_brings_its_files_in_order(url: str) -> None:
    files = sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"))
    old, new = [file for file in files if file.name < "03.02"], [file for file in files if file.name >= "03.02"]
    note = "INSERT INTO schema_parts (part, name, checksum, applied_at) VALUES (%s, %s, '', now())"
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for file in old:  # a database that was begun with version 3.1
            await connection.execute(file.read_bytes())
            await connection.execute(note, (PART, file.name))
        await connection.execute(note, (PART, "schema.sql"))

        ran = await apply_schema(connection)

        assert list(ran) == [*(file.name for file in new), "jobs_open_by_lock.sql", "grants.sql"]
        assert await apply_schema(connection) == ()

    advanced = Advanced()
    async with _opened(url) as dispatcher, _serving(dispatcher, advanced):
        await dispatcher.wake("acme", "r1")
        await advanced.until(lambda runs: runs == ["r1"])


@pytest.mark.parametrize("version", [3, 0])
async def test_a_schema_that_went_down_and_up_again_has_a_queue(url: str, version: int) -> None:
    async with _opened(url):
        pass

    await migrate_postgres(url, version)
    await migrate_postgres(url)

    async with _opened(url) as dispatcher:
        assert await dispatcher.workers() == ()


async def test_a_queue_of_another_program_outlives_our_schema(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(SchemaManager.get_schema().encode())

        await migrate_postgres(url, 0)

        cursor = await connection.execute("SELECT count(*) FROM procrastinate_jobs")
        assert await cursor.fetchone() == (0,)


async def test_a_login_that_may_not_make_the_queue_is_told_so(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        with suppress(psycopg.errors.DuplicateObject):
            await connection.execute("CREATE ROLE owns_nothing LOGIN")
        await connection.execute("GRANT quarterdeck_app, quarterdeck_dispatch TO owns_nothing")

    with pytest.raises(Misconfigured, match="login that owns"):
        async with _opened(url.replace("postgres@", "owns_nothing@")):
            pass


async def test_a_queue_that_somebody_else_made_is_refused(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await apply_schema(connection)
        await connection.execute("DELETE FROM schema_parts")

        with pytest.raises(SchemaMismatch, match="another program"):
            await apply_schema(connection)
