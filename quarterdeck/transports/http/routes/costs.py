"""What was consumed, and what it cost."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from quarterdeck.service.spending import Spending
from quarterdeck.service.tallies import Scope
from quarterdeck.transports.http.callers import CostReader
from quarterdeck.transports.http.catalogue_bodies import CostList, cost_row
from quarterdeck.transports.http.shapes import PROBLEMS
from quarterdeck.transports.http.wire import ControlRoute, Json

__all__ = ["router"]

router = APIRouter(route_class=ControlRoute, tags=["costs"], responses=PROBLEMS)


@router.get("/api/v1/costs", responses={200: {"model": CostList}})
async def costs(
    request: Request,
    caller: CostReader,
    scope: Annotated[Scope, Query(description="Of whom: by users, groups, agents, tools, one run, the tenant.")] = "user",
    since: Annotated[date | None, Query(description="A day in UTC; today without.")] = None,
    until: Annotated[date | None, Query(description="A day in UTC, included; today without.")] = None,
    name: Annotated[str | None, Query(max_length=256, description="Of this one alone.")] = None,
) -> Response:
    """Model calls, tokens and money by holder, day and model; without `costs.read` only one's own."""
    spending: Spending = request.app.state.spending
    found = await spending.costs(caller, scope, since=since, until=until, name=name)
    total = sum(cost.tally.cost_usd for cost in found)
    return Json({"costs": [cost_row(cost) for cost in found], "total_usd": total})
