from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from quarterdeck.service.deliveries import Delivery, DeliveryStatus, Notice, Target, to_record
from quarterdeck.store.base import Put

from .conftest import KEYS, Reply, Served

WANTED = {"url": "https://crm.example/hook", "events": ["run_finished"]}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def make(served: Served, body: Any = None, **headers: str) -> Reply:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await served.send("POST", "/api/v1/webhooks", body or WANTED, key=KEYS["omar"], headers=sent)


async def dead(served: Served) -> str:
    """A dead letter of acme's."""
    notice = Notice(id="evt_1", type="run_finished", tenant="acme", run_id="r1", at=NOW, data={})
    delivery = Delivery(
        id="d1", notice=notice, target=Target(sink="webhook", address="crm"), first_at=NOW, status=DeliveryStatus.DEAD
    )
    await served.store.records.write("acme", [Put(record=to_record(delivery))])
    return "d1"


async def test_webhook_is_made_shown_and_deleted(served: Served) -> None:
    made = await make(served, {**WANTED, "description": "CRM"})
    path = f"/api/v1/webhooks/{made.json['id']}"

    listed = await served.send("GET", "/api/v1/webhooks", key=KEYS["omar"])
    shown = await served.send("GET", path, key=KEYS["omar"])
    deleted = await served.send("DELETE", path, key=KEYS["omar"])
    gone = await served.send("GET", path, key=KEYS["omar"])

    assert (made.status, made.json["secret"][:6], made.json["user"]) == (201, "whsec_", "omar")
    assert listed.json["webhooks"] == [shown.json]
    assert "secret" not in shown.json
    assert (deleted.status, gone.status) == (204, 404)


@pytest.mark.parametrize(
    "url",
    ["https://crm.example/a b", "https://crm.example/\0", "https://a:b@crm.example/", "https://x/#y", "https://ü.de/", ""],
)
async def test_address_that_no_webhook_may_have_is_refused_when_it_is_made(served: Served, url: str) -> None:
    made = await make(served, {**WANTED, "url": url})
    listed = await served.send("GET", "/api/v1/webhooks", key=KEYS["omar"])

    assert (made.status, made.code) == (422, "invalid_input")
    assert listed.json == {"webhooks": []}


async def test_secret_is_taken_anew(served: Served) -> None:
    made = await make(served)

    turned = await served.send("POST", f"/api/v1/webhooks/{made.json['id']}/secret", key=KEYS["omar"])

    assert turned.status == 200
    assert turned.json["secret"] != made.json["secret"]


async def test_test_says_how_it_went(served: Served) -> None:
    made = await make(served)

    tested = await served.send("POST", f"/api/v1/webhooks/{made.json['id']}/test", key=KEYS["omar"])

    assert tested.status == 200
    assert (tested.json["verdict"], tested.json["detail"]) == ("failed", "there is no network here")


async def test_words_of_any_kind_come_back_as_they_were_sent(served: Served) -> None:
    words = "十二 \u0000 \u202e ' OR 1=1; {0.__class__} 🙂"

    made = await make(served, {**WANTED, "description": words})
    shown = await served.send("GET", f"/api/v1/webhooks/{made.json['id']}", key=KEYS["omar"])

    assert (made.status, shown.json["description"]) == (201, made.json["description"])


async def test_webhooks_need_a_scope_of_their_own(served: Served) -> None:
    for method, path in (("GET", "/api/v1/webhooks"), ("POST", "/api/v1/webhooks"), ("GET", "/api/v1/deliveries")):
        reply = await served.send(method, path, WANTED if method == "POST" else None, key=KEYS["emma"])
        assert (reply.status, reply.code) == (403, "forbidden")


async def test_webhooks_and_deliveries_of_another_tenant_do_not_exist(served: Served) -> None:
    path, letter = f"/api/v1/webhooks/{(await make(served)).json['id']}", await dead(served)
    attempts = [
        ("GET", path),
        ("DELETE", path),
        *(("POST", f"{path}/{command}") for command in ("secret", "enable", "test")),
        ("POST", f"/api/v1/deliveries/{letter}/retry"),
    ]

    for method, there in attempts:
        reply = await served.send(method, there, key=KEYS["gil"])
        assert (there, reply.status, reply.code) == (there, 404, "not_found")
    assert (await served.send("GET", "/api/v1/webhooks", key=KEYS["gil"])).json == {"webhooks": []}
    assert (await served.send("GET", "/api/v1/deliveries", key=KEYS["gil"])).json == {"deliveries": []}


@pytest.mark.parametrize(
    "body",
    [
        {"url": "https://crm.example", "events": ["moon_landed"]},
        {"url": "https://crm.example", "events": []},
        {"url": "https://crm.example"},
        {"url": 7, "events": ["run_finished"]},
        {**WANTED, "secret": "mine"},
    ],
)
async def test_body_that_is_no_webhook_is_refused(served: Served, body: dict[str, Any]) -> None:
    reply = await make(served, body)

    assert (reply.status, reply.code) == (422, "invalid_input")


@pytest.mark.row("S15", part="dead letters")
async def test_dead_letter_is_listed_and_sent_again(served: Served) -> None:
    letter = await dead(served)

    listed = await served.send("GET", "/api/v1/deliveries?status=dead&webhook_id=crm", key=KEYS["omar"])
    again = await served.send("POST", f"/api/v1/deliveries/{letter}/retry", key=KEYS["omar"])
    twice = await served.send("POST", f"/api/v1/deliveries/{letter}/retry", key=KEYS["omar"])
    left = await served.send("GET", "/api/v1/deliveries?status=dead", key=KEYS["omar"])

    assert [row["notice_id"] for row in listed.json["deliveries"]] == ["evt_1"]
    assert (again.status, again.json["status"], again.json["notice_id"]) == (202, "waiting", "evt_1")
    assert twice.status == 409
    assert left.json == {"deliveries": []}
