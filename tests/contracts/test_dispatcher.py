"""What a dispatcher promises, within one process and between several: wake-ups are hints, and nothing depends on one."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import psycopg
import pytest

from quarterdeck.core.errors import StoreUnavailable
from quarterdeck.core.runs import RunStatus
from quarterdeck.store.base import Journal
from quarterdeck.store.memory import MemoryStore
from quarterdeck.store.postgres import migrate_postgres
from quarterdeck.store.postgres_store import open_postgres
from quarterdeck.store.sqlite_store import open_sqlite
from quarterdeck.workflow.base import Advance, Dispatcher
from quarterdeck.workflow.dispatch import LocalDispatcher
from quarterdeck.workflow.dispatch_procrastinate import ProcrastinateDispatcher
from tests.contracts.stores import started

_SCAN_S = 0.2
_SOON_S = 10.0  # far more than anything here takes

Run = tuple[str, str]


@dataclass
class Fleet:
    """Dispatchers over one journal: one where there can be only one, two where processes share the runs."""

    journal: Journal
    dispatchers: list[Dispatcher]
    failures: list[tuple[str, Exception]] = field(default_factory=list)

    @property
    def dispatcher(self) -> Dispatcher:
        return self.dispatchers[0]

    async def heard(self, run_id: str, error: Exception) -> None:
        self.failures.append((run_id, error))

    @asynccontextmanager
    async def serving(self, advance: Advance, *, concurrency: int = 50) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            for dispatcher in self.dispatchers:
                tasks.start_soon(partial(dispatcher.serve, advance, concurrency=concurrency))
            with anyio.fail_after(_SOON_S):
                yield
            for dispatcher in self.dispatchers:
                await dispatcher.stop(1.0)

    async def ready(self, run_id: str, tenant: str = "acme") -> None:
        """A run that wants a worker, and nobody was told."""
        assert await self.journal.create(tenant, run_id, started(tenant=tenant))

    async def take(self, tenant: str, run_id: str, *, wake_at: datetime | None = None) -> None:
        """What an advance does at least: claim the run, and leave it waiting."""
        claim = await self.journal.claim(tenant, run_id)
        assert claim is not None
        await self.journal.append(claim, (), folded=claim.head, status=RunStatus.WAITING, wake_at=wake_at)


@asynccontextmanager
async def _local(journal: Journal) -> AsyncIterator[Fleet]:
    fleet = Fleet(journal, [])
    fleet.dispatchers.append(LocalDispatcher(journal, scan_s=_SCAN_S, on_error=fleet.heard))
    yield fleet


@asynccontextmanager
async def _shared(journal: Journal, url: str) -> AsyncIterator[Fleet]:
    fleet = Fleet(journal, [])
    opened = partial(ProcrastinateDispatcher.opened, url, journal, scan_s=_SCAN_S, on_error=fleet.heard)
    async with opened() as one, opened() as two:
        fleet.dispatchers += [one, two]
        yield fleet


def _over_memory(folder: Path, request: pytest.FixtureRequest) -> AbstractAsyncContextManager[Fleet]:
    return _local(MemoryStore().journal)


@asynccontextmanager
async def _over_sqlite(folder: Path, request: pytest.FixtureRequest) -> AsyncIterator[Fleet]:
    store = open_sqlite(folder)
    async with _local(store.journal) as fleet:
        yield fleet
    await store.close()


@asynccontextmanager
async def _over_postgres(folder: Path, request: pytest.FixtureRequest) -> AsyncIterator[Fleet]:
    url = request.getfixturevalue("postgres_url")
    store = await open_postgres(url, wait_s=_SOON_S)
    async with _shared(store.journal, url) as fleet:
        yield fleet
    await store.close()


FLEETS: dict[str, Callable[[Path, pytest.FixtureRequest], AbstractAsyncContextManager[Fleet]]] = {
    "local over memory": _over_memory,
    "local over sqlite": _over_sqlite,
    "procrastinate over postgres": _over_postgres,
}


@pytest.fixture(params=list(FLEETS))
async def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with FLEETS[request.param](tmp_path, request) as opened:
        yield opened


class Seen:
    """Advances, as they begin and end."""

    def __init__(self, work: Callable[[str, str], Awaitable[Any]]) -> None:
        self._work = work
        self.began: list[str] = []
        self.ended: list[str] = []
        self.most_at_once = 0
        self.most_of_one = 0
        self._now: Counter[Run] = Counter()
        self._changed = anyio.Event()

    async def __call__(self, tenant: str, run_id: str) -> None:
        self.began.append(run_id)
        self._now[tenant, run_id] += 1
        self.most_at_once = max(self.most_at_once, self._now.total())
        self.most_of_one = max(self.most_of_one, self._now[tenant, run_id])
        self._tell()
        try:
            await self._work(tenant, run_id)
            self.ended.append(run_id)
        finally:
            self._now[tenant, run_id] -= 1
            self._tell()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


@pytest.mark.row("L2", part="dispatch")
async def test_a_run_that_is_woken_is_advanced(fleet: Fleet) -> None:
    seen = Seen(fleet.take)
    await fleet.ready("r1")

    async with fleet.serving(seen):
        await fleet.dispatcher.wake("acme", "r1")
        await seen.until(lambda: seen.ended == ["r1"])

    assert set(seen.began) == {"r1"}


async def test_runs_of_two_tenants_with_the_same_id_do_not_wait_for_each_other(fleet: Fleet) -> None:
    both = anyio.Event()

    async def together(tenant: str, run_id: str) -> None:
        if len(seen.began) == 2:
            both.set()
        await both.wait()
        await fleet.take(tenant, run_id)

    seen = Seen(together)
    await fleet.ready("r1", "acme")
    await fleet.ready("r1", "globex")

    async with fleet.serving(seen):
        await fleet.dispatcher.wake("acme", "r1")
        await fleet.dispatcher.wake("globex", "r1")
        await seen.until(lambda: len(seen.ended) == 2)

    assert seen.most_at_once == 2


@pytest.mark.row("L2", part="dispatch")
async def test_wake_ups_that_come_twice_never_advance_a_run_twice_at_the_same_time(fleet: Fleet) -> None:
    seen = Seen(fleet.take)
    runs = [f"r{number}" for number in range(5)]
    for run_id in runs:
        await fleet.ready(run_id)

    async with fleet.serving(seen):
        for _ in range(4):
            for run_id in runs:
                for dispatcher in fleet.dispatchers:
                    await dispatcher.wake("acme", run_id)
            await anyio.lowlevel.checkpoint()
        await seen.until(lambda: {*seen.ended} == {*runs})

    assert seen.most_of_one == 1


async def test_a_wake_up_during_an_advance_leads_to_one_more_at_once(fleet: Fleet) -> None:
    go_on = anyio.Event()

    async def first_waits(tenant: str, run_id: str) -> None:
        await fleet.take(tenant, run_id)
        if len(seen.began) == 1:
            await fleet.dispatcher.wake(tenant, run_id)
            await go_on.wait()

    seen = Seen(first_waits)
    await fleet.ready("r1")

    async with fleet.serving(seen):
        await fleet.dispatcher.wake("acme", "r1")
        await seen.until(lambda: len(seen.began) == 1)
        go_on.set()
        with anyio.fail_after(1.0):  # less than it takes to give up on news and ask
            await seen.until(lambda: len(seen.ended) == 2)

    assert seen.most_of_one == 1


@pytest.mark.row("L2", part="dispatch")
async def test_a_wake_up_that_was_lost_is_made_good(fleet: Fleet) -> None:
    seen = Seen(fleet.take)

    async with fleet.serving(seen):
        await fleet.ready("r1")
        await seen.until(lambda: seen.ended == ["r1"])

    assert set(seen.began) == {"r1"}


@pytest.mark.row("L2", part="dispatch")
async def test_a_timer_fires_when_its_time_has_come_and_not_before(fleet: Fleet) -> None:
    fired: list[datetime] = []

    async def then_sleeps(tenant: str, run_id: str) -> None:
        fired.append(datetime.now(UTC))
        await fleet.take(tenant, run_id, wake_at=due if len(fired) == 1 else None)

    seen = Seen(then_sleeps)
    await fleet.ready("r1")
    due = datetime.now(UTC) + timedelta(seconds=0.7)

    async with fleet.serving(seen):
        await fleet.dispatcher.wake("acme", "r1")
        await seen.until(lambda: len(seen.ended) == 2)

    assert timedelta(0) <= fired[1] - due < timedelta(seconds=1.5)


async def test_no_more_runs_are_advanced_at_once_than_a_worker_may(fleet: Fleet) -> None:
    full, go_on = 2 * len(fleet.dispatchers), anyio.Event()

    async def blocks(tenant: str, run_id: str) -> None:
        await go_on.wait()
        await fleet.take(tenant, run_id)

    seen = Seen(blocks)
    for number in range(10):
        await fleet.ready(f"r{number}")

    async with fleet.serving(seen, concurrency=2):
        for number in range(10):
            await fleet.dispatcher.wake("acme", f"r{number}")
        await seen.until(lambda: len(seen.began) == full)
        go_on.set()
        await seen.until(lambda: len({*seen.ended}) == 10)

    assert seen.most_at_once == full


async def test_the_smaller_priority_goes_first(fleet: Fleet) -> None:
    seen = Seen(fleet.take)
    for run_id in ("late", "usual", "urgent"):
        await fleet.ready(run_id)

    await fleet.dispatcher.wake("acme", "late", priority=5)
    await fleet.dispatcher.wake("acme", "usual")
    await fleet.dispatcher.wake("acme", "urgent", priority=-5)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(fleet.dispatcher.serve, seen, concurrency=1))
        with anyio.fail_after(_SOON_S):
            await seen.until(lambda: len({*seen.ended}) == 3)
        await fleet.dispatcher.stop(1.0)

    assert list(dict.fromkeys(seen.began)) == ["urgent", "usual", "late"]


@pytest.mark.row("L2", part="dispatch")
async def test_an_advance_that_raises_is_reported_and_tried_again_and_stops_no_other(fleet: Fleet) -> None:
    async def fails_twice(tenant: str, run_id: str) -> None:
        if run_id == "bad" and Counter(seen.began)["bad"] <= 2:
            raise StoreUnavailable("disk full")
        await fleet.take(tenant, run_id)

    seen = Seen(fails_twice)
    await fleet.ready("bad")
    await fleet.ready("good")

    async with fleet.serving(seen):
        await fleet.dispatcher.wake("acme", "bad")
        await fleet.dispatcher.wake("acme", "good")
        await seen.until(lambda: {*seen.ended} == {"bad", "good"})

    assert [run_id for run_id, _ in fleet.failures] == ["bad", "bad"]
    assert all(isinstance(error, StoreUnavailable) for _, error in fleet.failures)


async def test_stopping_lets_running_advances_end_and_takes_nothing_new(fleet: Fleet) -> None:
    go_on = anyio.Event()

    async def slow(tenant: str, run_id: str) -> None:
        await fleet.take(tenant, run_id)
        await go_on.wait()

    seen = Seen(slow)
    await fleet.ready("r1")
    stopping: list[Dispatcher] = []

    async def stop(dispatcher: Dispatcher) -> None:
        stopping.append(dispatcher)
        await dispatcher.stop(5.0)

    with anyio.fail_after(_SOON_S):
        async with anyio.create_task_group() as tasks:
            for dispatcher in fleet.dispatchers:
                tasks.start_soon(dispatcher.serve, seen)
            await fleet.dispatcher.wake("acme", "r1")
            await seen.until(lambda: len(seen.began) == 1)
            async with anyio.create_task_group() as stops:
                for dispatcher in fleet.dispatchers:
                    stops.start_soon(stop, dispatcher)
                while stopping != fleet.dispatchers:
                    await anyio.lowlevel.checkpoint()
                await fleet.dispatcher.wake("acme", "r1")
                go_on.set()

    assert seen.began == seen.ended == ["r1"]


async def test_stopping_cuts_what_does_not_end_in_time(fleet: Fleet) -> None:
    seen = Seen(lambda tenant, run_id: anyio.sleep_forever())
    await fleet.ready("r1")

    with anyio.fail_after(_SOON_S):
        async with anyio.create_task_group() as tasks:
            for dispatcher in fleet.dispatchers:
                tasks.start_soon(dispatcher.serve, seen)
            await fleet.dispatcher.wake("acme", "r1")
            await seen.until(lambda: len(seen.began) == 1)
            for dispatcher in reversed(fleet.dispatchers):
                await dispatcher.stop(0.05)

    assert seen.ended == []


async def test_stopping_before_anything_was_served_ends_the_serving(fleet: Fleet) -> None:
    seen, ended = Seen(fleet.take), 0

    async def serve(dispatcher: Dispatcher) -> None:
        nonlocal ended
        await dispatcher.serve(seen)
        ended += 1

    with anyio.fail_after(_SOON_S):
        async with anyio.create_task_group() as tasks:
            for dispatcher in fleet.dispatchers:
                tasks.start_soon(serve, dispatcher)
            for dispatcher in fleet.dispatchers:
                await dispatcher.stop(1.0)

    assert (ended, seen.began) == (len(fleet.dispatchers), [])


async def test_serving_ends_when_it_is_cancelled_in_the_middle_of_an_advance(fleet: Fleet) -> None:
    seen = Seen(lambda tenant, run_id: anyio.sleep_forever())
    await fleet.ready("r1")

    with anyio.fail_after(_SOON_S):
        async with anyio.create_task_group() as tasks:
            for dispatcher in fleet.dispatchers:
                tasks.start_soon(dispatcher.serve, seen)
            await fleet.dispatcher.wake("acme", "r1")
            await seen.until(lambda: len(seen.began) == 1)
            tasks.cancel_scope.cancel()

    assert seen.ended == []


async def test_runs_that_wait_cost_nothing(postgres_url: str) -> None:
    journal = MemoryStore().journal
    await migrate_postgres(postgres_url)
    async with _shared(journal, postgres_url) as fleet:
        for number in range(10_000):
            await fleet.ready(f"r{number:05}")
            await fleet.take("acme", f"r{number:05}", wake_at=datetime.now(UTC) + timedelta(days=7))
        seen = Seen(fleet.take)

        async with fleet.serving(seen):
            await fleet.ready("zlast")  # found by a scan, so there was one
            await seen.until(lambda: seen.ended == ["zlast"])

        async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
            cursor = await connection.execute("SELECT count(*) FROM procrastinate_jobs")
            jobs = await cursor.fetchone()

    # A scan and a wake-up of the one that was ready may each have left a job; the ten thousand that wait have none.
    assert jobs is not None
    assert jobs[0] <= 1


async def test_a_burst_of_wake_ups_does_not_slow_each_other_down(postgres_url: str) -> None:
    many, enough = 3000, anyio.Event()
    begun: list[str] = []

    async def counted(tenant: str, run_id: str) -> None:
        begun.append(run_id)
        if len(begun) == 300:
            enough.set()

    await migrate_postgres(postgres_url)
    async with _shared(MemoryStore().journal, postgres_url) as fleet:
        for number in range(many):
            await fleet.dispatcher.wake("acme", f"r{number}")

        async with fleet.serving(counted):
            await enough.wait()  # within the fleet's deadline; when each was compared with all others, it took a minute

        assert len(begun) == len({*begun})
