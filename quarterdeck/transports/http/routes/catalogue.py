"""The agents and tools there are."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from quarterdeck.service.catalogue import Catalogue
from quarterdeck.transports.http.callers import Asker
from quarterdeck.transports.http.catalogue_bodies import AgentList, ToolList, agent_row, tool_row
from quarterdeck.transports.http.shapes import PROBLEMS
from quarterdeck.transports.http.wire import ControlRoute, Json

__all__ = ["router"]

router = APIRouter(route_class=ControlRoute, tags=["catalogue"], responses=PROBLEMS)


@router.get("/api/v1/agents", responses={200: {"model": AgentList}})
async def agents(request: Request, caller: Asker) -> Response:
    """The agents one can ask, and those one could."""
    catalogue: Catalogue = request.app.state.catalogue
    return Json({"agents": [agent_row(agent) for agent in await catalogue.agents(caller)]})


@router.get("/api/v1/tools", responses={200: {"model": ToolList}})
async def tools(request: Request, caller: Asker) -> Response:
    """The tools agents may be given, with what they take and how much harm they can do."""
    catalogue: Catalogue = request.app.state.catalogue
    return Json({"tools": [tool_row(tool) for tool in catalogue.tools]})
