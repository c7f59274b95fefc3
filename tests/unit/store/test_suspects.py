"""Runs whose worker was lost again and again are claimed one after the other, each with its last chance."""

from __future__ import annotations

import anyio
import pytest

from quarterdeck.store.base import Claim, Journal
from quarterdeck.store.memory import MemoryStore
from quarterdeck.store.suspects import POISON_AFTER, SuspectsApart
from tests.contracts.stores import begin, reply

pytestmark = [pytest.mark.anyio, pytest.mark.row("L2")]


async def lost(journal: Journal, run_id: str, times: int) -> None:
    """A run whose worker was lost so often before it appended anything."""
    await begin(journal, run_id)
    for _ in range(times - 1):
        await journal.claim("acme", run_id)


class Claims:
    """Claims side by side, as a process does when it starts. Attributes: made: In the order in which they came."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.made: list[Claim] = []

    async def take(self, run_id: str) -> None:
        claim = await self.journal.claim("acme", run_id)
        assert claim is not None
        self.made.append(claim)

    @property
    def runs(self) -> list[str]:
        return [claim.run_id for claim in self.made]


@pytest.fixture
def journal() -> Journal:
    return MemoryStore().journal


async def test_of_runs_with_one_chance_left_one_is_under_way_until_it_appends(journal: Journal) -> None:
    apart = SuspectsApart(journal, alone_s=60)
    claims = Claims(apart)
    for run_id in ("a", "b"):
        await lost(journal, run_id, POISON_AFTER - 1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(claims.take, "a")
        tasks.start_soon(claims.take, "b")
        await anyio.wait_all_tasks_blocked()
        before, waiting = claims.runs, await journal.find("acme", "b")
        await apart.append(claims.made[0], [reply(1)], folded=1)

    assert before == ["a"]
    assert waiting is not None
    assert waiting.attempts == POISON_AFTER - 1  # lost now, the one that waits has a chance left all the same
    assert claims.runs == ["a", "b"]


async def test_one_that_takes_its_time_is_not_waited_for_without_end(journal: Journal) -> None:
    claims = Claims(SuspectsApart(journal, alone_s=0.01))
    for run_id in ("a", "b", "c"):
        await lost(journal, run_id, POISON_AFTER - 1)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for run_id in ("a", "b", "c"):
                tasks.start_soon(claims.take, run_id)

    assert claims.runs == ["a", "b", "c"]


async def test_others_are_claimed_at_once_and_what_may_not_be_claimed_keeps_nobody_waiting(journal: Journal) -> None:
    claims = Claims(SuspectsApart(journal, alone_s=60))
    for run_id in ("a", "b"):
        await lost(journal, run_id, POISON_AFTER - 1)
    await lost(journal, "c", 1)
    await claims.take("a")

    with anyio.fail_after(5):
        await claims.take("c")
        unknown = await claims.journal.claim("acme", "d")
        foreign = await claims.journal.claim("evil", "b")

    assert (claims.runs, unknown, foreign) == (["a", "c"], None, None)


async def test_who_is_cut_while_waiting_leaves_the_place_to_the_next(journal: Journal) -> None:
    apart = SuspectsApart(journal, alone_s=60)
    claims = Claims(apart)
    for run_id in ("a", "b", "c"):
        await lost(journal, run_id, POISON_AFTER - 1)
    await claims.take("a")

    with anyio.move_on_after(0.01):
        await claims.take("b")
    await apart.append(claims.made[0], [reply(1)], folded=1)
    with anyio.fail_after(5):
        await claims.take("c")

    assert claims.runs == ["a", "c"]
