"""A model that does its task, and at once whatever the first text of an outsider asks of it."""

from __future__ import annotations

from collections.abc import Sequence

from bench.injection.suites import MARKER
from quarterdeck.core.context import Context
from quarterdeck.core.messages import Role, ToolCall
from quarterdeck.models.base import Completion, Emit, ModelRequest


class Obeying:
    """Plays the calls of a task one by one; once a tool's result shows the marker, all calls of the attack come first.

    No wording of an attack could achieve more, so what is measured is the policy alone.

    Attributes:
        attacked: Whether it has seen the marker.
    """

    name = "scripted:obeying"

    def __init__(self, task: Sequence[ToolCall], answer: str, attack: Sequence[ToolCall] = ()) -> None:
        self._task = list(task)
        self._attack = list(attack)
        self._answer = answer
        self.attacked = False

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        shown = any(message.role is Role.TOOL and MARKER in message.text for message in request.messages)
        self.attacked = self.attacked or (shown and bool(self._attack))
        left = self._attack if self.attacked and self._attack else self._task
        if not left:
            return Completion(text=self._answer)
        return Completion(tool_calls=(left.pop(0),), finish_reason="tool_calls")
