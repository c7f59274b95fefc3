"""Runs: how they stand, what happened in them, and what people do with them."""

from __future__ import annotations

import contextlib
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from quarterdeck.core.errors import InvalidInput
from quarterdeck.core.runs import RunStatus
from quarterdeck.service.controls import Fork
from quarterdeck.service.desk import Desk
from quarterdeck.transports.http.callers import Commander, Operator, Reader, StreamReader, until_over
from quarterdeck.transports.http.keys import IdempotencyKey, checked
from quarterdeck.transports.http.once import once
from quarterdeck.transports.http.shapes import (
    PROBLEMS,
    DoubtList,
    DoubtResolution,
    Exported,
    ForkRequest,
    Id,
    IdPath,
    ReasonRequest,
    RunBody,
    RunList,
    SteerRequest,
    run_body,
)
from quarterdeck.transports.http.sse import DESCRIBED, EventStream, full_frames
from quarterdeck.transports.http.wire import ControlRoute, Json
from quarterdeck.workflow.effects import Effects

__all__ = ["router"]

router = APIRouter(route_class=ControlRoute, tags=["runs"], responses=PROBLEMS)

Limit = Annotated[int, Query(ge=1, le=200)]
_ACCEPTED: dict[int | str, dict[str, Any]] = {202: {"model": RunBody}}


@router.get("/api/v1/runs", responses={200: {"model": RunList}})
async def runs(
    request: Request,
    caller: Reader,
    status: RunStatus | None = None,
    code: Annotated[
        Id | None, Query(description="Of the error a failed run ended with; `poison` lists the dead letters.")
    ] = None,
    before: Annotated[Id | None, Query(description="A run id to go on from.")] = None,
    limit: Limit = 50,
) -> Response:
    """Own runs, newest first; an operator sees those of the tenant."""
    desk: Desk = request.app.state.desk
    rows = await desk.runs(caller, status=status, code=code, before=before, limit=limit)
    return Json({"runs": [_listed(row) for row in rows]})


@router.get("/api/v1/runs/{run_id}", responses={200: {"model": RunBody}})
async def run(request: Request, caller: Reader, run_id: IdPath) -> Response:
    """How a run stands."""
    desk: Desk = request.app.state.desk
    return Json(run_body(await desk.view(caller, run_id)))


@router.get("/api/v1/runs/{run_id}/events", response_class=Response, responses=DESCRIBED)
async def events(
    request: Request,
    caller: StreamReader,
    run_id: IdPath,
    after: Annotated[int | None, Query(ge=0, description="The last seq that is known already.")] = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """What happened and happens in a run, until it ends; stays open while it waits for a person."""
    desk: Desk = request.app.state.desk
    async with contextlib.AsyncExitStack() as stack:
        seen = _seq(last_event_id) if last_event_id is not None else after or 0
        followed = await stack.enter_async_context(desk.following(caller, run_id, seen))
        request.state.run_id = run_id
        heartbeat_s: float = request.app.state.heartbeat_s
        over = await until_over(request, caller)
        return EventStream(followed, stack.pop_all(), full_frames, heartbeat_s=heartbeat_s, over=over)
    raise AssertionError("unreachable: the block returns or raises")


@router.post("/api/v1/runs/{run_id}/cancel", status_code=202, responses=_ACCEPTED)
async def cancel(request: Request, caller: Commander, run_id: IdPath, body: ReasonRequest | None = None) -> Response:
    """Ask a run to end; it does before its next step."""
    desk: Desk = request.app.state.desk
    return Json(run_body(await desk.controls.cancel(caller, run_id, body.reason if body else "")), status_code=202)


@router.post("/api/v1/runs/{run_id}/pause", status_code=202, responses=_ACCEPTED)
async def pause(request: Request, caller: Commander, run_id: IdPath, body: ReasonRequest | None = None) -> Response:
    """Ask a run to rest before its next step; what it has begun it ends."""
    desk: Desk = request.app.state.desk
    return Json(run_body(await desk.controls.pause(caller, run_id, body.reason if body else "")), status_code=202)


@router.post("/api/v1/runs/{run_id}/resume", status_code=202, responses=_ACCEPTED)
async def resume(request: Request, caller: Commander, run_id: IdPath, body: ReasonRequest | None = None) -> Response:
    """Let a paused run go on."""
    desk: Desk = request.app.state.desk
    return Json(run_body(await desk.controls.resume(caller, run_id, body.reason if body else "")), status_code=202)


@router.post("/api/v1/runs/{run_id}/steer", status_code=202, responses=_ACCEPTED)
async def steer(
    request: Request, caller: Commander, run_id: IdPath, body: SteerRequest, idempotency_key: IdempotencyKey = None
) -> Response:
    """Say something into a run; its model hears it before its next reply."""
    desk: Desk = request.app.state.desk
    run = await desk.controls.steer(caller, run_id, body.message, checked(idempotency_key))
    return Json(run_body(run), status_code=202)


@router.post("/api/v1/runs/{run_id}/retry", status_code=202, responses=_ACCEPTED)
async def retry(request: Request, caller: Commander, run_id: IdPath, body: ReasonRequest | None = None) -> Response:
    """Have a failed run go on from where it failed."""
    desk: Desk = request.app.state.desk
    return Json(run_body(await desk.controls.retry(caller, run_id, body.reason if body else "")), status_code=202)


@router.post("/api/v1/runs/{run_id}/fork", status_code=201, responses={201: {"model": RunBody}})
async def fork(
    request: Request, caller: Commander, run_id: IdPath, body: ForkRequest, idempotency_key: IdempotencyKey = None
) -> Response:
    """Begin a new run of the same person that has the first events of this one."""
    desk: Desk = request.app.state.desk
    wanted = Fork(
        at=body.at,
        idempotency_key=checked(idempotency_key),
        request_id=request.state.request_id,
        trace_id=request.state.trace_id,
        span_id=request.state.span_id,
    )
    return Json(run_body(await desk.controls.fork(caller, run_id, wanted)), status_code=201)


@router.post("/api/v1/runs/{run_id}/export", status_code=201, responses={201: {"model": Exported}})
async def export(request: Request, caller: Reader, run_id: IdPath, idempotency_key: IdempotencyKey = None) -> Response:
    """Keep the journal of a run where snapshots rest; it stays there when the run is deleted."""
    desk: Desk = request.app.state.desk

    async def exported(_: str) -> Response:
        return Json({"run_id": run_id, "uri": await desk.export(caller, run_id)}, status_code=201)

    return await once(request, caller, idempotency_key, exported)


@router.get("/api/v1/doubts", responses={200: {"model": DoubtList}})
async def doubts(request: Request, caller: Operator, limit: Limit = 100) -> Response:
    """Started writes of which nobody knows whether they happened."""
    effects: Effects = request.app.state.effects
    return Json({"doubts": await effects.doubts(caller, limit)})


@router.post("/api/v1/runs/{run_id}/doubts/{call_id}", responses={200: {"model": RunBody}})
async def resolve(request: Request, caller: Operator, run_id: IdPath, call_id: IdPath, body: DoubtResolution) -> Response:
    """Say what became of a started write; its run goes on."""
    effects: Effects = request.app.state.effects
    desk: Desk = request.app.state.desk
    await effects.resolve(caller, run_id, call_id, body.outcome, body.output)
    return Json(run_body(await desk.view(caller, run_id)))


def _listed(row: Any) -> dict[str, Any]:
    return {
        "run_id": row.run_id,
        "agent": row.agent,
        "user": row.user,
        "session_id": row.session_id,
        "status": row.status,
        "code": row.code,
        "head": row.head,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def _seq(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 12):
        raise InvalidInput("Last-Event-ID is the id of an event of this stream: a number")
    return int(text)
