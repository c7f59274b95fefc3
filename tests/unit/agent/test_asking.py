"""What a follower of a run sees of a reply while it is made."""

from __future__ import annotations

from quarterdeck.agent.base import Silence
from quarterdeck.core.context import Context
from quarterdeck.core.events import Delta
from quarterdeck.models.base import Completion, Emit, ModelRequest
from quarterdeck.tools.decorator import tool
from tests.unit.agent.scene import Scene, Scripted, calls, says


@tool(effect="read")
async def look(what: str) -> str:
    """Look something up."""
    return what


class Listening(Silence):
    """An audience that remembers the pieces."""

    def __init__(self) -> None:
        self.heard: list[Delta] = []

    async def watched(self, tenant: str, run_id: str) -> bool:
        return True

    async def delta(self, tenant: str, run_id: str, delta: Delta) -> None:
        self.heard.append(delta)


class Unnumbered(Scripted):
    """A model that does not count its pieces."""

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        reply = await super().complete(request, ctx)
        for letter in reply.text if emit is not None else ():
            await emit(Delta(kind="text", text=letter))
        return reply


async def test_pieces_are_numbered_within_their_reply_whatever_model_made_them() -> None:
    scene = Scene(tools=[look])
    scene.model = scene.loop.models = Unnumbered(calls(("look", {"what": "a"}), text="abc"), says("de"))
    scene.loop.audience = audience = Listening()

    await scene.ask()

    heard = [(delta.turn, delta.n, delta.text) for delta in audience.heard]
    assert heard == [(1, 0, "a"), (1, 1, "b"), (1, 2, "c"), (2, 0, "d"), (2, 1, "e")]
