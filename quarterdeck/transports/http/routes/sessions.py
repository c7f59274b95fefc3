"""Sessions, and the agents there are."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from quarterdeck.service.desk import Desk
from quarterdeck.service.sessions import Session
from quarterdeck.transports.http.callers import Asker
from quarterdeck.transports.http.shapes import Id, IdPath, Problem, SessionRequest
from quarterdeck.transports.http.wire import ControlRoute, Json

__all__ = ["router"]

router = APIRouter(route_class=ControlRoute, tags=["sessions"], responses={"4XX": {"model": Problem}})


@router.post("/api/v1/session", status_code=201, include_in_schema=False)
@router.post("/api/v1/session/", status_code=201)
async def open_session(request: Request, caller: Asker, body: SessionRequest | None = None) -> Response:
    """Open a session."""
    desk: Desk = request.app.state.desk
    wanted = body or SessionRequest()
    session = await desk.open_session(caller, wanted.agent_id, wanted.context)
    return Json(_body(session), status_code=201)


@router.get("/api/v1/session", include_in_schema=False)
@router.get("/api/v1/session/")
async def sessions(
    request: Request,
    caller: Asker,
    before: Annotated[Id | None, Query(description="A session id to go on from.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Own sessions, newest first."""
    desk: Desk = request.app.state.desk
    return Json({"sessions": [_body(session) for session in await desk.sessions.mine(caller, before=before, limit=limit)]})


@router.get("/api/v1/session/{session_id}")
async def session(
    request: Request, caller: Asker, session_id: IdPath, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> Response:
    """A session with its newest questions and answers, oldest first."""
    desk: Desk = request.app.state.desk
    found = await desk.sessions.get(caller, session_id)
    return Json(_body(found) | {"messages": await desk.sessions.messages(caller, session_id, limit)})


@router.delete("/api/v1/session/{session_id}")
async def close_session(request: Request, caller: Asker, session_id: IdPath) -> Response:
    """Close a session: it takes no more questions and stays readable."""
    desk: Desk = request.app.state.desk
    return Json(_body(await desk.sessions.close(caller, session_id)))


@router.get("/api/v1/agents")
async def agents(request: Request, caller: Asker) -> Response:
    """The agents one can ask."""
    desk: Desk = request.app.state.desk
    listed = [
        {
            "id": agent.name,
            "description": agent.description,
            "model": agent.model,
            "tools": agent.tools,
            "default": agent.name == desk.default_agent,
        }
        for agent in desk.agents.values()
    ]
    return Json({"agents": listed})


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
