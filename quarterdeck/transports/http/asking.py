"""How a caller wants to wait for an answer: until when, how urgently, and what becomes of the run when it goes away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Literal

import anyio
from fastapi import Depends, Header, Query, Request
from pydantic import AwareDatetime

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import QuarterdeckError, error_of
from quarterdeck.service.desk import Desk, Question
from quarterdeck.service.leaving import abandon
from quarterdeck.service.views import RunView
from quarterdeck.transports.http.errors import Refused
from quarterdeck.transports.http.sse import until_gone
from quarterdeck.workflow.lanes import Lane

__all__ = ["InTime", "Waiting", "WaitingAs", "answered", "leaver"]

_LONGEST = timedelta(days=1)  # the farthest deadline; what is farther off is taken for that

# A deadline of a millisecond is a good request whose right answer is 504: who tries the interface by what its description
# allows would take that for a fault. So these stand on the page of the interface, and not in its schema.
_TimeoutMs = Annotated[
    float | None, Header(alias="X-Request-Timeout-Ms", gt=0, allow_inf_nan=False, include_in_schema=False)
]
_Deadline = Annotated[AwareDatetime | None, Header(alias="X-Request-Deadline", include_in_schema=False)]
_Lane = Annotated[Lane, Header(alias="X-Lane", description="How urgent it is: what is not interactive is put off first.")]
_OnDisconnect = Annotated[
    Literal["detach", "cancel"],
    Query(description="Whether the run goes on (`detach`) or ends when the caller goes away before it does."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Attributes: cancels: True if the run shall end when its caller goes away."""

    deadline: datetime | None
    lane: Lane
    cancels: bool = False

    def on(self, question: Question) -> Question:
        """`question`, asked this way."""
        return replace(question, deadline=self.deadline, lane=self.lane)


async def in_time(timeout_ms: _TimeoutMs = None, deadline: _Deadline = None, lane: _Lane = Lane.INTERACTIVE) -> Waiting:
    """What the request says of time and urgency; of two deadlines the earlier one holds."""
    now = datetime.now(UTC)
    ends = [now + _LONGEST]
    if timeout_ms is not None and timeout_ms < _LONGEST / timedelta(milliseconds=1):
        ends.append(now + timedelta(milliseconds=timeout_ms))
    if deadline is not None:
        ends.append(deadline)
    asked = timeout_ms is not None or deadline is not None
    return Waiting(deadline=min(ends) if asked else None, lane=lane)


InTime = Annotated[Waiting, Depends(in_time)]


async def waiting(how: InTime, on_disconnect: _OnDisconnect = "detach") -> Waiting:
    """The same, and what becomes of the run when its caller goes away."""
    return replace(how, cancels=on_disconnect == "cancel")


WaitingAs = Annotated[Waiting, Depends(waiting)]


async def answered(request: Request, caller: Principal, question: Question, wait_s: float, how: Waiting) -> RunView:
    """Ask, and wait at most `wait_s` seconds. Raises as `Desk.ask` does, and the error a failed run ended with."""
    desk: Desk = request.app.state.desk

    def begun(run_id: str) -> None:
        request.state.run_id = run_id

    ask = partial(desk.ask, caller, how.on(question), wait_s, begun=begun)
    run = await (_while_there(request, caller, ask) if how.cancels else ask())
    if run.failure is not None:
        raise error_of(run.failure.code, f"run {run.run_id} failed: {run.failure.message}")
    return run


def leaver(request: Request, caller: Principal, run_id: str, how: Waiting) -> Callable[[], Awaitable[None]] | None:
    """What is to be done when the reader of a stream leaves; None if nothing is."""
    desk: Desk = request.app.state.desk
    return partial(abandon, desk.controls, caller, run_id) if how.cancels else None


async def _while_there(request: Request, caller: Principal, ask: Callable[[], Awaitable[RunView]]) -> RunView:
    """What `ask` gives, unless the caller goes away first: then its run is cancelled."""
    run: RunView | None = None
    failure: QuarterdeckError | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(until_gone, request.receive, tasks.cancel_scope)
        try:
            run = await ask()
        except QuarterdeckError as error:  # raised below, without the group around it
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    if run is None:
        if (run_id := getattr(request.state, "run_id", None)) is not None:
            desk: Desk = request.app.state.desk
            await abandon(desk.controls, caller, run_id)
        raise Refused("request_timeout", "the caller went away")
    return run
