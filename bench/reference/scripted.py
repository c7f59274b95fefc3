"""A model that costs nothing: it asks for the first tool some times, then answers."""

from __future__ import annotations

from dataclasses import dataclass

from bench.reference.chat_server import FINAL_TEXT, fill
from quarterdeck.core.context import Context
from quarterdeck.core.messages import Role, ToolCall
from quarterdeck.core.usage import Usage
from quarterdeck.models.base import Completion, Emit, ModelRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripted:
    """Attributes: tool_turns: How many replies of a conversation ask for the tool before one answers."""

    tool_turns: int
    name: str = "bench:scripted"

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        done = sum(1 for message in request.messages if message.role is Role.TOOL)
        usage = Usage(prompt_tokens=20 * len(request.messages), completion_tokens=20)
        if done == self.tool_turns:
            return Completion(text=FINAL_TEXT, usage=usage, model=self.name)
        tool = request.tools[0]
        call = ToolCall(id=f"call_{done}", name=tool.name, args=fill(tool.input_schema, done))
        return Completion(tool_calls=(call,), finish_reason="tool_calls", usage=usage, model=self.name)
