"""Business operations over every store: one effect for a key, whoever asks, how often, at once, and whatever dies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from quarterdeck.agent.forking import fork_of
from quarterdeck.core.context import Principal
from quarterdeck.core.events import CancelRequested, ToolReturned, ToolStarted
from quarterdeck.core.messages import ResultStatus, ToolResult
from quarterdeck.core.runs import StopReason
from quarterdeck.core.tools import ToolContext
from quarterdeck.service.retention import Retention
from quarterdeck.tools.decorator import tool
from tests.contracts.stores import Clock, Store
from tests.unit.agent.scene import LEE, DiesBeforeResults, Killed, Scene, calls, says

BOB = Principal(user="bob", tenant="acme", roles=("employee",))


@dataclass
class World:
    """Whatever is outside: what was asked of it, and what it did, by key where it deduplicates."""

    asked: list[str] = field(default_factory=list)
    shipped: list[str] = field(default_factory=list)
    fails: int = 0
    gate: anyio.Event | None = None

    def shipping(self, *, idempotent: bool) -> Any:
        @tool(effect="write", idempotent=idempotent, key=("order",), trusted=True)
        async def ship(order: str, ctx: ToolContext, note: str = "") -> str:
            """Ship an order."""
            if self.gate is not None:
                await self.gate.wait()
            if self.fails:
                self.fails -= 1
                raise ConnectionRefusedError("closed")
            if not (idempotent and ctx.idempotency_key in self.asked):
                self.shipped.append(order)
            self.asked.append(ctx.idempotency_key)
            return f"parcel of {order}"

        return ship


def asking(store: Store, clock: Clock, ship: Any, *args: dict[str, Any]) -> Scene:
    """A run of its own, on a worker of its own, that ships once per turn."""
    wanted = [calls(("ship", each)) for each in args or ({"order": "7"},)]
    return Scene(*wanted, says("Shipped."), tools=[ship], store=store, clock=clock)


async def results(scene: Scene) -> Sequence[ToolResult]:
    return [entry.event.result for entry in await scene.entries() if isinstance(entry.event, ToolReturned)]


async def dies_after_the_effect(scene: Scene) -> None:
    await scene.begin()
    scene.loop = scene.new_loop(DiesBeforeResults(scene.store.journal))
    with pytest.raises(Killed):
        await scene.go_on()
    scene.loop = scene.new_loop()


@pytest.mark.row("R7", part="concurrent duplicates")
@pytest.mark.parametrize("idempotent", [True, False], ids=["deduplicating", "plain"])
async def test_twenty_runs_at_once_with_one_key_have_one_effect(store: Store, clock: Clock, idempotent: bool) -> None:
    world = World(gate=anyio.Event())
    ship = world.shipping(idempotent=idempotent)
    scenes = [asking(store, clock, ship) for _ in range(20)]

    async with anyio.create_task_group() as tasks:
        for scene in scenes:
            tasks.start_soon(scene.ask)
        while not all(scene.model.requests for scene in scenes):
            await anyio.sleep(0)
        assert world.gate is not None
        world.gate.set()

    assert (world.shipped, len(world.asked)) == (["7"], 1)
    answered = [result for scene in scenes for result in await results(scene)]
    assert [result.output for result in answered] == ["parcel of 7"] * 20
    assert sum(result.cached for result in answered) == 19
    (doer,) = [scene for scene in scenes if not (await results(scene))[0].cached]
    assert {result.earlier for result in answered if result.cached} == {f"{doer.run_id}:t1c0"}
    starts = [e.event for scene in scenes for e in await scene.entries() if isinstance(e.event, ToolStarted)]
    assert len(starts) == 1


@pytest.mark.row("R7", part="business key")
async def test_a_finished_operation_is_answered_from_its_result_also_in_the_same_run(store: Store, clock: Clock) -> None:
    world = World()
    scene = asking(store, clock, world.shipping(idempotent=True), {"order": "7"}, {"order": "8"}, {"order": "7"})

    await scene.ask()

    assert world.shipped == ["7", "8"]
    assert [(result.output, result.cached) for result in await results(scene)] == [
        ("parcel of 7", False),
        ("parcel of 8", False),
        ("parcel of 7", True),
    ]
    assert [call.cached for call in (await scene.state()).made] == [False, False, True]
    audit = await store.records.audit_rows("acme")
    assert [row["decision"] for row in audit if row["action"] == "effect"] == ["ok", "ok", "ok:cached"]


@pytest.mark.row("R7", part="business key")
async def test_the_key_holds_nothing_of_its_values_and_differs_between_tenants(store: Store, clock: Clock) -> None:
    world = World()
    scene = asking(store, clock, world.shipping(idempotent=True), {"order": "emma@example.com"})

    await scene.ask()

    (row,) = await store.records.find("acme", "effect")
    assert world.asked == [row.id]
    assert "emma" not in row.id
    assert row.data.keys() == {"run", "call", "tool", "args_hash", "result"}
    assert await store.records.find("globex", "effect") == []


async def test_the_same_key_with_other_arguments_is_refused(store: Store, clock: Clock) -> None:
    world = World()
    ship = world.shipping(idempotent=True)
    await asking(store, clock, ship).ask()
    other = asking(store, clock, ship, {"order": "7", "note": "to the back door"})

    await other.ask()

    (result,) = await results(other)
    assert (result.status, result.error, world.shipped) == (ResultStatus.REFUSED, "conflict", ["7"])


async def test_two_calls_of_one_turn_with_one_key_have_one_effect(store: Store, clock: Clock) -> None:
    world = World()
    twice = calls(("ship", {"order": "7"}), ("ship", {"order": "7", "note": "quick"}))
    scene = Scene(twice, says("Shipped."), tools=[world.shipping(idempotent=False)], store=store, clock=clock)

    await scene.ask()

    assert world.shipped == ["7"]
    assert [result.error for result in await results(scene)] == [None, "conflict"]


async def test_a_failed_operation_may_be_tried_again(store: Store, clock: Clock) -> None:
    world = World(fails=1)
    ship = world.shipping(idempotent=False)
    first, second = asking(store, clock, ship), asking(store, clock, ship)

    await first.ask()
    await second.ask()

    assert [result.error for result in await results(first)] == ["exception"]
    assert [(result.output, result.cached) for result in await results(second)] == [("parcel of 7", False)]


@pytest.mark.row("R7", part="business key")
async def test_somebody_else_is_told_that_it_was_done_and_nothing_more(store: Store, clock: Clock) -> None:
    world = World()
    ship = world.shipping(idempotent=True)
    await asking(store, clock, ship).ask()
    bobs = asking(store, clock, ship)

    await bobs.begin(principal=BOB)
    await bobs.go_on()

    (result,) = await results(bobs)
    assert (result.ok, result.cached, result.earlier, world.shipped) == (True, True, None, ["7"])
    assert "parcel" not in result.output


@pytest.mark.row("R7", part="crash")
async def test_an_operation_whose_worker_died_is_taken_over_with_the_same_key(store: Store, clock: Clock) -> None:
    world = World()
    ship = world.shipping(idempotent=True)
    dead, heir = asking(store, clock, ship), asking(store, clock, ship)
    await dies_after_the_effect(dead)
    clock.pass_by(minutes=1)

    await heir.ask()
    state = await dead.go_on()

    assert state.stop_reason is StopReason.COMPLETED
    assert world.shipped == ["7"]
    assert len(world.asked) == 2
    assert len(set(world.asked)) == 1
    assert [result.cached for result in await results(heir)] == [False]
    assert [result.cached for result in await results(dead)] == [True]


@pytest.mark.row("R7", part="crash")
async def test_a_run_that_lost_its_worker_goes_on_with_the_operation_it_holds(store: Store, clock: Clock) -> None:
    world = World()
    scene = asking(store, clock, world.shipping(idempotent=True))
    await dies_after_the_effect(scene)

    state = await scene.go_on()

    assert state.stop_reason is StopReason.COMPLETED
    assert (world.shipped, len(world.asked), len(set(world.asked))) == (["7"], 2, 1)
    (row,) = await store.records.find("acme", "effect")
    assert row.status == "done"


@pytest.mark.row("R7", part="crash")
async def test_an_operation_in_doubt_is_in_doubt_for_every_run_that_asks_for_it(store: Store, clock: Clock) -> None:
    world = World()
    ship = world.shipping(idempotent=False)
    dead, other = asking(store, clock, ship), asking(store, clock, ship)
    await dies_after_the_effect(dead)
    clock.pass_by(minutes=1)

    waiting = await other.ask()
    first = await dead.go_on()
    clock.pass_by(minutes=1)

    assert (waiting.stop_reason, first.stop_reason) == (StopReason.IN_DOUBT, StopReason.IN_DOUBT)
    assert {doubt.run_id for doubt in await other.effects.doubts(LEE)} == {dead.run_id, other.run_id}
    assert world.shipped == ["7"]


@pytest.mark.row("R7", part="crash")
async def test_what_a_person_says_of_an_operation_is_its_result_for_all(store: Store, clock: Clock) -> None:
    world = World()
    ship = world.shipping(idempotent=False)
    dead, later = asking(store, clock, ship), asking(store, clock, ship)
    await dies_after_the_effect(dead)
    await dead.go_on()
    clock.pass_by(minutes=1)
    await dead.effects.resolve(LEE, dead.run_id, "t1c0", "done", "parcel 41")
    await dead.go_on()

    await later.ask()

    assert [(result.output, result.cached) for result in await results(later)] == [("parcel 41", True)]
    assert world.shipped == ["7"]


async def test_an_operation_that_did_not_happen_may_be_tried_again(store: Store, clock: Clock) -> None:
    world = World()
    ship = world.shipping(idempotent=False)
    dead, later = asking(store, clock, ship), asking(store, clock, ship)
    await dies_after_the_effect(dead)
    world.shipped.clear()  # it got lost on its way
    await dead.go_on()
    clock.pass_by(minutes=1)
    await dead.effects.resolve(LEE, dead.run_id, "t1c0", "failed")
    await dead.go_on()

    await later.ask()

    assert world.shipped == ["7"]
    assert [result.cached for result in await results(later)] == [False]


async def test_two_people_who_have_it_repeated_in_two_runs_repeat_it_once(store: Store, clock: Clock) -> None:
    world = World()
    ship = world.shipping(idempotent=False)
    dead, other = asking(store, clock, ship), asking(store, clock, ship)
    await dies_after_the_effect(dead)
    world.shipped.clear()
    clock.pass_by(minutes=1)
    await other.ask()
    await dead.go_on()
    clock.pass_by(minutes=1)

    for scene in (other, dead):
        await scene.effects.resolve(LEE, scene.run_id, "t1c0", "repeat")
        assert (await scene.go_on()).stop_reason is StopReason.COMPLETED

    assert world.shipped == ["7"]
    assert [result.cached for result in await results(dead)] == [True]


@pytest.mark.row("R7", part="crash")
async def test_what_a_person_said_of_one_attempt_does_not_count_for_the_next_one(store: Store, clock: Clock) -> None:
    world = World()
    ship = world.shipping(idempotent=False)
    dead, other = asking(store, clock, ship), asking(store, clock, ship)
    await dies_after_the_effect(dead)
    world.shipped.clear()  # it got lost on its way
    clock.pass_by(minutes=1)
    await other.ask()
    await dead.go_on()
    clock.pass_by(minutes=1)
    for scene in (dead, other):
        await scene.effects.resolve(LEE, scene.run_id, "t1c0", "repeat")
    dead.loop = dead.new_loop(DiesBeforeResults(store.journal))
    with pytest.raises(Killed):
        await dead.go_on()
    clock.pass_by(minutes=1)

    state = await other.go_on()

    assert state.stop_reason is StopReason.IN_DOUBT
    assert world.shipped == ["7"]


async def test_a_fork_finds_done_what_its_original_did(store: Store, clock: Clock) -> None:
    world = World()
    ship = world.shipping(idempotent=False)
    original, fork = asking(store, clock, ship), asking(store, clock, ship)
    await original.ask()

    started, then = fork_of(await original.entries(), 1, original.run_id)
    await store.journal.create("acme", fork.run_id, started, then=then)
    await fork.go_on()

    assert world.shipped == ["7"]
    assert [(result.cached, result.earlier) for result in await results(fork)] == [(True, f"{original.run_id}:t1c0")]


async def test_a_run_that_waits_for_anothers_result_can_be_cancelled(store: Store, clock: Clock) -> None:
    world = World()
    ship = world.shipping(idempotent=True)
    dead, waiting = asking(store, clock, ship), asking(store, clock, ship)
    await dies_after_the_effect(dead)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting.ask)
        while not waiting.model.requests:
            await anyio.sleep(0)
        await waiting.post(CancelRequested(by="anna"))
        waiting.loop.interrupt(waiting.run_id)

    assert (await waiting.state()).stop_reason is StopReason.CANCELLED
    assert len(world.asked) == 1


@pytest.mark.row("R7", part="business key")
async def test_an_operation_outlives_its_run_and_is_forgotten_in_time(store: Store, clock: Clock) -> None:
    world = World()
    ship = world.shipping(idempotent=False)
    retention = Retention(store.journal, store.records, keep_days=30, operations_days=400, now=clock)
    first, second, third = (asking(store, clock, ship) for _ in range(3))
    await first.ask()
    clock.pass_by(days=31)
    deleted = await retention.once()

    await second.ask()
    after_a_month = list(world.shipped)
    clock.pass_by(days=400)
    await retention.once()
    await third.ask()

    assert deleted == 1
    assert (after_a_month, world.shipped) == (["7"], ["7", "7"])


@pytest.mark.row("R7", part="business key")
async def test_an_operation_nobody_saw_the_end_of_is_not_forgotten(store: Store, clock: Clock) -> None:
    world = World()
    ship = world.shipping(idempotent=False)
    retention = Retention(store.journal, store.records, keep_days=30, operations_days=400, now=clock)
    first, second = (asking(store, clock, ship) for _ in range(2))
    await dies_after_the_effect(first)
    first.staff.gone.add("anna")
    await first.go_on()
    clock.pass_by(days=500)
    deleted = await retention.once()

    state = await second.ask()

    assert (deleted, world.shipped) == (1, ["7"])
    assert state.stop_reason is StopReason.IN_DOUBT
