"""The audit log of the caller's tenant."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from quarterdeck.service.auditing import AuditLog
from quarterdeck.transports.http.audit_bodies import AuditList, AuditVerdict
from quarterdeck.transports.http.callers import AuditReader, NotByHead
from quarterdeck.transports.http.shapes import PROBLEMS
from quarterdeck.transports.http.wire import ControlRoute, Json, dump

__all__ = ["router"]

router = APIRouter(route_class=ControlRoute, tags=["audit"], responses=PROBLEMS)


@router.get("/api/v1/audit", responses={200: {"model": AuditList}})
async def rows(
    request: Request,
    caller: AuditReader,
    after: Annotated[int, Query(ge=0, le=2**53, description="Seq behind which rows are told.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Rows of the audit log, in order. `after` of the answer asks for the next ones."""
    log: AuditLog = request.app.state.audit
    return Json(await log.page(caller, after=after, limit=limit))


@router.get("/api/v1/audit/verify", responses={200: {"model": AuditVerdict}})
async def verify(request: Request, caller: AuditReader) -> Response:
    """Check the whole chain; `bad` is the first row that is changed, missing or out of order."""
    log: AuditLog = request.app.state.audit
    return Json(await log.verify(caller))


@router.get(
    "/api/v1/audit/export",
    response_class=Response,
    dependencies=[NotByHead],
    responses={200: {"content": {"application/jsonl": {"schema": {"type": "string"}}}, "description": "One row per line."}},
)
async def export(request: Request, caller: AuditReader) -> Response:
    """All rows as JSON lines; that they were handed out is the last of them."""
    log: AuditLog = request.app.state.audit
    return StreamingResponse(_lines(log.export(caller)), media_type="application/jsonl")


async def _lines(rows: AsyncIterator[Mapping[str, Any]]) -> AsyncIterator[bytes]:
    async for row in rows:
        yield dump(row) + b"\n"
