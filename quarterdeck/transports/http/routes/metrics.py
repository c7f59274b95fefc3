"""What is counted, for Prometheus to fetch."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from quarterdeck.service.standing import Standing
from quarterdeck.transports.http.callers import MetricsReader
from quarterdeck.transports.http.shapes import PROBLEMS

__all__ = ["router"]

router = APIRouter(tags=["metrics"], responses=PROBLEMS)

_SCHEMA = {"schema": {"type": "string"}}
_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"description": "Metrics.", "content": {"text/plain": _SCHEMA, "application/openmetrics-text": _SCHEMA}}
}


@router.get("/metrics", response_class=Response, responses=_TEXT)
async def metrics(request: Request, principal: MetricsReader) -> Response:
    """All metrics of this process, as Prometheus or OpenMetrics text."""
    standing: Standing = request.app.state.standing
    body, media_type = await standing.rendered(request.headers.get("accept", ""))
    return Response(body, media_type=media_type)
