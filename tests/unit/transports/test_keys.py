"""Requests that are repeated under their Idempotency-Key."""

from __future__ import annotations

import hashlib
from typing import Any

import anyio
import pytest

from quarterdeck.core.context import Principal
from quarterdeck.core.ids import canonical_json
from quarterdeck.service.repeats import Kept, Repeats

from .conftest import KEYS, Reply, Served

WANTED = {"url": "https://crm.example/hook", "events": ["run_finished"]}
SESSIONS = "/api/v1/session/"


async def post(served: Served, path: str, body: Any, key: str = "k1", who: str = "emma") -> Reply:
    return await served.send("POST", path, body, key=KEYS[who], headers={"idempotency-key": key})


@pytest.mark.row("S12", part="everything made")
@pytest.mark.parametrize("store", ["memory", "sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("path", "body", "who"),
    [("/api/v1/session/", {"context": {"a": 1}}, "emma"), ("/api/v1/webhooks", WANTED, "omar")],
)
async def test_fifty_parallel_posts_with_one_key_make_one_thing(
    served: Served, path: str, body: dict[str, Any], who: str
) -> None:
    replies: list[Reply] = []

    async def ask() -> None:
        replies.append(await post(served, path, body, who=who))

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(ask)

    assert {(reply.status, reply.body) for reply in replies} == {(201, replies[0].body)}
    listed = await served.send("GET", path, key=KEYS[who])
    assert [len(rows) for rows in listed.json.values()] == [1]


async def test_another_body_and_what_is_no_key_are_refused(served: Served) -> None:
    first = await post(served, SESSIONS, {})
    other = await post(served, SESSIONS, {"context": {"a": 1}})
    long = await post(served, SESSIONS, {}, key="k" * 256)
    webhook = await post(served, "/api/v1/webhooks", WANTED, who="omar")
    changed = await post(served, "/api/v1/webhooks", {**WANTED, "description": "another"}, who="omar")

    assert (first.status, other.status, other.code) == (201, 422, "key_reused")
    assert (long.status, long.code) == (422, "invalid_input")
    assert (webhook.status, changed.status, changed.code) == (201, 422, "key_reused")


async def test_key_of_another_person_or_route_is_another_key(served: Served) -> None:
    run = (await served.send("POST", "/chat", {"message": "hi"})).json["run_id"]

    mine = await post(served, SESSIONS, {})
    exported = await post(served, f"/api/v1/runs/{run}/export", {})
    again = await post(served, f"/api/v1/runs/{run}/export", {})
    gils = await post(served, SESSIONS, {}, who="gil")

    assert (mine.status, exported.status, gils.status) == (201, 201, 201)
    assert (again.status, again.body, again.headers["content-type"]) == (201, exported.body, "application/json")
    assert mine.json["id"] != gils.json["id"]


async def test_what_was_refused_is_done_once_it_can_be(served: Served) -> None:
    refused = await post(served, SESSIONS, {"agent_id": "nobody"})
    again = await post(served, SESSIONS, {"agent_id": "nobody"})
    other = await post(served, SESSIONS, {"agent_id": "support"}, key="k2")

    assert (refused.status, again.status, other.status) == (422, 422, 201)


async def test_request_whose_first_is_still_under_way_is_told_when_to_come_again(served: Served) -> None:
    repeats = Repeats(served.store.records, wait_s=0.02)
    served.app.state.repeats = repeats
    emma = Principal(user="emma", tenant="acme")
    route, said = canonical_json(["POST", SESSIONS, {}]), hashlib.sha256(b"{}").hexdigest()
    begun = anyio.Event()

    async def hang(made: str) -> Kept:
        begun.set()
        await anyio.sleep_forever()
        raise AssertionError

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(repeats.once, emma, route, "k1", said, hang)
        await begun.wait()
        early = await post(served, SESSIONS, {})
        tasks.cancel_scope.cancel()
    later = await post(served, SESSIONS, {})

    assert (early.status, early.code, early.headers["retry-after"]) == (409, "conflict", "1")
    assert later.status == 201


WANTED_KEY = {"name": "nightly report", "scopes": ["chat"]}


@pytest.mark.row("S12", part="api keys")
@pytest.mark.parametrize("store", ["memory", "sqlite"], indirect=True)
async def test_of_many_posts_with_one_key_one_makes_an_api_key_and_hears_it(served: Served) -> None:
    replies: list[Reply] = []

    async def ask() -> None:
        replies.append(await post(served, "/api/v1/keys", WANTED_KEY, who="kim"))

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(ask)

    (made,) = [reply for reply in replies if reply.status == 201]
    told = {(reply.status, reply.code, reply.json["error"]["message"]) for reply in replies if reply is not made}
    assert [(status, code) for status, code, _ in told] == [(409, "conflict")]
    assert all(made.json["id"] in message and "rotate or revoke" in message for *_, message in told)
    assert len((await served.send("GET", "/api/v1/keys", key=KEYS["kim"])).json["keys"]) == 1
    kept = [row.data for row in await served.store.records.find("acme", "repeat")]
    assert made.json["key"].rpartition(".")[2] not in str(kept)


@pytest.mark.row("S12", part="api keys")
async def test_rotation_that_is_repeated_does_not_end_the_text_that_is_in_use(served: Served) -> None:
    made = (await post(served, "/api/v1/keys", WANTED_KEY, who="kim")).json
    path = f"/api/v1/keys/{made['id']}/rotate"

    turned = await post(served, path, {"grace_s": 60}, key="k2", who="kim")
    again = await post(served, path, {"grace_s": 60}, key="k2", who="kim")
    other = await post(served, path, {"grace_s": 0}, key="k2", who="kim")
    holders = [await served.app.state.api_keys.holder(text) for text in (made["key"], turned.json["key"])]

    assert (turned.status, again.status, again.code) == (200, 409, "conflict")
    assert made["id"] in again.json["error"]["message"]
    assert (other.status, other.code) == (422, "key_reused")
    assert [holder.user for holder in holders] == ["kim", "kim"]


async def test_without_a_key_each_post_makes_another_api_key(served: Served) -> None:
    made = [await served.send("POST", "/api/v1/keys", WANTED_KEY, key=KEYS["kim"]) for _ in range(2)]

    assert [reply.status for reply in made] == [201, 201]
    assert made[0].json["id"] != made[1].json["id"]
