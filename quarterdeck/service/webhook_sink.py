"""Sends deliveries to webhooks: signed as Standard Webhooks has it, within bounded time and size, past no guard."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime

from quarterdeck.core.errors import Conflict, Forbidden, Unavailable
from quarterdeck.core.ids import new_id
from quarterdeck.net import GuardedClient
from quarterdeck.net.client import Reply
from quarterdeck.service.deliveries import Delivery, Notice, Sent, Target, Verdict
from quarterdeck.service.webhooks import DISABLED, SINK, Webhooks

__all__ = ["WebhookSink", "signature", "tested"]

Client = Callable[[], Awaitable[GuardedClient]]  # opens it with the first call

_MAX_ANSWER = 65_536  # nothing of it is used; read, so that the connection can be kept
_GONE = 410
_HURRIED = frozenset({429, 503})


def signature(message_id: str, timestamp: int, body: bytes, secrets: Iterable[bytes]) -> str:
    """The value of ``webhook-signature``: for each secret ``v1,`` and the HMAC-SHA256 of ``id.timestamp.body`` as base64.

    Source: Standard Webhooks, https://www.standardwebhooks.com.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    macs = (hmac.new(secret, signed, hashlib.sha256).digest() for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(mac).decode()}" for mac in macs)


class WebhookSink:
    """`Sink` over HTTP POST.

    Args:
        trusted: Calls the addresses of the configuration, private ones among them.
        public: Calls what tenants wrote: the public internet, and the origins an administrator opened to them.
        timeout_s: For one attempt in all.
        now: Gives aware UTC.
    """

    def __init__(
        self,
        webhooks: Webhooks,
        *,
        trusted: Client,
        public: Client,
        timeout_s: float = 10.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._webhooks = webhooks
        self._trusted = trusted
        self._public = public
        self._timeout_s = timeout_s
        self._now = now

    async def send(self, delivery: Delivery) -> Sent:
        """One attempt. Every status but a 2xx is a failure; 410 disables the webhook."""
        tenant = delivery.notice.tenant
        webhook = await self._webhooks.find(tenant, delivery.target.address)
        if webhook is None:
            return Sent(verdict=Verdict.REFUSED, detail="the webhook is not there any more")
        if webhook.status == DISABLED:
            return Sent(verdict=Verdict.REFUSED, detail="the webhook is disabled")
        body = _body(delivery)
        at = int(self._now().timestamp())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": delivery.notice.id,
            "webhook-timestamp": str(at),
            "webhook-signature": signature(delivery.notice.id, at, body, self._webhooks.secrets(tenant, webhook)),
        }
        try:
            client = await (self._trusted if webhook.configured else self._public)()
            async with client.open(
                "POST", webhook.url, timeout_s=self._timeout_s, headers=headers, body=body, max_bytes=_MAX_ANSWER
            ) as reply:
                sent = _judged(reply)
                await reply.drain()
        except Forbidden as error:
            return Sent(verdict=Verdict.REFUSED, detail=str(error))
        except Unavailable as error:
            return Sent(verdict=Verdict.FAILED, detail=str(error))
        if sent.verdict is Verdict.REFUSED:
            with suppress(Conflict):  # somebody changes it just now; the next delivery is answered alike
                await self._webhooks.disable(tenant, webhook.id, sent.detail)
        return sent


async def tested(sink: WebhookSink, tenant: str, webhook_id: str) -> tuple[str, Sent]:
    """Send a notice of type ``test`` to a webhook, once; returns the notice's id and how it went."""
    now = datetime.now(UTC)
    notice = Notice(id=f"evt_{new_id()}", type="test", tenant=tenant, run_id="", at=now, data={"webhook_id": webhook_id})
    target = Target(sink=SINK, address=webhook_id)
    return notice.id, await sink.send(Delivery(id=new_id(), notice=notice, target=target, first_at=now))


def _judged(reply: Reply) -> Sent:
    if 200 <= reply.status < 300:
        return Sent(verdict=Verdict.DELIVERED)
    if reply.status == _GONE:
        return Sent(verdict=Verdict.REFUSED, detail="the receiver answered 410: it wants nothing more")
    after = reply.headers.get("Retry-After", "") if reply.status in _HURRIED else ""
    wait_s = float(after) if after.isascii() and after.isdigit() and len(after) < 8 else None
    return Sent(verdict=Verdict.FAILED, detail=f"the receiver answered {reply.status}", retry_after_s=wait_s)


def _body(delivery: Delivery) -> bytes:
    """What is sent: the same bytes in every attempt, since receivers may compare them."""
    notice = delivery.notice
    said = {
        "type": notice.type,
        "timestamp": notice.at.isoformat().replace("+00:00", "Z"),
        "tenant": notice.tenant,
        "data": {**notice.data, **delivery.target.content},
    }
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
