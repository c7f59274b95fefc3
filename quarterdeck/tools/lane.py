"""Tools that only compute, in a lane of their own: quick or not at all, and never behind those that wait for others."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any

import anyio

from quarterdeck.core.errors import Misconfigured
from quarterdeck.core.tools import Tool, ToolContext
from quarterdeck.tools.registry import closest
from quarterdeck.tools.threads import Late, threads_of

__all__ = ["DeterministicLane"]


class DeterministicLane:
    """Gives tools a deadline that holds, and threads that no other tool can fill.

    The deadline counts from the call: waiting for a place is part of it. What comes later than it is dropped, also where the
    tool kept the event loop busy and could not be stopped. It ends as a time-out, which is not tried again.

    Args:
        places: Threads of its own, for tools that block.
        deadline_s: Seconds a call may take.
        clock: Monotonic seconds.
    """

    def __init__(self, *, places: int, deadline_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._places = anyio.CapacityLimiter(places)
        self._deadline_s = deadline_s
        self._clock = clock

    def over(self, tools: Iterable[Tool], names: Collection[str]) -> tuple[Tool, ...]:
        """`tools`, of which those called `names` are in the lane.

        Raises:
            Misconfigured: There is no such tool, or it changes something: a write that is cut would be in doubt.
        """
        given = tuple(tools)
        known = {tool.name: tool for tool in given}
        for name in names:
            if name not in known:
                raise Misconfigured(f"limits.deterministic.tools: there is no tool {name!r}; {closest(name, tuple(known))}")
            if not known[name].is_read:
                raise Misconfigured(f"limits.deterministic.tools: {name} is a write; only reads may be cut short")
        return tuple(self._around(tool) if tool.name in names else tool for tool in given)

    def _around(self, tool: Tool) -> Tool:
        async def run(args: dict[str, Any], ctx: ToolContext) -> Any:
            began = self._clock()
            with threads_of(self._places):
                value = await tool.run(args, ctx)
            if self._clock() - began > self._deadline_s:
                raise Late
            return value

        return replace(tool, run=run, timeout_s=min(tool.timeout_s, self._deadline_s), retries=0)
