"""Sessions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from quarterdeck.service.desk import Desk
from quarterdeck.service.sessions import Session
from quarterdeck.transports.http.callers import Asker
from quarterdeck.transports.http.keys import IdempotencyKey
from quarterdeck.transports.http.once import once
from quarterdeck.transports.http.session_bodies import SessionBody, SessionDetail, SessionList
from quarterdeck.transports.http.shapes import PROBLEMS, Id, IdPath, SessionRequest
from quarterdeck.transports.http.wire import ControlRoute, Json

__all__ = ["router"]

router = APIRouter(route_class=ControlRoute, tags=["sessions"], responses=PROBLEMS)


@router.post("/api/v1/session", status_code=201, include_in_schema=False)
@router.post("/api/v1/session/", status_code=201, responses={201: {"model": SessionBody}})
async def open_session(
    request: Request, caller: Asker, body: SessionRequest | None = None, idempotency_key: IdempotencyKey = None
) -> Response:
    """Open a session."""
    desk: Desk = request.app.state.desk
    wanted = body or SessionRequest()

    async def opened(made: str) -> Response:
        session = await desk.open_session(caller, wanted.agent_id, wanted.context, made)
        return Json(_body(session), status_code=201)

    return await once(request, caller, idempotency_key, opened)


@router.get("/api/v1/session", include_in_schema=False)
@router.get("/api/v1/session/", responses={200: {"model": SessionList}})
async def sessions(
    request: Request,
    caller: Asker,
    before: Annotated[Id | None, Query(description="A session id to go on from.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Own sessions, newest first."""
    desk: Desk = request.app.state.desk
    return Json({"sessions": [_body(session) for session in await desk.sessions.mine(caller, before=before, limit=limit)]})


@router.get("/api/v1/session/{session_id}", responses={200: {"model": SessionDetail}})
async def session(
    request: Request, caller: Asker, session_id: IdPath, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> Response:
    """A session with its newest questions and answers, oldest first."""
    desk: Desk = request.app.state.desk
    found = await desk.sessions.get(caller, session_id)
    return Json(_body(found) | {"messages": await desk.sessions.messages(caller, session_id, limit)})


@router.delete("/api/v1/session/{session_id}", responses={200: {"model": SessionBody}})
async def close_session(request: Request, caller: Asker, session_id: IdPath) -> Response:
    """Close a session: it takes no more questions and stays readable."""
    desk: Desk = request.app.state.desk
    return Json(_body(await desk.sessions.close(caller, session_id)))


def _body(session: Session) -> dict[str, Any]:
    return {
        "id": session.id,
        "user_id": session.user,
        "agent_id": session.agent,
        "state": session.state,
        "context": session.context,
        "created_at": session.created_at,
        "updated_at": session.updated_at,
    }
