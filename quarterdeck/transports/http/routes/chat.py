"""Questions: asked and answered in one body, or streamed while the answer is made."""

from __future__ import annotations

import contextlib
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from quarterdeck.core.context import Principal
from quarterdeck.service.desk import Desk, Question
from quarterdeck.service.views import RunView
from quarterdeck.transports.http.asking import Waiting, WaitingAs, answered, leaver
from quarterdeck.transports.http.callers import Asker, NotByHead, StreamAsker, until_over
from quarterdeck.transports.http.keys import IdempotencyKey, checked
from quarterdeck.transports.http.shapes import (
    PROBLEMS,
    AgentAnswer,
    AgentQuery,
    ChatAnswer,
    ChatRequest,
    Id,
    agent_answer,
    chat_answer,
)
from quarterdeck.transports.http.simple import SimpleFrames
from quarterdeck.transports.http.sse import DESCRIBED, EventStream
from quarterdeck.transports.http.wire import Json, StrictRoute

__all__ = ["router"]

router = APIRouter(route_class=StrictRoute, tags=["questions"], responses=PROBLEMS)

_LATE = "Not settled within the time; the body shows how far it is, GET /api/v1/runs/{id} the rest."
_CHAT: dict[int | str, dict[str, Any]] = {200: {"model": ChatAnswer}, 202: {"model": ChatAnswer, "description": _LATE}}
_QUERY: dict[int | str, dict[str, Any]] = {200: {"model": AgentAnswer}, 202: {"model": AgentAnswer, "description": _LATE}}


@router.post("/chat", responses=_CHAT)
async def chat(
    request: Request, body: ChatRequest, caller: Asker, how: WaitingAs, idempotency_key: IdempotencyKey = None
) -> Response:
    """Ask; the answer comes with its sources, or with the drafts that wait for a person."""
    question = _question(request, body.message, body.agent, body.session_id, idempotency_key)
    run = await _asked(request, caller, question, how)
    return Json(chat_answer(run), status_code=_status(run))


@router.post("/api/v1/agent/query", responses=_QUERY)
@router.post("/api/v1/query", responses=_QUERY)
async def query(
    request: Request, body: AgentQuery, caller: Asker, how: WaitingAs, idempotency_key: IdempotencyKey = None
) -> Response:
    """Ask; the sources come with their text."""
    question = _question(request, body.query, body.agent_id, body.session_id, idempotency_key)
    run = await _asked(request, caller, question, how, body.options.timeout_s if body.options else None)
    return Json(agent_answer(run), status_code=_status(run))


@router.get("/api/v1/query", responses=_QUERY, dependencies=[NotByHead])
async def query_by_address(
    request: Request,
    caller: Asker,
    how: WaitingAs,
    query: Annotated[str, Query()],
    agent_id: Annotated[Id | None, Query()] = None,
    session_id: Annotated[Id | None, Query()] = None,
) -> Response:
    """Ask by address alone; each call is a run of its own."""
    run = await _asked(request, caller, _question(request, query, agent_id, session_id, None), how)
    return Json(agent_answer(run), status_code=_status(run))


@router.post("/api/v1/agent/stream", response_class=Response, responses=DESCRIBED)
async def stream(
    request: Request, body: AgentQuery, caller: Asker, how: WaitingAs, idempotency_key: IdempotencyKey = None
) -> Response:
    """Ask, and watch the answer being made."""
    question = _question(request, body.query, body.agent_id, body.session_id, idempotency_key)
    return await _streamed(request, caller, question, how, body.options.timeout_s if body.options else None)


@router.get("/api/v1/agent/stream", response_class=Response, responses=DESCRIBED, dependencies=[NotByHead])
async def stream_by_address(
    request: Request,
    caller: StreamAsker,
    how: WaitingAs,
    query: Annotated[str, Query()],
    agent_id: Annotated[Id | None, Query()] = None,
    session_id: Annotated[Id | None, Query()] = None,
) -> Response:
    """Ask by address alone, as an EventSource does, and watch the answer being made."""
    return await _streamed(request, caller, _question(request, query, agent_id, session_id, None), how)


def _question(request: Request, text: str, agent: str | None, session_id: str | None, key: str | None) -> Question:
    return Question(
        text=text,
        agent=agent,
        session_id=session_id,
        idempotency_key=checked(key),
        request_id=request.state.request_id,
        trace_id=request.state.trace_id,
        span_id=request.state.span_id,
        tags=request.state.tags,
    )


async def _asked(
    request: Request, caller: Principal, question: Question, how: Waiting, wait_s: float | None = None
) -> RunView:
    limit_s: float = request.app.state.answer_timeout_s
    return await answered(request, caller, question, min(wait_s or limit_s, limit_s), how)


def _status(run: RunView) -> int:
    return 200 if run.rests else 202


async def _streamed(
    request: Request, caller: Principal, question: Question, how: Waiting, wait_s: float | None = None
) -> Response:
    desk: Desk = request.app.state.desk
    async with contextlib.AsyncExitStack() as stack:
        asked = await stack.enter_async_context(desk.asking(caller, how.on(question), deltas=True))
        request.state.run_id = asked.run_id
        frames = SimpleFrames(asked.run_id)
        over = await until_over(request, caller)
        heartbeat_s: float = request.app.state.heartbeat_s
        return EventStream(
            asked,
            stack.pop_all(),
            frames,
            heartbeat_s=heartbeat_s,
            rests=lambda: frames.rests,
            left=leaver(request, caller, asked.run_id, how),
            over=over,
            wait_s=wait_s,
        )
    raise AssertionError("unreachable: the block returns or raises")
