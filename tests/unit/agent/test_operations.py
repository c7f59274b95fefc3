"""How long a call waits for another one that does the same."""

from __future__ import annotations

from datetime import timedelta

import pytest

from quarterdeck.agent.operations import Begin, Busy, Known, Operations, Unsure
from quarterdeck.agent.state import CallState
from quarterdeck.core.context import Context
from quarterdeck.core.labels import PUBLIC, Integrity, Label
from quarterdeck.core.messages import ToolCall
from quarterdeck.core.tools import Tool
from quarterdeck.devtools.fakes import FakeClock
from quarterdeck.store.memory import MemoryStore
from quarterdeck.tools.decorator import tool
from tests.unit.agent.scene import ANNA

LABEL = Label(integrity=Integrity.TRUSTED, readers=PUBLIC)
CALL = ToolCall(id="t1c0", name="ship", args={"order": "7"})


def shipping(*, idempotent: bool = False) -> Tool:
    @tool(effect="write", key=("order",), timeout_s=10, idempotent=idempotent)
    async def ship(order: str) -> str:
        """Ship an order."""
        return order

    return ship


class Two:
    """Two runs that want the same, of which the first has begun."""

    def __init__(self, *, time_s: float = 300.0) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(clock=self.clock.now)
        self.first, self.second = self._operations("first", time_s), self._operations("second", time_s)

    def _operations(self, run_id: str, time_s: float) -> Operations:
        context = Context(principal=ANNA, run_id=run_id, deadline=self.clock() + time_s)
        return Operations(self.store.records, context, now=self.clock.now, grace_s=5.0, clock=self.clock)

    async def begin(self, ship: Tool) -> None:
        begin = await self.first.look(CallState(call=CALL), CALL, ship, LABEL)
        assert isinstance(begin, Begin)
        await self.store.records.write(ANNA.tenant, [begin.row])

    async def ask(self, ship: Tool) -> object:
        return await self.second.look(CallState(call=CALL), CALL, ship, LABEL)


async def test_it_is_waited_for_as_long_as_it_may_take() -> None:
    ship, two = shipping(), Two()
    await two.begin(ship)

    before = await two.ask(ship)
    two.clock.advance(14.9)
    just_before = await two.ask(ship)
    two.clock.advance(0.1)

    assert isinstance(before, Busy)
    assert isinstance(just_before, Busy)
    assert isinstance(await two.ask(ship), Unsure)


async def test_what_may_be_repeated_by_its_key_is_taken_over_then() -> None:
    ship, two = shipping(idempotent=True), Two()
    await two.begin(ship)
    two.clock.advance(15)

    taken = await two.ask(ship)

    assert isinstance(taken, Begin)
    assert taken.row.expect == 1


async def test_one_that_is_begun_again_and_again_is_not_waited_for_without_end() -> None:
    ship, two = shipping(), Two()
    await two.begin(ship)
    await two.ask(ship)
    two.clock.advance(14)
    await two.begin(ship)
    two.clock.advance(2)

    told = await two.ask(ship)

    assert isinstance(told, Known)
    assert (told.result.ok, told.result.error) == (False, "not_started")


async def test_a_run_whose_time_is_over_waits_for_nobody() -> None:
    ship, two = shipping(), Two(time_s=3)
    await two.begin(ship)
    await two.ask(ship)
    two.clock.advance(2.9)

    told = await two.ask(ship)

    assert isinstance(told, Known)
    assert told.result.error == "out_of_time"


@pytest.mark.parametrize("late_s", [0.0, 60.0])
async def test_whoever_began_it_may_always_go_on(late_s: float) -> None:
    ship, two = shipping(), Two()
    await two.begin(ship)
    two.clock.advance(late_s)

    again = await two.first.look(CallState(call=CALL), CALL, ship, LABEL)

    assert isinstance(again, Begin)
    until = two.clock.now() + timedelta(seconds=15)
    assert again.row.record.data["until"] == until.isoformat()
