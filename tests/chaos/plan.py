"""What the agent of the crash tests does: six turns of parallel reads, with three kinds of write among them."""

from __future__ import annotations

import os
import signal
from dataclasses import asdict

from quarterdeck.core.context import Context, Principal
from quarterdeck.core.ids import content_hash
from quarterdeck.core.messages import Role, Text, ToolCall
from quarterdeck.core.runs import AgentSpec, Limits
from quarterdeck.core.usage import Usage
from quarterdeck.models.base import Completion, Emit, ModelRequest

TENANT = "acme"
ASKER = Principal(user="anna", tenant=TENANT, roles=("employee",))
APPROVER = Principal(user="lee", tenant=TENANT, roles=("approver",))
READS = 3
TURNS = 6
KEYED, APPROVED, PAYMENT = "t2c3", "t3c3", "t4c3"  # the calls that write, by their ids
WRITES = {KEYED: "record", APPROVED: "publish", PAYMENT: "pay"}
SPEC = AgentSpec(
    name="clerk", model="chaos:clerk", tools=("read", "record", "publish", "pay"), limits=Limits(loop_detection_threshold=99)
)
CONFIG_HASH = content_hash(asdict(SPEC))


def steps() -> list[str]:
    """Every call of a whole run, by id."""
    reads = [f"t{turn}c{i}" for turn in range(1, TURNS + 1) for i in range(READS)]
    return [*reads, *WRITES]


DEADLY = "Kill whoever works at this."


class Clerk:
    """A model that always does the same: its next turn depends only on how many it has had.

    A run that asks for it by `DEADLY` kills the process that takes it, as one does that needs more memory than there is.
    """

    @property
    def name(self) -> str:
        return "chaos:clerk"

    def get(self, name: str) -> Clerk:
        return self

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        if any(part.text == DEADLY for part in request.messages[-1].parts if isinstance(part, Text)):
            os.kill(os.getpid(), signal.SIGKILL)
        turn = sum(message.role is Role.ASSISTANT for message in request.messages) + 1
        usage = Usage(prompt_tokens=10, completion_tokens=5)
        if turn > TURNS:
            return Completion(text="All is done.", usage=usage, model=self.name)
        calls = [ToolCall(id="", name="read", args={"page": turn * 10 + i}) for i in range(READS)]
        write = WRITES.get(f"t{turn}c{READS}")
        if write is not None:
            calls.append(ToolCall(id="", name=write, args={"note": f"turn {turn}"}))
        return Completion(tool_calls=tuple(calls), finish_reason="tool_calls", usage=usage, model=self.name)
