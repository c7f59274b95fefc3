from __future__ import annotations

import asyncio
import base64
import json
import textwrap
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.core.context import Principal
from quarterdeck.net import GuardedClient
from quarterdeck.service.deliveries import Delivery, Notice, Target, Verdict
from quarterdeck.service.webhook_sink import WebhookSink, signature
from quarterdeck.service.webhooks import ConfiguredWebhook, Webhooks, WebhookWanted, secret_text
from quarterdeck.store.memory import MemoryStore

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEY = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
EMMA = Principal(user="emma", tenant="acme")


class Nobody:
    async def current(self, principal: Principal) -> Principal | None:
        return None


class Receiver:
    """A server on loopback that gives these answers in turn and remembers what was sent."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.port = 0

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = next(int(line[16:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length: "))
        self.requests.append(head + await reader.readexactly(size))
        answer = self.answers.pop(0)
        if answer != b"silence":
            writer.write(answer)
            await writer.drain()
            writer.close()
            return
        await reader.read()
        writer.close()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield


@asynccontextmanager
async def way_to(receiver: Receiver, *, timeout_s: float = 5.0) -> AsyncIterator[tuple[WebhookSink, Webhooks]]:
    async with receiver.open():
        origin = f"http://127.0.0.1:{receiver.port}"
        crm = ConfiguredWebhook(
            name="crm", url=f"{origin}/hook", tenant=None, events=frozenset({"run_finished"}), secrets=(KEY, b"old" * 8)
        )
        hooks = Webhooks(
            MemoryStore().records, Nobody(), configured=[crm], secret=b"own", check_url=lambda url: None, now=lambda: NOW
        )
        async with GuardedClient(allowed_origins=[origin]) as trusted, GuardedClient() as public:

            async def given_trusted() -> GuardedClient:
                return trusted

            async def given_public() -> GuardedClient:
                return public

            sink = WebhookSink(hooks, trusted=given_trusted, public=given_public, timeout_s=timeout_s, now=lambda: NOW)
            yield sink, hooks


def delivery(address: str = "crm") -> Delivery:
    notice = Notice(id="evt_1", type="run_finished", tenant="acme", run_id="r1", at=NOW, data={"run_id": "r1"})
    return Delivery(
        id="d1", notice=notice, target=Target(sink="webhook", address=address, content={"answer": "12 h"}), first_at=NOW
    )


def reply(status: int, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} X", "Content-Length: 0", *headers, "", ""]).encode()


def test_signature_is_the_one_of_the_specifications_example() -> None:
    body = b'{"test": 2432232314}'

    signed = signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body, [KEY])

    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_check_on_the_page_for_receivers_takes_ours_and_no_other() -> None:
    page = (Path(__file__).parents[3] / "docs" / "howto" / "webhooks.md").read_text()
    block = page.split("```python\n")[1].split("```")[0]
    made: dict[str, Any] = {}
    exec(textwrap.dedent(block), made)
    now = int(time.time())

    def checked(body: bytes, at: int, secrets: list[bytes]) -> bool:
        headers = {"webhook-id": "evt_1", "webhook-timestamp": str(at)}
        headers["webhook-signature"] = signature("evt_1", at, b"{}", secrets)
        return bool(made["genuine"](secret_text(KEY), headers, body))

    assert checked(b"{}", now, [b"old" * 8, KEY])
    assert not checked(b"{} ", now, [KEY])
    assert not checked(b"{}", now, [b"old" * 8])
    assert not checked(b"{}", now - 400, [KEY])


async def test_delivery_is_posted_with_id_time_and_a_signature_for_each_secret() -> None:
    receiver = Receiver(reply(204))

    async with way_to(receiver) as (sink, _):
        sent = await sink.send(delivery())

    head, _, body = receiver.requests[0].partition(b"\r\n\r\n")
    lines = [line.decode() for line in head.split(b"\r\n")]
    expected = signature("evt_1", int(NOW.timestamp()), body, [KEY, b"old" * 8])
    assert sent.verdict is Verdict.DELIVERED
    assert {"webhook-id: evt_1", "webhook-timestamp: 1767268800", f"webhook-signature: {expected}"} <= set(lines)
    assert json.loads(body) == {
        "type": "run_finished",
        "timestamp": "2026-01-01T12:00:00Z",
        "tenant": "acme",
        "data": {"run_id": "r1", "answer": "12 h"},
    }


@pytest.mark.parametrize("status", [301, 400, 404, 500])
async def test_every_status_that_is_no_success_is_a_failure(status: int) -> None:
    receiver = Receiver(reply(status, "Location: http://127.0.0.1/elsewhere"))

    async with way_to(receiver) as (sink, _):
        sent = await sink.send(delivery())

    assert (sent.verdict, sent.detail) == (Verdict.FAILED, f"the receiver answered {status}")
    assert len(receiver.requests) == 1


async def test_receiver_says_how_long_it_wants_to_be_left_alone() -> None:
    receiver = Receiver(reply(503, "Retry-After: 90"), reply(429, "Retry-After: tomorrow"))

    async with way_to(receiver) as (sink, _):
        waits = [(await sink.send(delivery())).retry_after_s for _ in range(2)]

    assert waits == [90.0, None]


async def test_receiver_that_is_gone_disables_its_webhook() -> None:
    receiver = Receiver(reply(410))

    async with way_to(receiver) as (sink, hooks):
        sent = await sink.send(delivery())
        after = await sink.send(delivery())
        crm = await hooks.get("acme", "crm")

    assert (sent.verdict, after.verdict, crm.status) == (Verdict.REFUSED, Verdict.REFUSED, "disabled")
    assert len(receiver.requests) == 1


async def test_receiver_that_says_nothing_is_a_failure_in_time() -> None:
    async with way_to(Receiver(b"silence"), timeout_s=0.1) as (sink, _):
        sent = await sink.send(delivery())

    assert sent.verdict is Verdict.FAILED


async def test_long_answer_is_not_read_to_its_end() -> None:
    receiver = Receiver(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 200_000)

    async with way_to(receiver) as (sink, _):
        sent = await sink.send(delivery())

    assert sent.verdict is Verdict.DELIVERED


@pytest.mark.row("S15", part="private addresses")
async def test_tenants_webhook_does_not_reach_a_private_address_though_the_configurations_does() -> None:
    receiver = Receiver()

    async with way_to(receiver) as (sink, hooks):
        url = f"http://127.0.0.1:{receiver.port}/hook"
        made, _ = await hooks.create(EMMA, WebhookWanted(url=url, events=("run_finished",)))
        sent = await sink.send(delivery(made.id))

    assert sent.verdict is Verdict.REFUSED
    assert receiver.requests == []


async def test_delivery_to_a_webhook_that_was_deleted_is_refused() -> None:
    async with way_to(Receiver()) as (sink, _):
        sent = await sink.send(delivery("gone"))

    assert sent.verdict is Verdict.REFUSED
