"""Ended runs are deleted once they are old enough, and nothing else is."""

from __future__ import annotations

import anyio
import pytest

from quarterdeck.core.errors import StoreUnavailable
from quarterdeck.core.events import RunCancelled
from quarterdeck.core.runs import RunStatus
from quarterdeck.service.retention import Retention
from quarterdeck.store.base import Entry
from quarterdeck.store.memory import MemoryStore
from tests.contracts.stores import Clock, begin

END = Entry(event=RunCancelled(by="anna"))


@pytest.mark.row("L2", part="retention")
async def test_what_ended_long_ago_is_deleted_and_what_is_open_or_recent_stays() -> None:
    clock = Clock()
    store = MemoryStore(clock=clock)
    journal = store.journal
    for run_id in ("old", "open"):
        claim = await begin(journal, run_id)
        if run_id == "old":
            await journal.append(claim, [END], folded=1, status=RunStatus.CANCELLED)
    clock.pass_by(days=31)
    claim = await begin(journal, "recent")
    await journal.append(claim, [END], folded=1, status=RunStatus.CANCELLED)

    deleted = await Retention(journal, store.records, keep_days=30, operations_days=400, now=clock).once()

    left = {row.run_id for row in await journal.runs("acme")}
    assert deleted == 1
    assert left == {"open", "recent"}


async def test_a_store_that_does_not_answer_is_asked_again_later() -> None:
    class Away:
        asked = 0

        async def purge(self, before: object) -> int:
            self.asked += 1
            if self.asked == 1:
                raise StoreUnavailable("away")
            raise KeyError  # ends the loop of this test

    away = Away()
    retention = Retention(
        away,  # type: ignore[arg-type]
        MemoryStore().records,
        keep_days=1,
        operations_days=400,
        pause_s=0.0,
    )

    with pytest.raises(KeyError):
        with anyio.fail_after(5):
            await retention.serve()

    assert away.asked == 2
