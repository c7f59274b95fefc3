"""Webhooks of a tenant, and what became of what they were to be told."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from quarterdeck.core.context import Principal
from quarterdeck.service.deliveries import DeliveryStatus
from quarterdeck.service.outbox import Outbox
from quarterdeck.service.webhook_sink import WebhookSink, tested
from quarterdeck.service.webhooks import SINK, Webhooks, WebhookWanted
from quarterdeck.transports.http.callers import Needs
from quarterdeck.transports.http.keys import IdempotencyKey, checked
from quarterdeck.transports.http.shapes import PROBLEMS, Id, IdPath
from quarterdeck.transports.http.webhook_bodies import (
    DeliveryBody,
    DeliveryList,
    WebhookBody,
    WebhookList,
    WebhookMade,
    WebhookRequest,
    WebhookTested,
    delivery_body,
    webhook_body,
)
from quarterdeck.transports.http.wire import ControlRoute, Json

__all__ = ["router"]

router = APIRouter(route_class=ControlRoute, tags=["webhooks"], responses=PROBLEMS)

Keeper = Annotated[Principal, Depends(Needs("webhooks"))]


@router.post("/api/v1/webhooks", status_code=201, responses={201: {"model": WebhookMade}})
async def create(request: Request, caller: Keeper, body: WebhookRequest, idempotency_key: IdempotencyKey = None) -> Response:
    """Have an address told of what happens in the runs of the tenant. The answer tells the secret, once."""
    hooks: Webhooks = request.app.state.webhooks
    wanted = WebhookWanted(url=body.url, events=tuple(body.events), description=body.description, content=body.content)
    webhook, secret = await hooks.create(caller, wanted, checked(idempotency_key))
    return Json(webhook_body(webhook) | {"secret": secret}, status_code=201)


@router.get("/api/v1/webhooks", responses={200: {"model": WebhookList}})
async def webhooks(request: Request, caller: Keeper) -> Response:
    """Those of the configuration that hear of the tenant, then its own, newest first."""
    hooks: Webhooks = request.app.state.webhooks
    return Json({"webhooks": [webhook_body(webhook) for webhook in await hooks.of(caller.tenant)]})


@router.get("/api/v1/webhooks/{webhook_id}", responses={200: {"model": WebhookBody}})
async def webhook(request: Request, caller: Keeper, webhook_id: IdPath) -> Response:
    """One webhook, without its secret."""
    hooks: Webhooks = request.app.state.webhooks
    return Json(webhook_body(await hooks.get(caller.tenant, webhook_id)))


@router.delete("/api/v1/webhooks/{webhook_id}", status_code=204, response_class=Response)
async def delete(request: Request, caller: Keeper, webhook_id: IdPath) -> Response:
    """Tell it nothing more, not even what is on its way."""
    hooks: Webhooks = request.app.state.webhooks
    await hooks.delete(caller, webhook_id)
    return Response(status_code=204)


@router.post("/api/v1/webhooks/{webhook_id}/secret", responses={200: {"model": WebhookMade}})
async def rotate(request: Request, caller: Keeper, webhook_id: IdPath, idempotency_key: IdempotencyKey = None) -> Response:
    """Take a new secret. For a day deliveries are signed with both, so that the receiver can change over."""
    hooks: Webhooks = request.app.state.webhooks
    webhook, secret = await hooks.rotate(caller, webhook_id, checked(idempotency_key))
    return Json(webhook_body(webhook) | {"secret": secret})


@router.post("/api/v1/webhooks/{webhook_id}/enable", responses={200: {"model": WebhookBody}})
async def enable(request: Request, caller: Keeper, webhook_id: IdPath) -> Response:
    """Have a disabled webhook hear again of what happens from now on."""
    hooks: Webhooks = request.app.state.webhooks
    return Json(webhook_body(await hooks.enable(caller, webhook_id)))


@router.post("/api/v1/webhooks/{webhook_id}/test", responses={200: {"model": WebhookTested}})
async def test(request: Request, caller: Keeper, webhook_id: IdPath) -> Response:
    """Send it a delivery of type `test` now, once, and say how it went."""
    hooks: Webhooks = request.app.state.webhooks
    sink: WebhookSink = request.app.state.webhook_sink
    found = await hooks.get(caller.tenant, webhook_id)
    notice_id, sent = await tested(sink, caller.tenant, found.id)
    return Json({"verdict": sent.verdict, "detail": sent.detail, "notice_id": notice_id})


@router.get("/api/v1/deliveries", responses={200: {"model": DeliveryList}})
async def deliveries(
    request: Request,
    caller: Keeper,
    status: DeliveryStatus | None = None,
    webhook_id: Annotated[Id | None, Query(description="Only those to this webhook.")] = None,
    before: Annotated[Id | None, Query(description="A delivery id to go on from.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
) -> Response:
    """What was and is to be told, newest first. `status=dead` are the dead letters."""
    outbox: Outbox = request.app.state.outbox
    found = await outbox.list(caller.tenant, status=status, sink=SINK, address=webhook_id, before=before, limit=limit)
    return Json({"deliveries": [delivery_body(delivery) for delivery in found]})


@router.post("/api/v1/deliveries/{delivery_id}/retry", status_code=202, responses={202: {"model": DeliveryBody}})
async def retry(request: Request, caller: Keeper, delivery_id: IdPath) -> Response:
    """Send a delivery again that is dead or has arrived. Its receiver knows it by the same id."""
    outbox: Outbox = request.app.state.outbox
    return Json(delivery_body(await outbox.retry(caller.tenant, delivery_id)), status_code=202)
