from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from quarterdeck.transports.http.app import Backing, HttpLimits, http_app
from quarterdeck.transports.http.callers import Needs, open_to_all

from .conftest import KEYS, Served

OPEN = {"/health", "/ready", "/openapi.json"}


def _calls(dependant: Any) -> Iterator[Any]:
    for below in dependant.dependencies:
        yield below.call
        yield from _calls(below)


def routes_of(served: Served) -> list[Any]:
    found: list[Any] = []

    def gather(routes: Any) -> None:
        for route in routes:
            if hasattr(route, "dependant"):
                found.append(route)
            elif hasattr(route, "effective_candidates"):
                gather(route.effective_candidates())
            else:
                raise AssertionError(f"a route of another kind declares no scope: {route}")

    gather(served.app.routes)
    return found


async def test_every_route_declares_who_may_call_it(served: Served) -> None:
    undeclared = [
        route.path
        for route in routes_of(served)
        if not any(isinstance(call, Needs) or call is open_to_all for call in _calls(route.dependant))
    ]
    public = {route.path for route in routes_of(served) if open_to_all in set(_calls(route.dependant))}

    assert undeclared == []
    assert public == OPEN


async def test_key_without_the_scope_is_forbidden(served: Served) -> None:
    emma = await served.send("POST", "/api/v1/approvals/abc/decisions", {"approved": True}, key=KEYS["emma"])
    omar = await served.send("POST", "/chat", {"message": "hi"}, key=KEYS["omar"])
    doubts = await served.send("GET", "/api/v1/doubts", key=KEYS["emma"])

    assert [(reply.status, reply.code) for reply in (emma, omar, doubts)] == [(403, "forbidden")] * 3


async def test_operator_may_stop_a_colleagues_run(served: Served) -> None:
    served.worker.gate = anyio.Event()
    body = {"query": "Hello?", "options": {"timeout_s": 0.01}}
    run = (await served.send("POST", "/api/v1/query", body, key=KEYS["emma"])).json["id"]

    reply = await served.send("POST", f"/api/v1/runs/{run}/cancel", {"reason": "wrong"}, key=KEYS["omar"])

    assert reply.status == 202
    entries = [entry async for entry in served.store.journal.read("acme", run)]
    assert [entry.event.kind for entry in entries] == ["run_started", "cancel_requested"]
    served.worker.gate.set()


async def test_foreign_page_of_an_allowed_origin_is_told_that_it_may_call(served: Served) -> None:
    app = http_app(
        Backing(
            desk=served.app.state.desk,
            approvals=served.app.state.approvals,
            effects=served.app.state.effects,
            access=served.app.state.access,
            documents=served.app.state.documents,
            catalogue=served.app.state.catalogue,
            checks={},
        ),
        version="0",
        limits=HttpLimits(hosts=("127.0.0.1",), origins=("https://desk.example",)),
    )
    allowed = Served(app=app, store=served.store, worker=served.worker)
    headers = {"origin": "https://desk.example", "access-control-request-method": "POST"}

    preflight = await allowed.send("OPTIONS", "/chat", headers=headers)
    keyless = await allowed.send("GET", "/api/v1/agents", headers={"sec-fetch-site": "cross-site", **headers})
    with_key = await allowed.send("GET", "/api/v1/agents", headers=headers, key=KEYS["emma"])

    assert preflight.headers["access-control-allow-origin"] == "https://desk.example"
    assert keyless.status == 401
    assert (with_key.status, with_key.headers["access-control-allow-origin"]) == (200, "https://desk.example")


async def test_ids_of_another_tenant_do_not_exist(served: Served) -> None:
    mine = (await served.send("POST", "/chat", {"message": "hi"})).json
    run, session = mine["run_id"], mine["session_id"]
    attempts = [
        ("GET", f"/api/v1/runs/{run}", None),
        ("GET", f"/api/v1/runs/{run}/events", None),
        *(("POST", f"/api/v1/runs/{run}/{command}", {}) for command in ("cancel", "pause", "resume", "retry")),
        ("POST", f"/api/v1/runs/{run}/steer", {"message": "hi"}),
        ("POST", f"/api/v1/runs/{run}/fork", {"at": 1}),
        ("POST", f"/api/v1/runs/{run}/doubts/t1c1", {"outcome": "done"}),
        ("GET", f"/api/v1/session/{session}", None),
        ("DELETE", f"/api/v1/session/{session}", None),
        ("POST", "/chat", {"message": "hi", "session_id": session}),
        ("GET", "/api/v1/approvals/abc", None),
        ("POST", "/api/v1/approvals/abc/decisions", {"approved": True}),
        ("GET", "/api/v1/documents/vpn", None),
    ]

    for method, path, body in attempts:
        reply = await served.send(method, path, body, key=KEYS["gil"])
        assert (path, reply.status, reply.code) == (path, 404, "not_found")
    assert (await served.send("GET", "/api/v1/runs", key=KEYS["gil"])).json == {"runs": []}


async def test_run_of_a_colleague_is_seen_by_an_operator_only(served: Served) -> None:
    run = (await served.send("POST", "/chat", {"message": "hi"}, key=KEYS["emma"])).json["run_id"]

    operator = await served.send("GET", f"/api/v1/runs/{run}", key=KEYS["omar"])
    listed = await served.send("GET", "/api/v1/runs", key=KEYS["omar"])

    assert operator.status == 200
    assert [row["run_id"] for row in listed.json["runs"]] == [run]


@pytest.mark.parametrize("header", ["x-tenant", "x-tenant-id", "tenant"])
async def test_tenant_of_a_header_is_not_believed(served: Served, header: str) -> None:
    run = (await served.send("POST", "/chat", {"message": "hi"})).json["run_id"]

    reply = await served.send("GET", f"/api/v1/runs/{run}", key=KEYS["gil"], headers={header: "acme"})

    assert reply.status == 404


FORWARDING = (
    "Forwarded Via X-Real-IP X-Forwarded-Port X-Forwarded-Server X-Original-URL CF-Connecting-IP True-Client-IP X-Client-IP"
)


@pytest.mark.parametrize("header", FORWARDING.split())
async def test_call_that_came_through_a_proxy_needs_a_key(served: Served, header: str) -> None:
    reply = await served.send("POST", "/chat", {"message": "Hello"}, headers={header: "x"})

    assert (reply.status, reply.code) == (401, "unauthenticated")


@pytest.mark.parametrize("sent", [["Bearer"], [""], ["Basic eA=="]])
async def test_authorization_that_holds_no_key_is_not_taken_for_none(served: Served, sent: list[str]) -> None:
    reply = await served.send("GET", "/api/v1/runs", also=[("authorization", value) for value in sent])

    assert (reply.status, reply.code) == (401, "unauthenticated")


async def test_second_origin_cannot_hide_behind_the_first(served: Served) -> None:
    also = [("origin", "http://127.0.0.1:8080"), ("origin", "https://evil.example")]

    reply = await served.send("POST", "/chat", {"message": "Hello"}, also=also)

    assert (reply.status, reply.code) == (403, "foreign_origin")


async def test_address_with_a_slash_too_many_is_not_redirected(served: Served) -> None:
    reply = await served.send("POST", "/chat/", {"message": "Hello"})

    assert (reply.status, reply.code) == (404, "not_found")
    assert "/openapi.json" in reply.json["error"]["message"]


async def test_sessions_are_found_with_and_without_the_last_slash(served: Served) -> None:
    assert (
        (await served.send("GET", "/api/v1/session")).status == (await served.send("GET", "/api/v1/session/")).status == 200
    )
