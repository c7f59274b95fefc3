"""Those who say when a campaign is over must not be fooled by what happens while they look."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from quarterdeck.core.answers import Answer
from quarterdeck.core.errors import StoreUnavailable
from quarterdeck.core.events import ApprovalDecided, FinalAnswer
from quarterdeck.core.labels import join_all
from quarterdeck.core.runs import RunStatus, StopReason
from quarterdeck.store.base import Claim, Entry
from quarterdeck.store.memory import MemoryStore
from tests.chaos.people import People
from tests.chaos.plan import TENANT

_DECIDED = ApprovalDecided(id="t3c3", approved=True, by="lee", args_hash="0")
_ENDED = FinalAnswer(answer=Answer(text="All is done."), stop_reason=StopReason.COMPLETED, label=join_all(()))


class Eventful:
    """A journal in which something happens right after each question about runs, and that may go away at their beginning."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.then: Callable[[], Awaitable[None]] | None = None
        self.stores = self.answers = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def create(self, tenant: str, run_id: str, started: Entry) -> None:
        if self.stores:
            await self._inner.create(tenant, run_id, started)
        if not self.answers:
            raise StoreUnavailable("the store went away in the middle of it")

    async def runs(self, tenant: str, **filters: Any) -> Any:
        return await self._answered(await self._inner.runs(tenant, **filters))

    async def heads(self, runs: Sequence[tuple[str, str]]) -> Any:
        return await self._answered(await self._inner.heads(runs))

    async def _answered(self, answer: Any) -> Any:
        if self.then is not None:
            await self.then()
        return answer


@pytest.fixture
def journal() -> Eventful:
    return Eventful(MemoryStore().journal)


@pytest.fixture
def people(journal: Eventful, tmp_path: Path) -> People:
    return People(SimpleNamespace(journal=journal, records=MemoryStore().records), tmp_path / "ledger", random.Random(1))


async def _waiting(people: People, journal: Eventful) -> Claim:
    """A run that waits for a person, under its worker's claim."""
    await people.begin()
    claim: Claim | None = await journal.claim(TENANT, people.begun[0])
    assert claim is not None
    await journal.append(claim, (), folded=claim.head, status=RunStatus.WAITING)
    return claim


async def test_a_run_that_is_decided_while_people_look_is_open_all_the_same(people: People, journal: Eventful) -> None:
    claim = await _waiting(people, journal)

    async def decide() -> None:
        await journal.post(TENANT, claim.run_id, Entry(event=_DECIDED))

    journal.then = decide

    assert await people.open() == {claim.run_id: claim.head}


async def test_a_run_that_gets_on_is_waited_for_beyond_all_patience(people: People, journal: Eventful) -> None:
    claim = await _waiting(people, journal)
    steps = iter([*(replace(_DECIDED, id=f"t{turn}c3") for turn in range(1, 5)), _ENDED])
    head = claim.head

    async def get_on() -> None:
        nonlocal head
        if step := next(steps, None):
            status = RunStatus.DONE if step is _ENDED else RunStatus.RUNNING
            head = (await journal.append(claim, [Entry(event=step)], folded=head, status=status)).head

    journal.then = get_on
    with anyio.fail_after(10):
        silent_s = await people.wait_for_the_end(patience_s=0.02)

    assert await people.open() == {}
    assert silent_s == 0


async def test_a_run_nobody_works_on_is_given_up(people: People, journal: Eventful) -> None:
    claim = await _waiting(people, journal)

    with anyio.fail_after(10):
        silent_s = await people.wait_for_the_end(patience_s=0.1)

    assert silent_s >= 0.1
    assert await people.open() == {claim.run_id: claim.head}


@pytest.mark.parametrize("stored", [True, False])
async def test_a_run_nobody_was_told_of_is_waited_for_only_if_it_began(
    people: People, journal: Eventful, stored: bool
) -> None:
    journal.answers, journal.stores = False, stored

    with pytest.raises(StoreUnavailable):
        await people.begin()

    assert await people.open() == ({people.begun[0]: 1} if stored else {})
