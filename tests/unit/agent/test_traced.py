"""What a run's tools know of the request that began it."""

from __future__ import annotations

import pytest

from quarterdeck.core.tools import ToolContext
from quarterdeck.tools.decorator import tool
from tests.unit.agent.scene import Scene, calls, says

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.row("D3", part="tools")
async def test_a_tool_can_hand_on_the_trace_and_the_tags_of_its_run() -> None:
    seen: list[ToolContext] = []

    @tool(effect="read")
    async def look(ctx: ToolContext) -> str:
        """Look around."""
        seen.append(ctx)
        return "ok"

    scene = Scene(calls(("look", {})), says("Done."), tools=[look])

    await scene.ask(trace_id=TRACE, request_id="r-1", tags={"experiment": "b", "tracestate": "vendor=1"})

    headers = seen[0].headers
    assert headers.pop("traceparent").startswith(f"00-{TRACE}-")
    assert headers == {"tracestate": "vendor=1", "x-request-id": "r-1", "baggage": "experiment=b"}
    assert seen[0].tags["experiment"] == "b"
