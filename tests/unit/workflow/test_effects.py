"""Writes in doubt: one indexed query finds them, a person's word closes them, and so does the end of their run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quarterdeck.core.errors import Conflict, NotFound
from quarterdeck.core.runs import StopReason
from quarterdeck.tools.decorator import tool
from tests.unit.agent.scene import ANNA, LEE, DiesBeforeResults, Killed, Scene, calls, says


@tool(effect="write")
async def pay(amount: int) -> str:
    """Pay somebody."""
    return f"paid {amount}"


async def in_doubt() -> Scene:
    """A run whose worker died after the effect, and that another has found so."""
    scene = Scene(calls(("pay", {"amount": 5})), says("Paid."), tools=[pay])
    await scene.begin()
    scene.loop = scene.new_loop(DiesBeforeResults(scene.store.journal))
    with pytest.raises(Killed):
        await scene.go_on()
    scene.loop = scene.new_loop()
    assert (await scene.go_on()).stop_reason is StopReason.IN_DOUBT
    return scene


@pytest.mark.row("R7", part="in doubt")
async def test_a_doubt_is_offered_once_nobody_can_be_at_it_any_more() -> None:
    scene = await in_doubt()

    early = await scene.effects.doubts(LEE)
    scene.clock.pass_by(pay.timeout_s + scene.loop.doubt_grace_s)
    (doubt,) = await scene.effects.doubts(replace(LEE, user=ANNA.user))

    assert early == []
    assert (doubt.run_id, doubt.call_id, doubt.tool, doubt.args) == (scene.run_id, "t1c0", "pay", {"amount": 5})
    assert (doubt.requested_by, doubt.not_before) == (ANNA.user, scene.clock())


@pytest.mark.row("R7", part="in doubt")
async def test_a_resolved_doubt_is_listed_no_more_and_its_resolution_is_audited() -> None:
    scene = await in_doubt()
    scene.clock.pass_by(60)

    await scene.effects.resolve(LEE, scene.run_id, "t1c0", "done", "receipt 7")

    assert await scene.effects.doubts(LEE) == []
    last = (await scene.store.records.audit_rows(ANNA.tenant))[-1]
    assert (last["actor"], last["decision"]) == ("user:lee", "doubt:done")
    with pytest.raises((Conflict, NotFound)):
        await scene.effects.resolve(LEE, scene.run_id, "t1c0", "repeat")


async def test_a_second_attempt_in_doubt_is_a_doubt_of_its_own() -> None:
    scene = await in_doubt()
    scene.clock.pass_by(60)
    await scene.effects.resolve(LEE, scene.run_id, "t1c0", "repeat")
    scene.loop = scene.new_loop(DiesBeforeResults(scene.store.journal))
    with pytest.raises(Killed):
        await scene.go_on()
    scene.loop = scene.new_loop()

    await scene.go_on()
    scene.clock.pass_by(60)

    assert len(await scene.effects.doubts(LEE)) == 1
    assert len(await scene.store.records.find(ANNA.tenant, "doubt", ref=scene.run_id)) == 2


async def test_the_end_of_a_run_withdraws_its_doubts() -> None:
    scene = await in_doubt()
    scene.clock.pass_by(60)
    scene.staff.gone.add(ANNA.user)

    state = await scene.go_on()

    assert state.stop_reason is StopReason.FAILED
    assert await scene.effects.doubts(LEE) == []
    with pytest.raises(Conflict, match="retry it"):
        await scene.effects.resolve(LEE, scene.run_id, "t1c0", "done")
