"""A run that calls tools of whoever asked does what it can itself, and ends there."""

from __future__ import annotations

import pytest

from quarterdeck.core.events import FinalAnswer
from quarterdeck.core.messages import ToolCall
from quarterdeck.core.runs import AgentSpec, ClientTool, StopReason
from quarterdeck.service.views import view_of, without_words
from quarterdeck.tools.decorator import tool

from .scene import Scene, calls, says

CAMERA = ClientTool(name="camera", description="Take a picture.", input_schema={"type": "object", "properties": {}})
SPEC = AgentSpec(name="helper", model="test:scripted", client_tools=(CAMERA,))


@tool(effect="read")
def look(what: str) -> str:
    """Look something up."""
    return f"{what}: 42"


@pytest.mark.row("S8", part="openai tools")
async def test_own_calls_of_the_turn_are_executed_and_the_others_handed_over() -> None:
    scene = Scene(calls(("look", {"what": "a"}), ("camera", {"zoom": 2}), text="One moment."), tools=[look], spec=SPEC)

    state = await scene.ask()

    assert isinstance(state.ended, FinalAnswer)
    assert (state.ended.stop_reason, state.ended.answer.text) == (StopReason.CLIENT_TOOLS, "One moment.")
    view = view_of(scene.run_id, await scene.entries())
    assert [(call.name, call.args) for call in view.client_calls] == [("camera", {"zoom": 2})]
    assert without_words(view).client_calls == ()
    assert [kind for kind in await scene.kinds() if kind.startswith(("decided", "tool"))] == ["decided", "tool_result"]


async def test_model_is_shown_both_kinds_of_tools() -> None:
    scene = Scene(says("Hello."), tools=[look], spec=SPEC)

    await scene.ask()

    assert [shown.name for shown in scene.model.requests[0].tools] == ["look", "camera"]


async def test_call_whose_arguments_are_none_goes_back_to_the_model() -> None:
    broken = ToolCall(id="", name="camera", malformed="the arguments are no JSON")
    scene = Scene(calls(broken), calls(("camera", {})), tools=[look], spec=SPEC)

    state = await scene.ask()

    assert isinstance(state.ended, FinalAnswer)
    assert state.ended.stop_reason is StopReason.CLIENT_TOOLS
    assert len(scene.model.requests) == 2
