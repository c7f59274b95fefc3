"""Many runs, few business keys, workers that die at chance: each operation has one effect in the end, and no run is lost."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import anyio
import pytest

from quarterdeck.core.errors import Conflict, NotFound
from quarterdeck.core.runs import RunStatus
from quarterdeck.core.tools import ToolContext
from quarterdeck.store.base import Appended, Claim, Entry, Journal
from quarterdeck.tools.decorator import tool
from tests.contracts.stores import Clock, Store
from tests.unit.agent.scene import ANNA, Killed, Scene, calls, says

RUNS, KEYS, KILLS = 12, 3, 12
_MOST_DEATHS = 2  # of one run; after a third in a row it would count as poison


class World:
    """Targets outside, and what has happened so far: anything at all, and effects by order."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.kills = KILLS
        self.deaths: Counter[str] = Counter()
        self.activity = 0
        self.seen: set[str] = set()
        self.shipped: Counter[str] = Counter()

    def shipping(self, *, idempotent: bool) -> Any:
        @tool(effect="write", idempotent=idempotent, key=("order",), trusted=True)
        async def ship(order: str, ctx: ToolContext) -> str:
            """Ship an order."""
            self.activity += 1
            await anyio.sleep(0)
            if not idempotent or ctx.idempotency_key not in self.seen:
                self.shipped[order] += 1
            self.seen.add(ctx.idempotency_key)
            return f"parcel of {order}"

        return ship

    def maybe_die(self, run_id: str) -> None:
        if self.kills and self.deaths[run_id] < _MOST_DEATHS and self.chance.random() < 0.2:
            self.kills -= 1
            self.deaths[run_id] += 1
            raise Killed


class Deadly:
    """A journal whose caller may die before an append or after it."""

    def __init__(self, inner: Journal, world: World) -> None:
        self._inner = inner
        self._world = world

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def append(self, claim: Claim, entries: Sequence[Entry], **fields: Any) -> Appended:
        self._world.activity += 1
        self._world.maybe_die(claim.run_id)
        appended = await self._inner.append(claim, entries, **fields)
        self._world.maybe_die(claim.run_id)
        return appended


async def advance(scene: Scene, world: World) -> None:
    """Advance a run as often as it takes to let it rest; each death is another worker's turn."""
    while True:
        scene.loop = scene.new_loop(Deadly(scene.store.journal, world))  # type: ignore[arg-type]  # the rest is passed on
        try:
            await scene.loop.advance(ANNA.tenant, scene.run_id)
        except Killed:
            continue
        return


async def pass_time(world: World, clock: Clock, over: anyio.Event) -> None:
    """Let minutes pass, but only while nothing happens: a clock faster than the work would call the living dead."""
    while not over.is_set():
        before = world.activity
        await anyio.sleep(0.2)
        if world.activity == before:
            clock.pass_by(minutes=1)


# Whoever asked for a write sees its arguments, and has the role to say what became of it.
WHO_ASKED = replace(ANNA, roles=("approver",))


async def resolve(scene: Scene, world: World) -> None:
    """A person looks at the world and says what happened there."""
    for doubt in await scene.effects.doubts(WHO_ASKED):
        happened = world.shipped[doubt.args["order"]] > 0
        with suppress(Conflict, NotFound):
            await scene.effects.resolve(WHO_ASKED, doubt.run_id, doubt.call_id, "done" if happened else "repeat")


@pytest.mark.row("R7", part="crash")
@pytest.mark.parametrize("seed", [3, 4])
@pytest.mark.parametrize("idempotent", [True, False], ids=["deduplicating", "plain"])
async def test_every_operation_has_one_effect_whoever_dies(store: Store, clock: Clock, idempotent: bool, seed: int) -> None:
    world = World(random.Random(seed))
    ship = world.shipping(idempotent=idempotent)
    scenes = [
        Scene(
            *[lambda request, order=str(i % KEYS): _next(request, order)] * 20,  # type: ignore[misc]
            tools=[ship],
            store=store,
            clock=clock,
        )
        for i in range(RUNS)
    ]
    for scene in scenes:
        await scene.begin()

    for _ in range(20):
        over = anyio.Event()
        async with anyio.create_task_group() as outer:
            outer.start_soon(pass_time, world, clock, over)
            async with anyio.create_task_group() as workers:
                for scene in scenes:
                    workers.start_soon(advance, scene, world)
            over.set()
        clock.pass_by(minutes=1)
        await resolve(scenes[0], world)
        if len(await store.journal.runs(ANNA.tenant, status=RunStatus.DONE)) == RUNS:
            break

    assert world.deaths
    assert dict(world.shipped) == {str(key): 1 for key in range(KEYS)}
    assert len(await store.journal.runs(ANNA.tenant, status=RunStatus.DONE)) == RUNS


def _next(request: Any, order: str) -> Any:
    """Ship, and say so once there is a result; asked again after a crash it says the same again."""
    shipped = any(message.call_id for message in request.messages)
    return says("Shipped.") if shipped else calls(("ship", {"order": order}))
