"""What a run may do is what its person may do now, however long it has been running."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quarterdeck.core.events import FinalAnswer, RunFailed
from quarterdeck.core.runs import RunStatus
from quarterdeck.models.base import Completion, ModelRequest
from quarterdeck.tools.decorator import tool
from tests.unit.agent.scene import ANNA, Scene, calls, says

pytestmark = pytest.mark.row("S9", part="rights of the moment")


async def test_run_is_stopped_before_its_next_call_once_its_person_may_not_act_any_more() -> None:
    seen: list[str] = []

    @tool(effect="read")
    async def look(what: str) -> str:
        """Look something up."""
        seen.append(what)
        return "42"

    def taken_away(request: ModelRequest) -> Completion:
        scene.staff.gone.add("anna")
        return calls(("look", {"what": "second"}))

    scene = Scene(calls(("look", {"what": "first"})), taken_away, says("Done."), tools=[look])
    state = await scene.ask()

    assert seen == ["first"]
    assert state.status is RunStatus.FAILED
    assert isinstance(state.ended, RunFailed)
    assert state.ended.code == "forbidden"


async def test_call_is_decided_by_the_rights_of_the_moment() -> None:
    seen: list[str] = []

    @tool(effect="read", scope="records.read")
    async def look(what: str) -> str:
        """Look something up."""
        seen.append(what)
        return "42"

    def demoted(request: ModelRequest) -> Completion:
        scene.staff.present["anna"] = replace(ANNA, scopes=("chat",))
        return calls(("look", {"what": "second"}))

    scene = Scene(calls(("look", {"what": "first"})), demoted, says("Done."), tools=[look])
    await scene.begin(principal=replace(ANNA, scopes=("chat", "records.read")))
    state = await scene.go_on()

    assert seen == ["first"]
    assert isinstance(state.ended, FinalAnswer)
