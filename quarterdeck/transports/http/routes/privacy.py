"""Everything there is of a person or of the caller's tenant: handed out, and erased."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import StreamingResponse

from quarterdeck.service.privacy import Privacy, confirmed
from quarterdeck.transports.http.callers import PrivacyOfficer
from quarterdeck.transports.http.privacy_bodies import ErasureBody, PrivacyRequest
from quarterdeck.transports.http.shapes import PROBLEMS
from quarterdeck.transports.http.wire import ControlRoute, Json, dump

__all__ = ["router"]

router = APIRouter(route_class=ControlRoute, tags=["privacy"], responses=PROBLEMS)


@router.post("/api/v1/privacy/erasures", status_code=202, responses={202: {"model": ErasureBody}})
async def erase(request: Request, caller: PrivacyOfficer, body: PrivacyRequest) -> Response:
    """Begin to erase everything of a person, or of one's own tenant. It cannot be undone."""
    privacy: Privacy = request.app.state.privacy
    if body.tenant is not None:
        confirmed(caller.tenant, body.tenant)
    return Json(await privacy.erase(caller, body.user), 202)


@router.get("/api/v1/privacy/erasures/{erasure_id}", responses={200: {"model": ErasureBody}})
async def erasure(
    request: Request, caller: PrivacyOfficer, erasure_id: Annotated[str, Path(pattern=r"^[a-z0-9_-]{1,64}$")]
) -> Response:
    """How an erasure stands; once it is done, `name` is the SHA-256 of whose data it was."""
    privacy: Privacy = request.app.state.privacy
    return Json(await privacy.erasure(caller, erasure_id))


@router.post(
    "/api/v1/privacy/exports",
    response_class=Response,
    responses={
        200: {
            "content": {"application/jsonl": {"schema": {"type": "string"}}},
            "description": "One run, record or document per line.",
        }
    },
)
async def export(request: Request, caller: PrivacyOfficer, body: PrivacyRequest) -> Response:
    """Everything that would be erased, as JSON lines."""
    privacy: Privacy = request.app.state.privacy
    if body.tenant is not None:
        confirmed(caller.tenant, body.tenant)
    return StreamingResponse(_lines(privacy.export(caller, body.user)), media_type="application/jsonl")


async def _lines(things: AsyncIterator[Mapping[str, Any]]) -> AsyncIterator[bytes]:
    async for thing in things:
        yield dump(thing) + b"\n"
