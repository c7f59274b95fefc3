"""Is it alive, is it ready, and what does it understand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import anyio
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.transports.http.callers import Public
from quarterdeck.transports.http.description import described
from quarterdeck.transports.http.shapes import PROBLEMS
from quarterdeck.transports.http.wire import Json

__all__ = ["Check", "router"]

Check = Callable[[], Awaitable[None]]  # returns when its part works; raises a QuarterdeckError that says what does not

router = APIRouter(tags=["health"], dependencies=[Public], responses=PROBLEMS)
_CHECK_S = 2.0


class Health(BaseModel):
    status: Literal["ok"]


class Readiness(BaseModel):
    status: Literal["healthy", "unhealthy"]
    timestamp: datetime
    checks: dict[str, str] = Field(description="By part: `ok`, or what is wrong with it.")


@router.get("/health", responses={200: {"model": Health}})
async def health() -> Response:
    """It is alive."""
    return Json({"status": "ok"})


@router.get("/ready", responses={200: {"model": Readiness}, 503: {"model": Readiness, "description": "Not ready."}})
async def ready(request: Request) -> Response:
    """It can take requests: each part it depends on is asked."""
    checks: Mapping[str, Check] = request.app.state.checks
    found = {name: await _outcome(check) for name, check in checks.items()}
    healthy = all(outcome == "ok" for outcome in found.values())
    body = {"status": "healthy" if healthy else "unhealthy", "timestamp": datetime.now(UTC), "checks": found}
    return Json(body, status_code=200 if healthy else 503)


@router.get("/openapi.json", responses={200: {"model": dict[str, Any]}})
async def openapi(request: Request) -> Response:
    """This interface as OpenAPI 3.1."""
    return Json(described(request.app))


async def _outcome(check: Check) -> str:
    try:
        with anyio.fail_after(_CHECK_S):
            await check()
    except TimeoutError:
        return f"no answer within {_CHECK_S} s"
    except QuarterdeckError as error:
        return str(error)
    return "ok"
