"""Traffic tags of requests, and what becomes of them in runs."""

from __future__ import annotations

from typing import Any

import pytest

from quarterdeck.core.events import RunStarted
from tests.unit.transports.conftest import Served

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
HEADERS = {
    "x-request-id": "req-1",
    "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01",
    "tracestate": "vendor=1",
    "x-trace-id-ext": "visit-7",
    "x-tag-experiment": "b",
    "x-tag-secret": "c",
}


async def started(served: Served, run_id: str) -> RunStarted:
    entries = [entry async for entry in served.store.journal.read("acme", run_id)]
    event = entries[0].event
    assert isinstance(event, RunStarted)
    return event


@pytest.mark.row("D3", part="runs")
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/chat", {"message": "hi"}),
        ("/api/v1/agent/query", {"query": "hi"}),
        ("/v1/chat/completions", {"model": "support", "messages": [{"role": "user", "content": "hi"}]}),
        ("/api/v1/agent/batch", {"items": [{"query": "hi"}]}),
    ],
)
async def test_tags_of_a_request_stand_in_the_run_it_begins(served: Served, path: str, body: dict[str, Any]) -> None:
    await served.send("POST", path, body, headers=HEADERS)

    (row,) = await served.store.journal.runs("acme", request_id="req-1")
    event = await started(served, row.run_id)
    assert event.trace_id == TRACE
    assert event.tags == {"trace_id_ext": "visit-7", "experiment": "b", "tracestate": "vendor=1"}


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (f"01-{TRACE}-00f067aa0ba902b7-01", True),
        (f"cc-{TRACE}-00f067aa0ba902b7-01-what-will-be", True),
        (f"00-{TRACE}-00f067aa0ba902b7-01-more", False),
        (f"cc-{TRACE}-00f067aa0ba902b7-01.more", False),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", False),
        (f"00-{TRACE}-0000000000000000-01", False),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", False),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", False),
    ],
)
async def test_a_trace_of_a_version_to_come_goes_on_and_one_of_garbage_does_not(
    served: Served, given: str, read: bool
) -> None:
    asked = (await served.send("POST", "/chat", {"message": "hi"}, headers={"traceparent": given})).json

    assert ((await started(served, asked["run_id"])).trace_id == TRACE) is read


@pytest.mark.row("D3", part="runs")
async def test_a_run_shows_its_request_and_its_tags(served: Served) -> None:
    asked = (await served.send("POST", "/chat", {"message": "hi"}, headers=HEADERS)).json

    shown = (await served.send("GET", f"/api/v1/runs/{asked['run_id']}")).json

    assert (shown["request_id"], shown["trace_id"], shown["tags"]) == ("req-1", TRACE, {"experiment": "b"})


@pytest.mark.row("D3", part="garbage")
@pytest.mark.parametrize("garbage", ["a b", "\x7f", "a" * 8000, "x;y=z,,=", "\xff\xfe"])
async def test_a_request_with_garbage_for_tags_is_answered_without_them(served: Served, garbage: str) -> None:
    headers = dict.fromkeys(("traceparent", "tracestate", "baggage", "x-tag-experiment"), garbage[:7000])

    reply = await served.send("POST", "/chat", {"message": "hi"}, headers=headers | {"x-request-id": "req-2"})

    assert reply.status == 200
    assert dict((await started(served, reply.json["run_id"])).tags) == {}


@pytest.mark.row("D3", part="forks")
async def test_a_fork_keeps_the_tags_of_the_run_it_comes_from(served: Served) -> None:
    asked = (await served.send("POST", "/chat", {"message": "hi"}, headers=HEADERS)).json

    forked = (await served.send("POST", f"/api/v1/runs/{asked['run_id']}/fork", {"at": 2})).json

    assert forked["run_id"] != asked["run_id"]
    assert forked["tags"] == {"experiment": "b"}
