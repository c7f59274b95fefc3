from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import pytest

from quarterdeck.core.errors import StoreUnavailable
from quarterdeck.core.events import CancelRequested, PauseRequested, RetryRequested, RunFailed
from quarterdeck.core.runs import RunStatus
from quarterdeck.service.streams import Hub, Moved, Rested
from quarterdeck.service.watch import Watch
from quarterdeck.store.base import Claim, Entry
from quarterdeck.store.memory import MemoryStore
from tests.unit.service.test_streams import FINAL, RUN, STARTED

KEY = "acme", RUN


class Looks:
    """A journal that counts how often it is looked at, and may be away."""

    def __init__(self, store: MemoryStore) -> None:
        self._journal = store.journal
        self.heads_asked: list[int] = []
        self.reads: list[int] = []
        self.away = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def heads(self, runs: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], tuple[int, RunStatus]]:
        self.heads_asked.append(len(runs))
        if self.away:
            raise StoreUnavailable("away")
        return await self._journal.heads(runs)

    def read(self, tenant: str, run_id: str, after: int = 0) -> Any:
        self.reads.append(after)
        return self._journal.read(tenant, run_id, after)


class Stage:
    """A run, the hub of one process, and its watch."""

    def __init__(self) -> None:
        self.journal = Looks(MemoryStore())
        self.hub = Hub()
        self.interrupted: list[str] = []
        self.watch = Watch(self.journal, self.hub, self.interrupted.append)  # type: ignore[arg-type]

    async def begin(self) -> Claim:
        await self.journal.create("acme", RUN, Entry(event=STARTED))
        claim: Claim = await self.journal.claim("acme", RUN)
        return claim

    async def post(self, *events: Any) -> None:
        for event in events:
            await self.journal.post("acme", RUN, Entry(event=event))

    async def look(self) -> None:
        await self.watch.look(self.hub.keys())


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.mark.row("S3", part="without redis")
async def test_readers_are_told_once_that_the_journal_grew(stage: Stage) -> None:
    await stage.begin()

    with stage.hub.reader(*KEY, deltas=True) as reader:
        await stage.look()
        await stage.look()
        await stage.post(PauseRequested(by="emma"))
        await stage.look()
        stage.hub.close()
        signals = [await reader.receive() for _ in range(3)]

    assert signals == [Moved(1), Moved(2), None]


@pytest.mark.row("R10", part="waiting callers")
@pytest.mark.parametrize(("status", "event"), [(RunStatus.WAITING, None), (RunStatus.PAUSED, None), (RunStatus.DONE, FINAL)])
async def test_readers_are_told_that_a_run_came_to_rest(stage: Stage, status: RunStatus, event: Any) -> None:
    claim = await stage.begin()

    with stage.hub.reader(*KEY, deltas=False) as reader:
        entries = [] if event is None else [Entry(event=event)]
        await stage.journal.append(claim, entries, folded=claim.head, status=status)
        await stage.look()
        signal = await reader.receive()

    assert signal == Rested()


async def test_reader_who_comes_later_is_told_too(stage: Stage) -> None:
    claim = await stage.begin()
    await stage.journal.append(claim, [], folded=claim.head, status=RunStatus.WAITING)

    with stage.hub.reader(*KEY, deltas=False):
        await stage.look()
        with stage.hub.reader(*KEY, deltas=False) as late:
            await stage.look()
            signal = await late.receive()

    assert signal == Rested()


@pytest.mark.row("S11", part="cancel between processes")
async def test_run_that_somebody_cancelled_elsewhere_is_interrupted_once(stage: Stage) -> None:
    await stage.begin()

    with stage.hub.advancing(*KEY):
        await stage.look()
        before = list(stage.interrupted)
        await stage.post(CancelRequested(by="emma"))
        await stage.look()
        await stage.look()

    assert (before, stage.interrupted) == ([], [RUN])


async def test_other_words_from_outside_wait_for_the_end_of_the_turn(stage: Stage) -> None:
    await stage.begin()

    with stage.hub.advancing(*KEY):
        await stage.post(PauseRequested(by="emma"))
        await stage.look()

    assert stage.interrupted == []


async def test_what_the_worker_itself_appended_is_not_read_again(stage: Stage) -> None:
    claim = await stage.begin()

    with stage.hub.advancing(*KEY):
        await stage.look()
        appended = await stage.journal.append(claim, [Entry(event=FINAL)], folded=claim.head)
        await stage.hub.stored(*KEY, appended.entries)
        await stage.look()
        await stage.look()

    assert stage.journal.reads == [0]


async def test_what_was_asked_before_a_retry_interrupts_nothing_after_it(stage: Stage) -> None:
    claim = await stage.begin()
    await stage.post(CancelRequested(by="anna"))
    failed = Entry(event=RunFailed(code="poison", error="it stopped its worker"))
    await stage.journal.append(claim, [failed], folded=1, status=RunStatus.FAILED)
    await stage.post(RetryRequested(by="anna"))

    with stage.hub.advancing(*KEY):
        await stage.look()

    assert stage.interrupted == []


async def test_only_runs_that_are_advanced_here_are_interrupted(stage: Stage) -> None:
    with stage.hub.advancing(*KEY):
        stage.watch.interrupt("globex", RUN)
        stage.watch.interrupt("acme", "another")
        before = list(stage.interrupted)
        stage.watch.interrupt(*KEY)
    stage.watch.interrupt(*KEY)

    assert (before, stage.interrupted) == ([], [RUN])


async def test_run_of_another_tenant_with_the_same_id_says_nothing_to_this_ones_readers(stage: Stage) -> None:
    await stage.begin()

    with stage.hub.reader("globex", RUN, deltas=True) as reader:
        await stage.look()
        stage.hub.close()

        assert await reader.receive() is None


async def test_one_look_is_one_query_however_many_runs(stage: Stage) -> None:
    await stage.begin()

    with stage.hub.reader(*KEY, deltas=True), stage.hub.reader("acme", "b", deltas=True), stage.hub.advancing(*KEY):
        await stage.look()
    await stage.look()

    assert stage.journal.heads_asked == [2]


async def test_a_store_that_is_away_is_asked_again(stage: Stage) -> None:
    await stage.begin()
    watch = Watch(stage.journal, stage.hub, stage.interrupted.append, alone_s=0.001)  # type: ignore[arg-type]
    stage.journal.away = True

    with stage.hub.reader(*KEY, deltas=True) as reader:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch.serve)
            with anyio.fail_after(5):
                while len(stage.journal.heads_asked) < 3:
                    await anyio.sleep(0.001)
                stage.journal.away = False
                signal = await reader.receive()
            tasks.cancel_scope.cancel()

    assert signal == Moved(1)
