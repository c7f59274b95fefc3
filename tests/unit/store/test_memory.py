"""What is special to the memory store."""

from __future__ import annotations

import pytest

from quarterdeck.core.errors import NotFound
from quarterdeck.core.events import RunCancelled
from quarterdeck.core.runs import RunStatus
from quarterdeck.store.audit import verify
from quarterdeck.store.base import Entry
from quarterdeck.store.memory import MemoryStore
from tests.contracts.stores import audit, begin, history, reply


async def test_only_the_newest_ended_runs_are_kept_when_asked() -> None:
    store = MemoryStore(keep=2)
    await begin(store.journal, "open")

    for n in range(5):
        claim = await begin(store.journal, f"r{n}")
        await store.journal.append(
            claim, [Entry(event=RunCancelled(by="anna"))], folded=1, status=RunStatus.CANCELLED, beside=[audit(f"r{n}")]
        )

    rows = await store.records.audit_rows("acme")
    assert [row.run_id for row in await store.journal.runs("acme")] == ["r4", "r3", "open"]
    assert [row["seq"] for row in rows] == [4, 5]
    assert verify(rows, after=3, prev=rows[0]["prev"], head=await store.records.audit_head("acme")) is None


async def test_events_are_the_objects_that_were_given() -> None:
    store = MemoryStore()
    claim = await begin(store.journal)
    entry = reply(1)

    await store.journal.append(claim, [entry], folded=1)

    assert (await history(store.journal))[1].event is entry.event


async def test_store_is_closed_without_ado() -> None:
    store = MemoryStore()
    await store.journal.close()
    await store.close()

    with pytest.raises(NotFound):
        await store.journal.get_blob("acme", "0" * 64)
