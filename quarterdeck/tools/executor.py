"""Executing tool calls: whatever a tool does, the model gets a result, and the run goes on.

Exactly one thing leaves this file as an exception: the cancellation of whoever waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from quarterdeck.core.answers import Passage
from quarterdeck.core.errors import InvalidArguments
from quarterdeck.core.labels import Integrity, Label, join_all
from quarterdeck.core.messages import ResultStatus, ToolCall, ToolResult
from quarterdeck.core.tools import Tool, ToolContext
from quarterdeck.tools.base import Toolbox
from quarterdeck.tools.encode import clean, encode
from quarterdeck.tools.registry import closest
from quarterdeck.tools.threads import Late

__all__ = ["RESERVE_S", "Done", "Executor", "Gives", "Job"]

RESERVE_S = 0.2  # of the run's time, kept for settling what a tool gave; a call that would begin within it does not
_MAX_ERROR_CHARS = 2000

Done = Callable[[ToolResult], Awaitable[None]]
Gives = Callable[[str], Label]
"""The label of a text that a tool returned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One call to execute.

    Attributes:
        call: With validated arguments.
        label: Of its arguments, and so of an error; passages bring their own and are joined with it.
        gives: Says that of what else it returns; None for that of its arguments.
        attempt: 1, or one more than the attempts journalled before.
        then: Makes of the result what is to stand in its place, within the same turn of parallel work.
    """

    call: ToolCall
    context: ToolContext
    label: Label
    gives: Gives | None = None
    attempt: int = 1
    then: Callable[[ToolResult], Awaitable[ToolResult]] | None = None


class Executor:
    """Prepares and runs the calls of one toolbox.

    Args:
        clock: Monotonic seconds, the same clock as the deadlines.
    """

    def __init__(self, toolbox: Toolbox, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._toolbox = toolbox
        self._clock = clock

    def prepare(self, call: ToolCall, label: Label) -> ToolCall | ToolResult:
        """The call with normalised arguments, or an error (labelled `label`) that tells the model how to repair it."""
        tool = self._toolbox.get(call.name)
        if tool is None:
            why = f"There is no tool {call.name[:64]!r}; {closest(call.name, self._toolbox.names())}."
            return _error(call, label, "unknown_tool", why)
        if call.malformed is not None:
            why = f"The arguments of {call.name} are not valid JSON: {call.malformed}. Send one JSON object."
            return _error(call, label, "invalid_arguments", why)
        if not isinstance(call.args, Mapping):
            why = f"The arguments of {call.name} must be a JSON object, not {type(call.args).__name__}."
            return _error(call, label, "invalid_arguments", why)
        try:
            return ToolCall(id=call.id, name=call.name, args=tool.bind(call.args))
        except InvalidArguments as error:
            return _error(call, label, "invalid_arguments", str(error))
        except Exception as error:  # noqa: BLE001 - the edge: a validator of the tool's author may raise anything
            why = f"The arguments of {call.name} could not be checked: {_said(error)}"
            return _error(call, label, "invalid_arguments", why)

    async def run(
        self,
        call: ToolCall,
        tool: Tool,
        ctx: ToolContext,
        *,
        label: Label,
        gives: Gives | None = None,
        attempt: int = 1,
    ) -> ToolResult:
        """Execute a prepared call. Reads are tried again after a time-out, `tool.retries` times.

        Args:
            label: Of the arguments: joined with the labels of passages, and untrusted if the tool fails.
            gives: Says that of any other result; None for that of the arguments.
        """
        started = self._clock()
        last = attempt + (tool.retries if tool.is_read else 0)
        result = await self._attempt(call, tool, ctx, label, gives, attempt)
        while result.error == "timeout" and result.attempt < last and ctx.deadline - self._clock() >= RESERVE_S:
            result = await self._attempt(call, tool, ctx, label, gives, result.attempt + 1)
        return replace(result, duration_ms=(self._clock() - started) * 1000)

    async def run_all(self, jobs: Sequence[Job], *, parallel: int, done: Done) -> list[ToolResult]:
        """Execute `jobs`, at most `parallel` at once, and return their results in the order of `jobs`.

        Args:
            done: Receives each result as soon as it is there, one at a time. What it raises ends the others and is raised.
        """
        results: dict[int, ToolResult] = {}
        if len(jobs) == 1 or parallel <= 1:  # no task group: most turns have one call
            for position, job in enumerate(jobs):
                results[position] = await self._job(job)
                await done(results[position])
            return list(results.values())
        queue = iter(enumerate(jobs))
        turn = anyio.Lock()  # first come, first served: completion order is kept
        failures: list[Exception] = []

        async def work() -> None:
            for position, job in queue:
                results[position] = result = await self._job(job)
                try:
                    async with turn:
                        await done(result)
                except Exception as error:  # noqa: BLE001 - raised below, without the group around it
                    failures.append(error)
                    group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for _ in range(min(parallel, len(jobs))):
                group.start_soon(work)
        if failures:
            raise failures[0]
        return [results[position] for position in range(len(jobs))]

    async def _job(self, job: Job) -> ToolResult:
        tool = self._toolbox.get(job.call.name)
        if tool is None:  # it was there when the call was prepared
            return _error(job.call, job.label, "unknown_tool", f"There is no tool {job.call.name[:64]!r} any more.")
        result = await self.run(job.call, tool, job.context, label=job.label, gives=job.gives, attempt=job.attempt)
        return result if job.then is None else await job.then(result)

    async def _attempt(
        self, call: ToolCall, tool: Tool, ctx: ToolContext, label: Label, gives: Gives | None, attempt: int
    ) -> ToolResult:
        left = ctx.deadline - self._clock()
        if left < RESERVE_S:
            return _error(call, label, "out_of_time", f"{call.name} was not started: the run's time is over.", attempt)
        limit_s = min(tool.timeout_s, left - RESERVE_S)
        task = asyncio.current_task()
        cancels = task.cancelling() if task else 0
        with anyio.move_on_after(limit_s) as scope:
            try:
                value = await tool.run(call.args, ctx)
            except Late:
                pass
            except BaseException as error:
                if (
                    isinstance(error, GeneratorExit) and asyncio.current_task() is not task
                ):  # not the tool: we are being closed
                    raise
                ours = task is not None and task.cancelling() > cancels
                if isinstance(error, asyncio.CancelledError) and (ours or scope.cancel_called):
                    raise
                if not scope.cancel_called:
                    if ours:  # the tool failed while we were being cancelled; its failure must not hide that
                        await checkpoint_if_cancelled()
                        raise asyncio.CancelledError from error
                    return _failed(call, label, "exception", f"{call.name} failed: {_said(error)}", attempt)
            else:
                return _success(call, tool, value, label, gives, attempt)
        # Of a write that was cut nobody knows what became of it, whoseever time was over.
        code = "out_of_time" if tool.is_read and limit_s < tool.timeout_s else "timeout"
        return _failed(call, label, code, _timed_out(tool, limit_s), attempt)


def _success(call: ToolCall, tool: Tool, value: Any, label: Label, gives: Gives | None, attempt: int) -> ToolResult:
    if isinstance(value, tuple | list) and value and all(isinstance(item, Passage) for item in value):
        passages = _fitting(value, tool.max_output_chars)
        return ToolResult(
            call_id=call.id,
            name=call.name,
            status=ResultStatus.OK,
            label=join_all(passage.label for passage in passages).join(label),
            passages=passages,
            attempt=attempt,
            truncated=len(passages) < len(value),
        )
    try:
        output, truncated = encode(value, tool.max_output_chars)
    except BaseException as error:  # noqa: BLE001 - the edge: reading a strange object may run any code, SystemExit too
        why = f"{call.name} ran, but its result cannot be shown: {_said(error)}"
        return _error(call, label, "unserialisable", why, attempt)
    return ToolResult(
        call_id=call.id,
        name=call.name,
        status=ResultStatus.OK,
        label=label if gives is None else gives(output),
        output=output,
        attempt=attempt,
        truncated=truncated,
    )


def _fitting(passages: Sequence[Passage], limit: int) -> tuple[Passage, ...]:
    """The best passages that fit together; the first in any case, since a cut passage could not be cited."""
    room = limit
    for count, passage in enumerate(passages):
        room -= len(passage.text)
        if room < 0:
            return tuple(passages[: max(count, 1)])
    return tuple(passages)


def _timed_out(tool: Tool, limit_s: float) -> str:
    text = f"{tool.name} did not finish within {limit_s:.3g} s and was stopped."
    if tool.is_read:
        return text
    return f"{text} What it was to do may have happened all the same: check before asking for it again."


def _said(error: BaseException) -> str:
    """Type and message, never a traceback: it would show paths and values of the server."""
    try:
        message = clean(str(error))
    except BaseException:  # noqa: BLE001 - an exception whose text fails, even by SystemExit, is still an exception
        message = ""
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return text if len(text) <= _MAX_ERROR_CHARS else f"{text[:_MAX_ERROR_CHARS]}…"


def _failed(call: ToolCall, label: Label, code: str, text: str, attempt: int) -> ToolResult:
    """The error of a tool that ran: whoever made it fail chose the words (security rule 8)."""
    return _error(call, replace(label, integrity=Integrity.UNTRUSTED), code, text, attempt)


def _error(call: ToolCall, label: Label, code: str, text: str, attempt: int = 1) -> ToolResult:
    return ToolResult(
        call_id=call.id,
        name=call.name,
        status=ResultStatus.ERROR,
        label=label,
        output=clean(text),
        error=code,
        attempt=attempt,
    )
