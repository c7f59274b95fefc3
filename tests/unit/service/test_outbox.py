from __future__ import annotations

from datetime import timedelta

import anyio
import pytest

from quarterdeck.core.errors import Conflict, NotFound
from quarterdeck.devtools.fakes import FakeClock
from quarterdeck.service.deliveries import KIND, Delivery, DeliveryStatus, Notice, Sent, Target, Verdict, posted
from quarterdeck.service.outbox import Outbox, Patience
from quarterdeck.store.base import Put, Record
from quarterdeck.store.memory import MemoryStore

ARRIVED, FAILED = Sent(verdict=Verdict.DELIVERED), Sent(verdict=Verdict.FAILED, detail="the receiver answered 500")


class Way:
    """A sink that gives these answers in turn, then says that it arrived."""

    def __init__(self, *answers: Sent) -> None:
        self.answers = list(answers)
        self.seen: list[Delivery] = []
        self.gate = anyio.Event()
        self.gate.set()
        self.hanging: set[str] = set()  # addresses that say nothing

    async def send(self, delivery: Delivery) -> Sent:
        self.seen.append(delivery)
        await self.gate.wait()
        if delivery.target.address in self.hanging:
            await anyio.sleep_forever()
        return self.answers.pop(0) if self.answers else ARRIVED


class Desk:
    """A store with an outbox, at a time that stands until it is moved."""

    def __init__(self, way: Way, patience: Patience | None = None) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(clock=self.clock.now)
        self.way = way
        self.counted: list[tuple[str, str]] = []
        self.outbox = self.another(patience)

    def another(self, patience: Patience | None = None) -> Outbox:
        """The outbox of one more process."""
        ways = {"webhook": self.way}
        return Outbox(
            self.store.records,
            ways,
            patience=patience,
            now=self.clock.now,
            share=lambda: 1.0,
            counted=lambda *told: self.counted.append(told),
        )

    async def tell(self, name: str = "evt_1", *, address: str = "crm", sink: str = "webhook") -> str:
        now = self.clock.now()
        notice = Notice(id=name, type="run_finished", tenant="acme", run_id="r1", at=now, data={"run_id": "r1"})
        put = posted(notice, Target(sink=sink, address=address), now)
        await self.store.records.write("acme", [put])
        return put.record.id

    async def after(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.outbox.once()

    async def stands(self) -> Delivery:
        (delivery,) = await self.outbox.list("acme")
        return delivery


async def test_delivery_that_arrives_is_sent_once() -> None:
    desk = Desk(Way())
    await desk.tell()

    await desk.outbox.once()
    await desk.after(86_400)

    assert [delivery.notice.id for delivery in desk.way.seen] == ["evt_1"]
    assert (await desk.stands()).status is DeliveryStatus.DELIVERED


async def test_delivery_that_fails_is_sent_again_after_twice_the_time() -> None:
    desk = Desk(Way(FAILED, FAILED, FAILED))
    await desk.tell()

    counts = []
    for seconds in (0, 4, 1, 9, 1, 19, 1):
        await desk.after(seconds)
        counts.append(len(desk.way.seen))

    assert counts == [1, 1, 2, 2, 3, 3, 4]
    assert len({delivery.notice.id for delivery in desk.way.seen}) == 1
    assert (await desk.stands()).attempts == 4


async def test_receiver_that_asks_for_time_gets_it() -> None:
    desk = Desk(Way(Sent(verdict=Verdict.FAILED, detail="429", retry_after_s=100)))
    await desk.tell()

    await desk.outbox.once()
    await desk.after(99)
    early = len(desk.way.seen)
    await desk.after(1)

    assert (early, len(desk.way.seen)) == (1, 2)


async def test_delivery_whose_time_is_over_is_a_dead_letter_until_somebody_sends_it_again() -> None:
    desk = Desk(Way(*[FAILED] * 3), Patience(give_up_s=12))
    known = await desk.tell()

    for seconds in (0, 5, 3600):
        await desk.after(seconds)
    dead = await desk.outbox.list("acme", status=DeliveryStatus.DEAD)
    again = await desk.outbox.retry("acme", known)
    await desk.outbox.once()
    await desk.after(5)

    assert [(delivery.id, delivery.attempts, delivery.error) for delivery in dead] == [(known, 2, FAILED.detail)]
    assert again.notice.id == "evt_1"
    assert (await desk.stands()).status is DeliveryStatus.DELIVERED


@pytest.mark.row("O2", part="deliveries")
async def test_every_attempt_is_counted_by_how_it_ended() -> None:
    desk = Desk(Way(FAILED, FAILED, ARRIVED), Patience(give_up_s=12))
    await desk.tell()

    for seconds in (0, 5):
        await desk.after(seconds)
    await desk.tell("evt_2")
    await desk.after(60)

    assert desk.counted == [("webhook", "failed"), ("webhook", "dead"), ("webhook", "delivered")]


async def test_delivery_that_is_refused_is_not_tried_again() -> None:
    desk = Desk(Way(Sent(verdict=Verdict.REFUSED, detail="the webhook is disabled")))
    await desk.tell()

    await desk.outbox.once()
    await desk.after(86_400)

    assert (await desk.stands()).status is DeliveryStatus.DEAD
    assert len(desk.way.seen) == 1


async def test_delivery_on_its_way_cannot_be_sent_again_and_an_unknown_one_is_not_there() -> None:
    desk = Desk(Way(FAILED))
    known = await desk.tell()

    with pytest.raises(Conflict):
        await desk.outbox.retry("acme", known)
    with pytest.raises(NotFound):
        await desk.outbox.retry("globex", known)


@pytest.mark.row("S15", part="one worker")
async def test_two_processes_never_send_one_delivery_at_the_same_time() -> None:
    desk = Desk(Way())
    desk.way.gate = anyio.Event()
    await desk.tell()
    other = desk.another()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.outbox.once)
        tasks.start_soon(other.once)
        await anyio.wait_all_tasks_blocked()
        await other.once()
        desk.way.gate.set()

    assert len(desk.way.seen) == 1


async def test_delivery_of_a_process_that_died_is_sent_by_another_after_its_lease() -> None:
    desk = Desk(Way())
    desk.way.gate = anyio.Event()
    await desk.tell()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.outbox.once)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    desk.way.gate.set()
    other = desk.another()

    await other.once()
    early = len(desk.way.seen)
    desk.clock.advance(30)
    await other.once()

    assert (early, len(desk.way.seen)) == (1, 2)
    assert (await desk.stands()).status is DeliveryStatus.DELIVERED


async def test_worker_that_lost_its_delivery_while_it_slept_changes_nothing() -> None:
    desk = Desk(Way(FAILED))
    desk.way.gate = anyio.Event()
    await desk.tell()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.outbox.once)
        await anyio.wait_all_tasks_blocked()
        desk.clock.advance(30)
        (held,) = await desk.store.records.find("acme", KIND)
        settled = Record(kind=KIND, id=held.id, data=held.data, status="delivered", owner=held.owner, ref=held.ref)
        await desk.store.records.write("acme", [Put(record=settled, expect=held.version)])
        desk.way.gate.set()

    assert (await desk.stands()).status is DeliveryStatus.DELIVERED


async def test_target_that_fails_rests_for_all_its_deliveries_and_for_no_others() -> None:
    desk = Desk(Way(FAILED))
    await desk.tell("evt_1")
    await desk.outbox.once()
    await desk.tell("evt_2")
    await desk.tell("evt_3", address="erp")

    await desk.outbox.once()
    rested = [delivery.notice.id for delivery in desk.way.seen]
    await desk.after(15)

    assert rested == ["evt_1", "evt_3"]
    assert sorted(delivery.notice.id for delivery in desk.way.seen) == ["evt_1", "evt_1", "evt_2", "evt_3"]


async def test_way_out_that_is_not_there_makes_a_dead_letter_in_the_end() -> None:
    desk = Desk(Way(), Patience(give_up_s=1))
    await desk.tell(sink="pigeon")

    await desk.outbox.once()

    stands = await desk.stands()
    assert (stands.status, "pigeon" in stands.error) == (DeliveryStatus.DEAD, True)


async def test_delivery_of_another_version_is_left_alone_and_keeps_no_other_waiting() -> None:
    desk = Desk(Way())
    strange = Record(kind=KIND, id="x", data={"v": 2}, status="waiting", wake_at=desk.clock.now() - timedelta(seconds=1))
    await desk.store.records.write("acme", [Put(record=strange)])
    await desk.tell()

    await desk.outbox.once()

    assert len(desk.way.seen) == 1
    assert await desk.store.records.due(KIND) == []


async def test_served_outbox_hears_at_once_that_there_is_something() -> None:
    desk = Desk(Way())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.outbox.serve)
        await anyio.wait_all_tasks_blocked()
        await desk.tell()

        desk.outbox.hurry()
        with anyio.fail_after(0.9):
            while not desk.way.seen:
                await anyio.sleep(0)
        tasks.cancel_scope.cancel()

    assert len(desk.way.seen) == 1


@pytest.mark.row("S15", part="slow receivers")
@pytest.mark.parametrize("waiting", [1, 40])
async def test_receiver_that_says_nothing_keeps_no_others_waiting(waiting: int) -> None:
    desk = Desk(Way())
    desk.way.hanging.add("crm")
    for number in range(waiting):
        await desk.tell(f"evt_{number}", address="crm")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.outbox.serve)
        await anyio.wait_all_tasks_blocked()
        await desk.tell("evt_other", address="erp")

        desk.outbox.hurry()
        with anyio.move_on_after(0.9):
            while "erp" not in {delivery.target.address for delivery in desk.way.seen}:
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()

    assert desk.way.seen[-1].notice.id == "evt_other"


async def test_more_than_one_look_holds_is_delivered_without_a_pause() -> None:
    desk = Desk(Way())
    for number in range(250):
        await desk.tell(f"evt_{number}", address=f"crm{number % 7}")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.outbox.serve)
        with anyio.fail_after(0.9):
            while len(desk.way.seen) < 250:
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()

    assert len({delivery.id for delivery in desk.way.seen}) == 250


async def test_deliveries_that_arrived_are_forgotten_after_their_time() -> None:
    desk = Desk(Way())
    await desk.tell()
    await desk.outbox.once()
    desk.clock.advance(8 * 86_400)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.another().serve)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()

    assert await desk.outbox.list("acme") == []
