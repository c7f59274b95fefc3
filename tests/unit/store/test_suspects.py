"""Runs whose worker was lost again and again are claimed one after the other, each with its last chance."""

from __future__ import annotations

from functools import partial

import anyio
import anyio.lowlevel
import pytest

from quarterdeck.core.runs import RunStatus
from quarterdeck.store.base import Claim, Journal
from quarterdeck.store.memory import MemoryStore
from quarterdeck.store.suspects import POISON_AFTER, SuspectsApart
from quarterdeck.workflow.dispatch import LocalDispatcher
from tests.contracts.stores import begin, reply, started

pytestmark = [pytest.mark.anyio, pytest.mark.row("L2")]


async def lost(journal: Journal, run_id: str, times: int) -> None:
    """A run whose worker was lost so often before it appended anything."""
    await begin(journal, run_id)
    for _ in range(times - 1):
        await journal.claim("acme", run_id)


async def taken(journal: Journal, run_id: str) -> Claim:
    claim = await journal.claim("acme", run_id)
    assert claim is not None
    return claim


@pytest.fixture
async def journal() -> Journal:
    """With three runs that have one chance left."""
    journal = MemoryStore().journal
    for run_id in ("a", "b", "c"):
        await lost(journal, run_id, POISON_AFTER - 1)
    return journal


async def test_of_runs_with_one_chance_left_one_is_under_way_until_it_appends(journal: Journal) -> None:
    apart = SuspectsApart(journal, alone_s=60, patience_s=0)

    first = await taken(apart, "a")
    early, waiting = await apart.claim("acme", "b"), await journal.find("acme", "b")
    await apart.append(first, [reply(1)], folded=1)
    second = await taken(apart, "b")

    assert early is None
    assert waiting is not None
    assert waiting.attempts == POISON_AFTER - 1  # lost now, the one that waits has a chance left all the same
    assert second.attempts == POISON_AFTER


async def test_of_two_that_are_claimed_at_once_one_waits(journal: Journal) -> None:
    apart = SuspectsApart(journal, alone_s=60, patience_s=0)
    claims: list[Claim | None] = []

    async def take(run_id: str) -> None:
        claims.append(await apart.claim("acme", run_id))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take, "a")
        tasks.start_soon(take, "b")

    assert sorted(claim is None for claim in claims) == [False, True]


async def test_one_that_gets_on_soon_is_waited_for(journal: Journal) -> None:
    apart = SuspectsApart(journal, alone_s=60, patience_s=60)
    under_way: list[str] = []
    ended: list[str] = []

    async def advance(run_id: str) -> None:
        claim = await taken(apart, run_id)
        under_way.append(run_id)
        await anyio.lowlevel.checkpoint()
        assert under_way == [run_id]
        under_way.clear()
        await apart.append(claim, [reply(1)], folded=1)
        ended.append(run_id)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for run_id in ("a", "b", "c"):
                tasks.start_soon(advance, run_id)

    assert ended == ["a", "b", "c"]


async def test_who_is_cut_while_waiting_leaves_the_place_to_the_next(journal: Journal) -> None:
    apart = SuspectsApart(journal, alone_s=60, patience_s=60)
    first = await taken(apart, "a")

    with anyio.move_on_after(0.01):
        await apart.claim("acme", "b")
    await apart.append(first, [reply(1)], folded=1)

    with anyio.fail_after(5):
        third = await taken(apart, "c")
    waited = await journal.find("acme", "b")

    assert waited is not None
    assert (third.attempts, waited.attempts) == (POISON_AFTER, POISON_AFTER - 1)


async def test_those_whose_turn_it_was_not_are_due_once_it_can_be_theirs_in_their_order(journal: Journal) -> None:
    apart = SuspectsApart(journal, alone_s=60, patience_s=0)
    first = await taken(apart, "a")
    for run_id in ("c", "b"):
        await apart.claim("acme", run_id)

    before = await apart.due(stalled_s=1e-9)  # with every running run
    await apart.append(first, [reply(1)], folded=1)
    after = await apart.due()
    await taken(apart, "c")
    last = await apart.due()

    assert (before, after, last) == ([("acme", "a")], [("acme", "c"), ("acme", "b")], [])


async def test_one_that_another_process_took_meanwhile_is_not_taken_from_it(journal: Journal) -> None:
    apart = SuspectsApart(journal, alone_s=60, patience_s=0)
    first = await taken(apart, "a")
    await apart.claim("acme", "b")
    await journal.claim("acme", "b")

    await apart.append(first, [reply(1)], folded=1)

    assert await apart.due() == []


async def test_one_that_takes_its_time_is_not_waited_for_without_end(journal: Journal) -> None:
    apart = SuspectsApart(journal, alone_s=0.01, patience_s=0)
    await taken(apart, "a")
    assert await apart.claim("acme", "b") is None

    with anyio.fail_after(5):
        while not await apart.due():
            await anyio.sleep(0.005)

    assert await apart.claim("acme", "b") is not None


async def test_others_are_claimed_at_once_and_what_may_not_be_claimed_is_not_due(journal: Journal) -> None:
    apart = SuspectsApart(journal, alone_s=60, patience_s=0)
    await lost(journal, "healthy", 1)
    first = await taken(apart, "a")

    healthy = await taken(apart, "healthy")
    unknown, foreign = await apart.claim("acme", "d"), await apart.claim("evil", "b")
    await apart.append(first, [reply(1)], folded=1)

    assert (healthy.attempts, unknown, foreign) == (2, None, None)
    assert await apart.due() == []


async def test_suspects_that_wait_keep_no_place_from_a_new_run(journal: Journal) -> None:
    apart = SuspectsApart(journal, alone_s=60, patience_s=0)
    dispatcher = LocalDispatcher(apart, scan_s=0.01)
    ended: list[str] = []
    goes_on, new, all_over = anyio.Event(), anyio.Event(), anyio.Event()

    async def advance(tenant: str, run_id: str) -> None:
        claim = await apart.claim(tenant, run_id)
        if claim is None:
            return
        if run_id == "new":
            new.set()
        else:
            await goes_on.wait()
        await apart.append(claim, [reply(1)], folded=claim.head, status=RunStatus.DONE)
        ended.append(run_id)
        if len(ended) == 4:
            all_over.set()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(dispatcher.serve, advance, concurrency=2))
            await anyio.wait_all_tasks_blocked()
            await apart.create("acme", "new", started())
            await dispatcher.wake("acme", "new")
            await new.wait()
            goes_on.set()
            await all_over.wait()
            await dispatcher.stop(1.0)

    assert ended == ["new", "a", "b", "c"]
