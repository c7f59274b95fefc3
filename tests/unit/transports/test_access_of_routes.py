from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

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


async def test_ids_of_another_tenant_do_not_exist(served: Served) -> None:
    mine = (await served.send("POST", "/chat", {"message": "hi"})).json
    run, session = mine["run_id"], mine["session_id"]
    attempts = [
        ("GET", f"/api/v1/runs/{run}", None),
        ("GET", f"/api/v1/runs/{run}/events", None),
        ("POST", f"/api/v1/runs/{run}/cancel", {}),
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
