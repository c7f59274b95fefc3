"""Until when callers wait, how urgent it is to them, and what becomes of the runs they leave."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from quarterdeck.core.events import CancelRequested, RunStarted

from .conftest import Reply, Served

ASK = {"message": "How long does a VPN session last?"}


async def begun(served: Served) -> RunStarted:
    """How the newest run began."""
    (row, *_) = await served.store.journal.runs("acme")
    async for entry in served.store.journal.read("acme", row.run_id):
        assert isinstance(entry.event, RunStarted)
        return entry.event
    raise AssertionError


def header(name: str, value: str) -> dict[str, dict[str, str]]:
    return {"headers": {name: value}}


@pytest.mark.row("S11", part="deadline")
async def test_the_callers_deadline_stands_in_the_run(served: Served) -> None:
    before = datetime.now(UTC)
    await served.send("POST", "/chat", ASK, **header("X-Request-Timeout-Ms", "5000"))

    deadline = (await begun(served)).deadline

    assert deadline is not None
    assert timedelta(seconds=4.9) < deadline - before < timedelta(seconds=10)


async def test_of_two_deadlines_the_earlier_one_holds(served: Served) -> None:
    at = datetime.now(UTC) + timedelta(seconds=60)
    both = {"X-Request-Timeout-Ms": "500000", "X-Request-Deadline": at.isoformat()}

    await served.send("POST", "/api/v1/query", {"query": "Hello?"}, headers=both)

    assert (await begun(served)).deadline == at


@pytest.mark.row("S11", part="deadline")
async def test_a_run_that_does_not_end_in_time_is_504(served: Served) -> None:
    served.worker.gate = anyio.Event()  # nobody answers

    reply = await served.send("POST", "/chat", ASK, **header("X-Request-Timeout-Ms", "50"))

    assert (reply.status, reply.code) == (504, "deadline_exceeded")


async def test_a_question_whose_time_was_over_is_not_asked(served: Served) -> None:
    reply = await served.send("POST", "/chat", ASK, **header("X-Request-Deadline", "2020-02-02T00:00:00Z"))

    assert reply.status == 504
    assert await served.store.journal.runs("acme") == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Request-Timeout-Ms", "-1"),
        ("X-Request-Timeout-Ms", "0"),
        ("X-Request-Timeout-Ms", "nan"),
        ("X-Request-Timeout-Ms", "inf"),
        ("X-Request-Timeout-Ms", "soon"),
        ("X-Request-Deadline", "2026-06-30T23:59:60Z"),
        ("X-Request-Deadline", "2026-03-29T02:30:00"),
        ("X-Request-Deadline", "10000-01-01T00:00:00Z"),
        ("X-Request-Deadline", "tomorrow"),
        ("X-Lane", "first class"),
    ],
)
async def test_what_is_no_time_and_no_lane_is_422(served: Served, name: str, value: str) -> None:
    reply = await served.send("POST", "/chat", ASK, **header(name, value))

    assert (reply.status, reply.code) == (422, "invalid_input")
    assert await served.store.journal.runs("acme") == []


@pytest.mark.parametrize(
    ("name", "value"), [("X-Request-Timeout-Ms", "1e12"), ("X-Request-Deadline", "9999-12-31T23:59:59Z")]
)
async def test_what_is_too_far_off_is_taken_for_a_day(served: Served, name: str, value: str) -> None:
    reply = await served.send("POST", "/chat", ASK, **header(name, value))

    deadline = (await begun(served)).deadline
    assert reply.status == 200
    assert deadline is not None
    assert deadline - datetime.now(UTC) <= timedelta(days=1)


@pytest.mark.parametrize("timeout_s", [-1, 0, 1e12, 1e400])
async def test_a_time_in_the_body_that_is_none_is_refused(served: Served, timeout_s: float) -> None:
    reply = await served.send("POST", "/api/v1/query", {"query": "Hello?", "options": {"timeout_s": timeout_s}})

    assert reply.status in (400, 422)


async def test_a_lane_reaches_whoever_wakes_runs(served: Served) -> None:
    await served.send("POST", "/chat", ASK)
    await served.send("POST", "/chat", ASK, **header("X-Lane", "eval"))
    await served.send("POST", "/api/v1/agent/batch", {"items": [{"query": "Hello?"}]})

    assert served.worker.priorities == [0, 2, 1]


async def left(served: Served, path: str, body: Any) -> None:
    """Send a request and go away as soon as its run is there."""
    reply = Reply()
    gone = anyio.Event()
    given = False

    async def receive() -> dict[str, Any]:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            reply.status = message["status"]

    path, _, query = path.partition("?")
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"host", b"127.0.0.1:8080"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8080),
        "state": {},
    }
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(served.app, scope, receive, send)
            while not await served.store.journal.runs("acme"):
                await anyio.sleep(0.001)
            gone.set()


async def cancels(served: Served) -> list[CancelRequested]:
    (row,) = await served.store.journal.runs("acme")
    entries = [entry.event async for entry in served.store.journal.read("acme", row.run_id)]
    return [event for event in entries if isinstance(event, CancelRequested)]


@pytest.mark.row("S11", part="on disconnect")
@pytest.mark.parametrize("path", ["/chat", "/api/v1/query", "/api/v1/agent/stream"])
async def test_the_run_of_a_caller_that_goes_away_is_cancelled_where_he_asked_for_that(served: Served, path: str) -> None:
    served.worker.gate = anyio.Event()
    body = ASK if path == "/chat" else {"query": ASK["message"]}

    await left(served, f"{path}?on_disconnect=cancel", body)

    assert [event.reason for event in await cancels(served)] == ["the caller went away"]


@pytest.mark.row("S11", part="on disconnect")
async def test_otherwise_it_goes_on(served: Served) -> None:
    served.worker.gate = anyio.Event()

    await left(served, "/api/v1/agent/stream", {"query": ASK["message"]})

    assert await cancels(served) == []


async def test_what_else_becomes_of_it_is_refused(served: Served) -> None:
    reply = await served.send("POST", "/chat?on_disconnect=explode", ASK)

    assert reply.status == 422


@pytest.mark.parametrize("gone", ["cancel", "detach"])
async def test_a_batch_does_not_promise_to_end_with_its_caller(served: Served, gone: str) -> None:
    body = {"items": [{"query": ASK["message"]}]}

    reply = await served.send("POST", f"/api/v1/agent/batch?on_disconnect={gone}", body)

    assert reply.status == 422
    assert "on_disconnect" in reply.json["error"]["message"]
