"""Tallies: what is booked is counted once, whatever becomes of its writing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from quarterdeck.core.errors import Conflict, StoreUnavailable
from quarterdeck.core.usage import Usage
from quarterdeck.devtools.fakes import FakeClock
from quarterdeck.service.tallies import Account, Tallies, Tally
from quarterdeck.store.base import Beside, Record
from quarterdeck.store.memory import MemoryStore
from quarterdeck.store.sqlite_store import open_sqlite

TENANT = Account("tenant", "acme", "2026-03-30")
RUN = Account("run", "r1", "")
CALL = Tally.of(Usage(prompt_tokens=100, completion_tokens=10, cost_usd=0.2))


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    store = MemoryStore() if request.param == "memory" else open_sqlite(tmp_path)
    yield store
    await store.close()


class Wire:
    """Records at the end of a wire.

    Attributes:
        records: Where it ends.
        away: Nothing comes through.
        lost: Answers that get lost from now on; `late`: what was sent arrives with what is sent next.
        stuck: Answers do not come at all.
    """

    def __init__(self, store: Any, *, lost: int = 0, late: bool = False) -> None:
        self.records = store.records
        self.lost = lost
        self.late = late
        self.away = False
        self.stuck = False
        self.written = asyncio.Event()
        self._on_the_way: list[tuple[str, Sequence[Beside]]] = []

    async def get(self, tenant: str, kind: str, id: str) -> Record | None:
        if self.away:
            raise StoreUnavailable("away")
        found: Record | None = await self.records.get(tenant, kind, id)
        return found

    async def write(self, tenant: str, rows: Sequence[Beside]) -> None:
        while self._on_the_way:
            with suppress(Conflict):
                await self.records.write(*self._on_the_way.pop())
        if self.lost:
            self.lost -= 1
            if self.late:
                self._on_the_way.append((tenant, rows))
            else:
                await self.records.write(tenant, rows)
            raise StoreUnavailable("the database did not answer in time")
        await self.records.write(tenant, rows)
        self.written.set()
        if self.stuck:
            await anyio.sleep_forever()


def behind(wire: Wire, **given: Any) -> Tallies:
    return Tallies(wire, **given)  # type: ignore[arg-type]  # the two methods that are used


def book(tallies: Tallies) -> None:
    tallies.book("acme", [TENANT, RUN], "test:big", CALL)


async def calls(store: Any, account: Account = TENANT) -> int:
    fresh = Tallies(store.records)
    await fresh.load("acme", [account])
    return fresh.by_model("acme", account)["test:big"].calls


@pytest.mark.row("G9", part="metering")
@pytest.mark.parametrize("late", [False, True], ids=["carried out", "carried out late"])
@pytest.mark.parametrize("lost", [1, 3])
async def test_a_write_that_was_carried_out_without_an_answer_counts_once(store: Any, lost: int, late: bool) -> None:
    tallies = behind(Wire(store, lost=lost, late=late))

    for _ in range(lost + 3):
        book(tallies)
        await tallies.flush()

    assert await calls(store) == await calls(store, RUN) == lost + 3
    assert tallies.by_model("acme", TENANT)["test:big"].calls == lost + 3


async def test_others_who_count_meanwhile_do_not_hide_what_was_carried_out(store: Any) -> None:
    tallies, other = behind(Wire(store, lost=1)), Tallies(store.records)

    book(tallies)
    await tallies.flush()
    for _ in range(3):
        book(other)
        await other.flush()
    book(tallies)
    await tallies.flush()

    assert await calls(store) == 5


@pytest.mark.row("G9", part="metering")
async def test_whoever_leaves_while_it_is_written_has_it_counted_once(store: Any) -> None:
    wire = Wire(store)
    tallies = behind(wire)
    for _ in range(3):
        wire.stuck, wire.written = True, asyncio.Event()
        book(tallies)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tallies.flush)
            await wire.written.wait()
            tasks.cancel_scope.cancel()
        wire.stuck = False
        await tallies.flush()

    assert await calls(store) == 3


async def test_what_others_count_is_seen_in_time() -> None:
    store, clock = MemoryStore(), FakeClock()
    tallies, other = Tallies(store.records, clock=clock), Tallies(store.records)
    await tallies.load("acme", [TENANT])
    book(other)
    await other.flush()

    seen = []
    for _ in range(2):
        await tallies.load("acme", [TENANT], within_s=1.0)
        seen.append(sum(tally.calls for tally in tallies.by_model("acme", TENANT).values()))
        clock.advance(1.5)

    assert seen == [0, 1]


async def test_a_store_that_is_away_leaves_what_is_known() -> None:
    wire = Wire(MemoryStore())
    tallies = behind(wire)
    book(tallies)
    await tallies.flush()
    wire.away = True

    await tallies.load("acme", [TENANT], within_s=0.0)

    assert tallies.by_model("acme", TENANT)["test:big"].calls == 1
    with pytest.raises(StoreUnavailable):
        await tallies.load("acme", [Account("user", "ann", "2026-03-30")])


async def test_a_row_that_is_gone_is_begun_anew() -> None:
    wire, restored = Wire(MemoryStore()), MemoryStore()
    tallies = behind(wire)
    book(tallies)
    await tallies.flush()
    wire.records = restored.records
    book(tallies)

    with anyio.fail_after(5):
        await tallies.flush()

    assert await calls(restored) == 1
