"""Wake-ups are hints: lost ones are made good from the store, doubled ones do no harm."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import anyio
import anyio.lowlevel
import pytest

from quarterdeck.core.errors import StoreUnavailable
from quarterdeck.workflow.dispatch import LocalDispatcher
from quarterdeck.workflow.lanes import Lane


class Due:
    """The part of a journal a dispatcher asks."""

    def __init__(self, *answers: Sequence[tuple[str, str]] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[float] = []

    async def due(self, limit: int = 100, *, stalled_s: float = 0.0) -> list[tuple[str, str]]:
        self.asked.append(stalled_s)
        answer = self.answers.pop(0) if self.answers else []
        if isinstance(answer, Exception):
            raise answer
        return list(answer)


async def served(dispatcher: LocalDispatcher, advanced: list[str], until: int) -> None:
    """Serve until `until` advances have ended."""
    enough = anyio.Event()

    async def advance(tenant: str, run_id: str) -> None:
        advanced.append(run_id)
        if len(advanced) >= until:
            enough.set()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dispatcher.serve, advance)
            await enough.wait()
            await dispatcher.stop(1.0)


@pytest.mark.row("L2", part="recovery")
async def test_runs_that_lost_their_worker_are_taken_up_at_the_start() -> None:
    journal = Due([("acme", "r1"), ("acme", "r2")])
    advanced: list[str] = []

    await served(LocalDispatcher(journal), advanced, 2)  # type: ignore[arg-type]  # only `due` is asked

    assert sorted(advanced) == ["r1", "r2"]
    assert journal.asked[0] > 0


async def test_a_lost_wake_up_is_found_by_the_scan() -> None:
    journal = Due([], [("acme", "r1")])
    advanced: list[str] = []

    await served(LocalDispatcher(journal, scan_s=0.01), advanced, 1)  # type: ignore[arg-type]

    assert advanced == ["r1"]


async def test_timers_of_a_server_that_is_never_without_news_are_found_as_well() -> None:
    dispatcher = LocalDispatcher(Due([], [("acme", "timer")]), scan_s=0.05)  # type: ignore[arg-type]
    found = anyio.Event()
    news: list[int] = []

    async def advance(tenant: str, run_id: str) -> None:
        if run_id == "timer":
            found.set()
        else:
            news.append(int(run_id))
            await dispatcher.wake(tenant, f"{int(run_id) + 1}")

    await dispatcher.wake("acme", "1")
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dispatcher.serve, advance)
            await found.wait()
            await dispatcher.stop(1.0)

    assert len(news) > 1


async def test_a_wake_up_during_an_advance_leads_to_one_more() -> None:
    dispatcher = LocalDispatcher(Due())  # type: ignore[arg-type]
    advanced: list[str] = []
    twice = anyio.Event()

    async def advance(tenant: str, run_id: str) -> None:
        advanced.append(run_id)
        if len(advanced) == 1:
            await dispatcher.wake(tenant, run_id)
            await dispatcher.wake(tenant, run_id)
        else:
            twice.set()

    await dispatcher.wake("acme", "r1")
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dispatcher.serve, advance)
            await twice.wait()
            await dispatcher.stop(1.0)

    assert advanced == ["r1", "r1"]


async def test_an_advance_that_raises_is_reported_and_the_others_go_on() -> None:
    failures: list[tuple[str, Exception]] = []
    seen: list[str] = []
    enough = anyio.Event()

    async def heard(run_id: str, error: Exception) -> None:
        failures.append((run_id, error))

    async def advance(tenant: str, run_id: str) -> None:
        if run_id == "bad":
            raise StoreUnavailable("disk full")
        seen.append(run_id)
        enough.set()

    dispatcher = LocalDispatcher(Due(), on_error=heard)  # type: ignore[arg-type]
    await dispatcher.wake("acme", "bad")
    await dispatcher.wake("acme", "good")
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dispatcher.serve, advance)
            await enough.wait()
            await dispatcher.stop(1.0)

    assert seen == ["good"]
    assert [run_id for run_id, _ in failures] == ["bad"]


async def test_stop_lets_running_advances_end_and_cuts_those_that_do_not() -> None:
    ended: list[str] = []
    began = anyio.Event()

    async def advance(tenant: str, run_id: str) -> None:
        began.set()
        await anyio.sleep_forever()
        ended.append(run_id)

    dispatcher = LocalDispatcher(Due())  # type: ignore[arg-type]
    await dispatcher.wake("acme", "r1")
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dispatcher.serve, advance)
            await began.wait()
            await dispatcher.stop(0.05)

    assert ended == []


@pytest.mark.row("L5", part="tenants")
async def test_a_tenant_that_wakes_many_runs_does_not_keep_one_of_another_waiting() -> None:
    dispatcher = LocalDispatcher(Due())  # type: ignore[arg-type]  # only `due` is asked
    advanced: list[str] = []
    for number in range(20):
        await dispatcher.wake("noisy", f"n{number}")
    await dispatcher.wake("quiet", "q0")
    await dispatcher.wake("quiet", "q1")

    async def advance(tenant: str, run_id: str) -> None:
        advanced.append(run_id)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(dispatcher.serve, advance, concurrency=1))
            while len(advanced) < 22:
                await anyio.lowlevel.checkpoint()
            await dispatcher.stop(1.0)

    assert advanced[:4] == ["n0", "q0", "n1", "q1"]


@pytest.mark.row("L5", part="lanes")
async def test_people_go_first_batches_next_and_evaluations_last() -> None:
    dispatcher = LocalDispatcher(Due())  # type: ignore[arg-type]
    advanced: list[str] = []
    for lane in (Lane.EVAL, Lane.BATCH, Lane.INTERACTIVE):
        await dispatcher.wake("acme", lane, priority=lane.priority)

    await served(dispatcher, advanced, 3)

    assert advanced == ["interactive", "batch", "eval"]


async def test_in_a_crowd_the_newest_goes_first_and_another_tenant_keeps_its_turn() -> None:
    now = [100.0]
    dispatcher = LocalDispatcher(Due(), longest_wait_s=2.0, clock=lambda: now[0])  # type: ignore[arg-type]
    advanced: list[str] = []
    for number in range(4):
        await dispatcher.wake("noisy", f"n{number}")
    now[0] += 3
    await dispatcher.wake("quiet", "q0")

    async def advance(tenant: str, run_id: str) -> None:
        advanced.append(run_id)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(dispatcher.serve, advance, concurrency=1))
            while len(advanced) < 5:
                await anyio.lowlevel.checkpoint()
            await dispatcher.stop(1.0)

    assert advanced == ["n3", "q0", "n2", "n1", "n0"]


@pytest.mark.row("L5", part="tenants")
async def test_while_two_tenants_are_there_one_of_them_leaves_places_for_the_other() -> None:
    dispatcher = LocalDispatcher(Due())  # type: ignore[arg-type]
    running: list[str] = []
    end = anyio.Event()

    async def advance(tenant: str, run_id: str) -> None:
        running.append(tenant)
        await end.wait()

    async def settled() -> list[str]:
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        return sorted(running)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(dispatcher.serve, advance, concurrency=8))
            await dispatcher.wake("quiet", "q0")
            for number in range(20):
                await dispatcher.wake("noisy", f"n{number}")
            beside = list(await settled())
            await dispatcher.wake("quiet", "q1")
            await dispatcher.wake("quiet", "q2")
            after = list(await settled())
            end.set()
            await dispatcher.stop(1.0)

    assert beside == ["noisy"] * 5 + ["quiet"]
    assert after == ["noisy"] * 5 + ["quiet"] * 3


async def test_a_tenant_that_is_alone_has_all_places() -> None:
    now = [100.0]
    dispatcher = LocalDispatcher(Due(), clock=lambda: now[0])  # type: ignore[arg-type]
    most = 0

    async def advance(tenant: str, run_id: str) -> None:
        nonlocal most
        most = max(most, dispatcher.busy)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(dispatcher.serve, advance, concurrency=8))
            await dispatcher.wake("quiet", "q0")
            while dispatcher.busy or not most:
                await anyio.lowlevel.checkpoint()
            now[0] += 60  # the quiet one was not heard of since
            for number in range(8):
                await dispatcher.wake("noisy", f"n{number}")
            while most < 8:
                await anyio.lowlevel.checkpoint()
            await dispatcher.stop(1.0)

    assert most == 8
