"""Business operations: what a tool's key arguments name happens once, however many runs ask for it, one after another or at
the same time.

Each operation has a row, found by a hash of tool and key values. It is claimed in the transaction of the start and settled
in that of the result, so it never says anything else than the journals do. It outlives its run, which retention may delete
long before somebody asks for the same again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from quarterdeck.agent.state import CallState
from quarterdeck.core.context import Context
from quarterdeck.core.ids import canonical_json, content_hash, hashed_id
from quarterdeck.core.labels import Label
from quarterdeck.core.messages import ResultStatus, ToolCall, ToolResult
from quarterdeck.core.tools import Tool
from quarterdeck.store.base import Put, Record, Records
from quarterdeck.store.codec import from_json, to_json
from quarterdeck.tools.executor import RESERVE_S

__all__ = ["KIND", "SETTLED", "Begin", "Busy", "Known", "Operations", "Standing", "Unsure", "operation_id"]

KIND = "effect"
RUNNING, DONE, FREE = "running", "done", "free"
SETTLED = (DONE, FREE)
"""What may be forgotten in time. Nobody knows whether one that still runs happened: forgotten, it would be done again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """It is to be executed; `row` claims it beside the start."""

    id: str
    row: Put


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """It is not to be executed: this is the result."""

    result: ToolResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsure:
    """Somebody began it, nobody saw the end, and its target cannot deduplicate.

    Attributes:
        version: Of the operation's row: whoever begins it again raises it.
    """

    id: str
    version: int


@dataclass(frozen=True, slots=True)
class Busy:
    """Another call is at it; its result is waited for."""


Standing = Begin | Known | Unsure | Busy


def operation_id(tenant: str, tool: Tool, args: Mapping[str, Any]) -> str:
    """The same for the same operation of a tenant, in every run. The target gets it as its idempotency key.

    Args:
        args: As the tool's `bind` gave them.
    """
    return hashed_id(tenant, tool.name, canonical_json([args.get(name) for name in tool.key_args]))


class Operations:
    """The business operations of one advance.

    Args:
        now: Aware UTC, as the other workers know it to within `grace_s` seconds.
        grace_s: How long beyond its time-out a call may still be executing.
        clock: Monotonic seconds, the same clock as the deadline of `context`.
    """

    def __init__(
        self,
        records: Records,
        context: Context,
        *,
        now: Callable[[], datetime],
        grace_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._records = records
        self._context = context
        self._now = now
        self._grace_s = grace_s
        self._clock = clock
        self._claimed: dict[str, Put] = {}  # call → the row it claimed
        self._since: dict[str, float] = {}  # call → since when it waits for another one

    async def look(self, call: CallState, prepared: ToolCall, tool: Tool, label: Label) -> Standing:
        """How the operation of a call stands that may run now.

        Args:
            prepared: The call with validated arguments.
            label: Of the arguments.
        """
        operation = operation_id(self._context.principal.tenant, tool, prepared.args)
        record = await self._records.get(self._context.principal.tenant, KIND, operation)
        if record is None or record.status == FREE or self._is_ours(record, call):
            return self._begin(operation, record, prepared, tool)
        if record.data["args_hash"] != content_hash(prepared.args):
            return Known(result=_refused(prepared, tool, label))
        if record.status == DONE:
            return Known(result=self._answer(prepared, record, label))
        if datetime.fromisoformat(record.data["until"]) <= self._now():
            if tool.idempotent or _told_to_repeat(call, record):
                return self._begin(operation, record, prepared, tool)
            return Unsure(id=operation, version=record.version)
        return self._wait(prepared, tool, label)

    def settled(self, result: ToolResult) -> list[Put]:
        """What becomes of the row that the call of this result claimed: it is done, or free for the next who asks."""
        claim = self._claimed.pop(result.call_id, None)
        if claim is None:
            return []
        return [_settled(claim.record, (claim.expect or 0) + 1, result)]

    async def resolved(self, call: CallState, result: ToolResult) -> list[Put]:
        """The same for a call of an earlier worker, once a person has said what became of it."""
        if call.started is None or call.started.operation is None:
            return []
        record = await self._records.get(self._context.principal.tenant, KIND, call.started.operation)
        if record is None or record.status != RUNNING or not self._is_ours(record, call):
            return []  # somebody else has it by now, and will say what became of it
        return [_settled(record, record.version, result)]

    def _is_ours(self, record: Record, call: CallState) -> bool:
        return (record.data["run"], record.data["call"]) == (self._context.run_id, call.call.id)

    def _begin(self, operation: str, record: Record | None, call: ToolCall, tool: Tool) -> Begin:
        until = self._now() + timedelta(seconds=tool.timeout_s + self._grace_s)
        row = Record(
            kind=KIND,
            id=operation,
            data={
                "run": self._context.run_id,
                "call": call.id,
                "tool": tool.name,
                "args_hash": content_hash(call.args),
                "until": until.isoformat(),
            },
            status=RUNNING,
            owner=self._context.principal.user,
        )
        self._claimed[call.id] = put = Put(record=row, expect=record.version if record else 0)
        return Begin(id=operation, row=put)

    def _answer(self, call: ToolCall, record: Record, label: Label) -> ToolResult:
        """The recorded result, for those who may read it; for others only that it was done."""
        principal = self._context.principal
        earlier: ToolResult = from_json(ToolResult, record.data["result"])
        if not earlier.label.readers.admits(principal.names):
            text = "It had been done already when this call came, so it was not done again."
            return ToolResult(call_id=call.id, name=call.name, status=ResultStatus.OK, label=label, output=text, cached=True)
        known = record.owner == principal.user or "operate" in principal.scopes
        return replace(
            earlier,
            call_id=call.id,
            label=earlier.label.join(label),
            cached=True,
            earlier=f"{record.data['run']}:{record.data['call']}" if known else None,
        )

    def _wait(self, call: ToolCall, tool: Tool, label: Label) -> Busy | Known:
        now = self._clock()
        waited = now - self._since.setdefault(call.id, now)
        in_time = self._context.deadline - now >= RESERVE_S
        if waited <= tool.timeout_s + self._grace_s and in_time:
            return Busy()
        why = f"{call.name} was not started: the same is being done by another call, which has not ended yet."
        return Known(
            result=ToolResult(
                call_id=call.id,
                name=call.name,
                status=ResultStatus.ERROR,
                label=label,
                output=why,
                error="not_started" if in_time else "out_of_time",
            )
        )


def _told_to_repeat(call: CallState, record: Record) -> bool:
    """True if a person said that it did not happen, and nobody has begun it again since: an answer is of one attempt."""
    if call.started is None or call.resolution is None:
        return False
    return call.resolution.outcome == "repeat" and call.started.behind == record.version


def _settled(row: Record, version: int, result: ToolResult) -> Put:
    """What happened is recorded with its result, also one that cannot be shown; what failed may be tried again."""
    happened = result.ok or result.error == "unserialisable"
    data = {name: value for name, value in row.data.items() if name != "until"}
    if happened:
        data["result"] = to_json(replace(result, duration_ms=0.0, attempt=1))
    record = Record(kind=KIND, id=row.id, data=data, status=DONE if happened else FREE, owner=row.owner)
    return Put(record=record, expect=version)


def _refused(call: ToolCall, tool: Tool, label: Label) -> ToolResult:
    names = ", ".join(tool.key_args)
    why = f"Not done: {call.name} was asked for with the same {names} and other arguments before."
    return ToolResult(
        call_id=call.id, name=call.name, status=ResultStatus.REFUSED, label=label, output=why, error="conflict"
    )
