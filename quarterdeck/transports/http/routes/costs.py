"""What was consumed, and what it cost."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BeforeValidator

from quarterdeck.service.spending import Spending
from quarterdeck.service.tallies import Scope
from quarterdeck.transports.http.callers import CostReader
from quarterdeck.transports.http.catalogue_bodies import CostList, cost_row
from quarterdeck.transports.http.shapes import PROBLEMS
from quarterdeck.transports.http.wire import ControlRoute, Json

__all__ = ["router"]

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")


def _written(value: object) -> object:
    """A day as YYYY-MM-DD; a number would be taken for seconds since 1970."""
    if isinstance(value, str) and _DAY.match(value) is None:
        raise ValueError("write a day as YYYY-MM-DD")
    return value


Day = Annotated[date, BeforeValidator(_written)]
router = APIRouter(route_class=ControlRoute, tags=["costs"], responses=PROBLEMS)


@router.get("/api/v1/costs", responses={200: {"model": CostList}})
async def costs(
    request: Request,
    caller: CostReader,
    scope: Annotated[Scope, Query(description="Of whom: by users, groups, agents, tools, one run, the tenant.")] = "user",
    since: Annotated[Day | None, Query(description="UTC; today without.")] = None,
    until: Annotated[Day | None, Query(description="UTC, included; today without.")] = None,
    name: Annotated[str | None, Query(max_length=256, description="Of this one alone.")] = None,
) -> Response:
    """Model calls, tokens and money by holder, day and model; without `costs.read` only one's own."""
    spending: Spending = request.app.state.spending
    found = await spending.costs(caller, scope, since=since, until=until, name=name)
    total = sum((cost.tally.cost_usd for cost in found), 0.0)
    return Json({"costs": [cost_row(cost) for cost in found], "total_usd": total})
