from __future__ import annotations

import anyio
import pytest

from quarterdeck.core.errors import DeadlineExceeded, StoreUnavailable
from quarterdeck.store.flight import Flights


class Work:
    """Counts how often it is begun, and ends when it is let."""

    def __init__(self) -> None:
        self.begun = 0
        self.started = anyio.Event()
        self.let = anyio.Event()
        self.errors: list[Exception] = []

    async def __call__(self) -> str:
        self.begun += 1
        self.started.set()
        await self.let.wait()
        if self.errors:
            raise self.errors.pop()
        return "done"


async def ask(flights: Flights[str], work: Work, into: list[object], key: str = "a") -> None:
    try:
        into.append(await flights.once(key, work))
    except (DeadlineExceeded, StoreUnavailable) as error:
        into.append(type(error))


@pytest.mark.row("K11", part="stampede")
async def test_what_many_want_at_once_is_made_once() -> None:
    flights: Flights[str] = Flights()
    work, got = Work(), list[object]()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(ask, flights, work, got)
            await anyio.wait_all_tasks_blocked()
            work.let.set()

    assert work.begun == 1
    assert got == ["done"] * 50
    assert flights.shared == 49


async def test_what_is_wanted_later_is_made_again() -> None:
    flights: Flights[str] = Flights()
    work, got = Work(), list[object]()
    work.let.set()

    await ask(flights, work, got)
    await ask(flights, work, got)

    assert work.begun == 2


async def test_different_keys_do_not_wait_for_each_other() -> None:
    flights: Flights[str] = Flights()
    slow, quick, got = Work(), Work(), list[object]()
    quick.let.set()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, flights, slow, got, "slow")
            await slow.started.wait()
            await ask(flights, quick, got, "quick")
            first = list(got)
            slow.let.set()

    assert first == ["done"]


async def test_who_is_cancelled_leaves_the_work_to_another() -> None:
    flights: Flights[str] = Flights()
    work, got = Work(), list[object]()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as first:
                async with anyio.create_task_group() as inner:
                    inner.start_soon(ask, flights, work, got)
                    await work.started.wait()
                    tasks.start_soon(ask, flights, work, got)
                    tasks.start_soon(ask, flights, work, got)
                    await anyio.wait_all_tasks_blocked()
                    first.cancel()
            await anyio.wait_all_tasks_blocked()
            work.let.set()

    assert work.begun == 2
    assert got == ["done", "done"]


async def test_one_whose_time_is_over_concerns_nobody_else() -> None:
    flights: Flights[str] = Flights()
    work, got = Work(), list[object]()
    work.errors = [DeadlineExceeded("too late")]

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, flights, work, got)
            tasks.start_soon(ask, flights, work, got)
            await anyio.wait_all_tasks_blocked()
            work.let.set()

    assert got == [DeadlineExceeded, "done"]


async def test_an_error_is_the_same_for_all_who_wait_and_for_nobody_later() -> None:
    flights: Flights[str] = Flights()
    work, got = Work(), list[object]()
    work.errors = [StoreUnavailable("away")]

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(ask, flights, work, got)
            await anyio.wait_all_tasks_blocked()
            work.let.set()
        await ask(flights, work, got)

    assert work.begun == 2
    assert got == [StoreUnavailable] * 3 + ["done"]
