"""What is asked too often is a result the model reads, and what comes too late is not begun."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import anyio
import pytest

from quarterdeck.core.context import Principal
from quarterdeck.core.events import FinalAnswer, RunFailed
from quarterdeck.core.messages import Role
from quarterdeck.core.runs import StopReason
from quarterdeck.core.tools import ToolContext
from quarterdeck.models.base import ModelRequest
from quarterdeck.service.limits import LimitRule, RateLimits
from quarterdeck.store.limits import MemoryLimits, Rate
from quarterdeck.tools.decorator import tool
from tests.unit.agent.scene import LEE, START, Scene, calls, says


@tool(effect="read")
async def look(what: str) -> str:
    """Look something up."""
    return f"{what}: 42"


def limited(scene: Scene, amount: int) -> Scene:
    rules = [LimitRule(scope="tool", names=("look",), rate=Rate(amount=amount, window_s=60.0))]
    scene.loop.rates = RateLimits(rules, MemoryLimits())
    return scene


@pytest.mark.row("S10", part="tools")
async def test_a_tool_that_was_called_too_often_is_refused_and_the_run_goes_on() -> None:
    twice = calls(("look", {"what": "a"}), ("look", {"what": "b"}))
    scene = limited(Scene(twice, says("One of two."), tools=[look]), 1)

    state = await scene.ask()

    results = [message for message in state.messages if message.role is Role.TOOL]
    assert [made.error for made in state.made] == [None, "rate_limited"]
    assert results[0].text == "a: 42"
    assert results[1].text == "Not done: look was called too often; it can be called again in 60 s."
    assert isinstance(state.ended, FinalAnswer)


async def test_a_call_that_policy_denies_is_not_counted() -> None:
    class Counts:
        counted: list[str] = []  # noqa: RUF012 - of one test

        async def tool(self, principal: Principal, name: str) -> float:
            self.counted.append(name)
            return 0.0

    scene = Scene(calls(("nothing", {})), calls(("look", {"what": "a"})), says("Done."), tools=[look])
    scene.loop.rates = counts = Counts()

    await scene.ask()

    assert counts.counted == ["look"]


@pytest.mark.row("S11", part="never started")
async def test_a_run_that_waited_past_its_deadline_is_never_started() -> None:
    scene = Scene(says("Too late."), tools=[look])
    await scene.begin(deadline=START + timedelta(seconds=5))
    scene.clock.pass_by(6)

    state = await scene.go_on()

    assert isinstance(state.ended, RunFailed)
    assert state.ended.code == "deadline_exceeded"
    assert scene.model.requests == []


@pytest.mark.row("S11", part="deadline")
async def test_models_and_tools_are_given_what_is_left_of_the_deadline() -> None:
    left: list[float] = []

    @tool(effect="read")
    async def hurry(ctx: ToolContext) -> str:
        """Look at the clock."""
        left.append(ctx.deadline - time.monotonic())
        return "ok"

    scene = Scene(calls(("hurry", {})), says("Done."), tools=[hurry])

    await scene.ask(deadline=START + timedelta(seconds=5))

    assert 4 < left[0] <= 5


@pytest.mark.row("S11", part="deadline")
async def test_a_tool_is_not_begun_when_nearly_nothing_is_left_of_the_deadline() -> None:
    begun: list[str] = []

    @tool(effect="read")
    async def hurry() -> str:
        """Do something."""
        begun.append("hurry")
        return "ok"

    def thinks(request: ModelRequest) -> Any:
        time.sleep(0.1)  # all the time there is but a little, of the clock that a deadline is measured by
        return calls(("hurry", {}))

    scene = Scene(thinks, says("Done."), tools=[hurry])

    state = await scene.ask(deadline=START + timedelta(seconds=0.25))

    assert begun == []
    assert [made.error for made in state.made] == ["out_of_time"]
    assert state.stop_reason is StopReason.TIME_LIMIT
    assert len(scene.model.requests) == 1


@pytest.mark.row("S11", part="deadline")
async def test_a_read_that_the_deadline_cut_ends_the_run_before_a_model_takes_it_for_an_answer() -> None:
    @tool(effect="read", timeout_s=30)
    async def slow() -> str:
        """Look for long."""
        await anyio.sleep_forever()

    scene = Scene(calls(("slow", {})), says("I found nothing."), tools=[slow])

    state = await scene.ask(deadline=START + timedelta(seconds=0.3))

    assert [made.error for made in state.made] == ["out_of_time"]
    assert state.stop_reason is StopReason.TIME_LIMIT
    assert isinstance(state.ended, FinalAnswer)
    assert "I found nothing" not in state.ended.answer.text
    assert state.ended.answer.needs_human_review


async def test_a_tool_that_is_slow_of_itself_ends_no_run() -> None:
    @tool(effect="read", timeout_s=0.01)
    async def slow() -> str:
        """Look for long."""
        await anyio.sleep_forever()

    scene = Scene(calls(("slow", {})), says("It did not answer."), tools=[slow])

    state = await scene.ask(deadline=START + timedelta(seconds=30))

    assert [made.error for made in state.made] == ["timeout"]
    assert state.stop_reason is StopReason.COMPLETED


@pytest.mark.row("S11", part="deadline")
async def test_a_person_who_comes_to_a_run_out_of_time_gives_it_more() -> None:
    paid: list[int] = []

    @tool(effect="write", needs_approval=True)
    async def pay(amount: int) -> str:
        """Pay."""
        paid.append(amount)
        return "paid"

    @tool(effect="read", timeout_s=30)
    async def slow() -> str:
        """Look for long."""
        await anyio.sleep_forever()

    scene = Scene(calls(("pay", {"amount": 3}), ("slow", {})), says("Paid."), tools=[pay, slow])
    waiting = await scene.ask(deadline=START + timedelta(seconds=0.3))

    [draft] = await scene.approvals.list(LEE)
    await scene.approvals.decide(LEE, draft.id, approved=True)
    state = await scene.go_on()

    assert waiting.stop_reason is StopReason.AWAITING_APPROVAL
    assert paid == [3]
    assert state.stop_reason is StopReason.COMPLETED
