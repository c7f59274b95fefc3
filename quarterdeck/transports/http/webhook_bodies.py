"""The bodies of what is said about webhooks and deliveries."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from quarterdeck.service.deliveries import NOTICES, Delivery
from quarterdeck.service.webhooks import Webhook

__all__ = [
    "DeliveryBody",
    "DeliveryList",
    "WebhookBody",
    "WebhookList",
    "WebhookMade",
    "WebhookRequest",
    "WebhookTested",
    "delivery_body",
    "webhook_body",
]


class WebhookRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    url: Annotated[str, StringConstraints(min_length=1, max_length=2000)] = Field(description="Begins with https://.")
    events: list[Annotated[str, StringConstraints(max_length=64)]] = Field(
        min_length=1, max_length=len(NOTICES), description=f"Of {', '.join(NOTICES)}."
    )
    description: Annotated[str, StringConstraints(max_length=200)] = ""
    content: bool = Field(False, description="Whether answers that you may read are sent along, not only ids and states.")


class WebhookBody(BaseModel):
    id: str
    url: str
    events: list[str]
    description: str
    content: bool = Field(description="Whether answers that its maker may read are sent along.")
    configured: bool = Field(description="It stands in the configuration, and is changed there.")
    user: str = Field(description="Who made it.")
    status: Literal["active", "disabled"]
    reason: str = Field(description="Why it is disabled.")
    created_at: datetime | None


class WebhookMade(WebhookBody):
    secret: str = Field(description="What deliveries are signed with. It is told here and never again.")


class WebhookList(BaseModel):
    webhooks: list[WebhookBody]


class WebhookTested(BaseModel):
    verdict: Literal["delivered", "failed", "refused"]
    detail: str = Field(description="What went wrong, empty if nothing did.")
    notice_id: str


class DeliveryBody(BaseModel):
    id: str
    notice_id: str = Field(description="What the receiver knows it by; the same in every attempt.")
    type: str
    run_id: str
    sink: str = Field(description="webhook, stream or mail.")
    address: str = Field(description="Id of the webhook, name of the stream, address of the mailbox.")
    status: Literal["waiting", "delivered", "dead"] = Field(description="A dead one is not tried again by itself.")
    attempts: int
    error: str = Field(description="What the last attempt said, empty if it did not fail.")
    happened_at: datetime
    due_at: datetime | None = Field(description="When it is next tried.")


class DeliveryList(BaseModel):
    deliveries: list[DeliveryBody]


def webhook_body(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "url": webhook.url,
        "events": webhook.events,
        "description": webhook.description,
        "content": webhook.content,
        "configured": webhook.configured,
        "user": webhook.user,
        "status": webhook.status,
        "reason": webhook.reason,
        "created_at": webhook.created_at,
    }


def delivery_body(delivery: Delivery) -> dict[str, Any]:
    notice, target = delivery.notice, delivery.target
    return {
        "id": delivery.id,
        "notice_id": notice.id,
        "type": notice.type,
        "run_id": notice.run_id,
        "sink": target.sink,
        "address": target.address,
        "status": delivery.status,
        "attempts": delivery.attempts,
        "error": delivery.error,
        "happened_at": notice.at,
        "due_at": delivery.due_at,
    }
