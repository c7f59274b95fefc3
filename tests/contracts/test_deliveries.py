"""What every store makes of deliveries: written with their event, sent by one process at a time."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import anyio
import pytest

from quarterdeck.core.events import RunCancelled
from quarterdeck.core.runs import RunStatus
from quarterdeck.service.deliveries import Delivery, DeliveryStatus, Happened, Sent, Target, Verdict
from quarterdeck.service.notifying import NotifyingJournal
from quarterdeck.service.outbox import Outbox
from quarterdeck.store.base import Entry
from tests.contracts.stores import Clock, Store, begin


class Everybody:
    async def targets(self, happened: Happened) -> list[Target]:
        return [Target(sink="webhook", address="crm"), Target(sink="webhook", address="erp")]


class Way:
    """A sink that counts what it is given; every first attempt fails."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        self.under_way: set[str] = set()

    async def send(self, delivery: Delivery) -> Sent:
        assert delivery.id not in self.under_way
        self.under_way.add(delivery.id)
        await anyio.sleep(0)
        self.under_way.remove(delivery.id)
        self.sent[delivery.id] += 1
        return Sent(verdict=Verdict.DELIVERED if self.sent[delivery.id] > 1 else Verdict.FAILED)


@pytest.mark.row("S15", part="one worker")
async def test_many_processes_send_each_delivery_as_often_as_it_needs(store: Store, clock: Clock) -> None:
    way = Way()
    journal = NotifyingJournal(store.journal, [Everybody()], now=clock)
    for number in range(10):
        tenant, run_id = ("acme", "globex")[number % 2], f"run{number}"
        claim = await begin(journal, run_id, tenant)
        over = Entry(event=RunCancelled(by="anna"))
        await journal.append(claim, [over], folded=1, status=RunStatus.CANCELLED)
    processes = [Outbox(store.records, {"webhook": way}, now=clock, share=lambda: 0.5) for _ in range(4)]

    for _ in range(20):
        async with anyio.create_task_group() as tasks:
            for process in processes:
                tasks.start_soon(process.once)
        clock.pass_by(seconds=20)

    assert Counter(way.sent.values()) == {2: 20}
    settled = [await processes[0].list(tenant) for tenant in ("acme", "globex")]
    assert {delivery.status for found in settled for delivery in found} == {DeliveryStatus.DELIVERED}
    assert [len(found) for found in settled] == [10, 10]


async def test_deliveries_go_with_their_run(store: Store, clock: Clock) -> None:
    journal = NotifyingJournal(store.journal, [Everybody()], now=clock)
    claim = await begin(journal)
    await journal.append(claim, [Entry(event=RunCancelled(by="anna"))], folded=1, status=RunStatus.CANCELLED)
    clock.pass_by(days=40)

    await journal.purge(clock.now - timedelta(days=30))

    assert await Outbox(store.records, {}, now=clock).list("acme") == []
