"""API keys people make for themselves."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from quarterdeck.core.context import Principal
from quarterdeck.service.api_keys import MAKING, ApiKeys, told_before
from quarterdeck.transports.http.callers import Needs
from quarterdeck.transports.http.key_bodies import KeyBody, KeyList, KeyMade, KeyRequest, KeyRotation, key_body
from quarterdeck.transports.http.keys import IdempotencyKey
from quarterdeck.transports.http.once import told_once
from quarterdeck.transports.http.shapes import PROBLEMS, Id, IdPath
from quarterdeck.transports.http.wire import ControlRoute, Json

__all__ = ["router"]

router = APIRouter(route_class=ControlRoute, tags=["keys"], responses=PROBLEMS)

Holder = Annotated[Principal, Depends(Needs(MAKING))]


@router.post("/api/v1/keys", status_code=201, responses={201: {"model": KeyMade}})
async def create(request: Request, caller: Holder, body: KeyRequest, idempotency_key: IdempotencyKey = None) -> Response:
    """Make a key for oneself, with as many of one's scopes as it needs. The answer tells it, once: a repeat is 409."""
    keys: ApiKeys = request.app.state.api_keys

    async def make(id: str) -> tuple[str, Response]:
        made, text = await keys.make(caller, name=body.name, scopes=body.scopes, expires_at=body.expires_at, id=id)
        return made.id, Json(key_body(made) | {"key": text}, 201)

    return await told_once(request, caller, idempotency_key, make, told_before)


@router.get("/api/v1/keys", responses={200: {"model": KeyList}})
async def listed(
    request: Request,
    caller: Holder,
    before: Annotated[Id | None, Query(description="A key id to go on from.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 200,
) -> Response:
    """The keys of the tenant, newest first, without themselves."""
    keys: ApiKeys = request.app.state.api_keys
    return Json({"keys": [key_body(key) for key in await keys.list(caller, before=before, limit=limit)]})


@router.post("/api/v1/keys/{key_id}/rotate", responses={200: {"model": KeyMade}})
async def rotate(
    request: Request, caller: Holder, key_id: IdPath, body: KeyRotation, idempotency_key: IdempotencyKey = None
) -> Response:
    """Take another text for a key of one's own. The one before counts for a time too, so that its users can change over."""
    keys: ApiKeys = request.app.state.api_keys

    async def turn(id: str) -> tuple[str, Response]:
        turned, text = await keys.rotate(caller, key_id, grace_s=body.grace_s, turn=id)
        return turned.id, Json(key_body(turned) | {"key": text})

    return await told_once(request, caller, idempotency_key, turn, told_before)


@router.delete("/api/v1/keys/{key_id}", responses={200: {"model": KeyBody}})
async def revoke(request: Request, caller: Holder, key_id: IdPath) -> Response:
    """Take a key of the tenant back: it lets nobody in any more, at every server within seconds."""
    keys: ApiKeys = request.app.state.api_keys
    return Json(key_body(await keys.revoke(caller, key_id)))
