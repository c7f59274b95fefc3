from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import anyio
import pytest

from quarterdeck.core.labels import Readers

from .conftest import KEYS, OPEN, Served


@pytest.mark.row("S2", part="http")
async def test_chat_answers_with_sources_usage_and_ids(served: Served) -> None:
    reply = await served.send("POST", "/chat", {"message": "How long does a session last?"})

    assert reply.status == 200
    body = reply.json
    assert body["answer"] == "You asked: How long does a session last?"
    assert body["sources"] == ["vpn-1"]
    assert body["citations"] == [
        {
            "id": "vpn-1",
            "title": "VPN",
            "content": "A session lasts 12 hours.",
            "score": 0.9,
            "uri": "/api/v1/documents/vpn?at=0-25",
            "document": "vpn",
            "span": [0, 25],
            "place": "/api/v1/documents/vpn?at=0-25",
        }
    ]
    assert body["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, "cost_usd": 0.0}
    assert (body["confidence"], body["model"], body["stop_reason"]) == ("high", "simulated", "completed")
    assert set(body) == set(
        "answer confidence confidence_score sources citations tool_calls needs_human_review drafts run_id session_id model "
        "usage latency_ms stop_reason".split()
    )


@pytest.mark.row("S2", part="aliases")
@pytest.mark.parametrize("path", ["/api/v1/agent/query", "/api/v1/query"])
async def test_query_and_its_alias_answer_with_the_text_of_sources(served: Served, path: str) -> None:
    reply = await served.send("POST", path, {"agent_id": "support", "query": "Hello?", "options": {"timeout_s": 2}})

    assert reply.status == 200
    (source,) = reply.json["sources"]
    assert source["id"] == "vpn-1"
    assert source["content"] == "A session lasts 12 hours."
    assert source["metadata"]["title"] == "VPN"
    assert source["metadata"]["place"] == "/api/v1/documents/vpn?at=0-25"
    assert reply.json["confidence"] == "high"


async def test_query_by_address_answers_too(served: Served) -> None:
    reply = await served.send("GET", "/api/v1/query?query=Hello&agent_id=support")

    assert reply.status == 200
    assert reply.json["answer"] == "You asked: Hello"


async def test_question_that_takes_longer_than_the_caller_waits_is_answered_with_how_it_stands(served: Served) -> None:
    served.worker.gate = anyio.Event()

    reply = await served.send("POST", "/api/v1/query", {"query": "Hello?", "options": {"timeout_s": 0.01}})

    assert reply.status == 202
    assert reply.json["stop_reason"] == "running"
    served.worker.gate.set()


@pytest.mark.row("S12", part="same key, same run")
async def test_same_idempotency_key_is_the_same_run(served: Served) -> None:
    headers = {"idempotency-key": "abc"}

    first = await served.send("POST", "/chat", {"message": "Once?"}, headers=headers)
    second = await served.send("POST", "/chat", {"message": "Once?"}, headers=headers)
    other = await served.send("POST", "/chat", {"message": "Twice?"}, headers=headers)

    assert first.json["run_id"] == second.json["run_id"]
    assert first.json["session_id"] == second.json["session_id"]
    assert (other.status, other.code) == (422, "key_reused")


def _frames(body: bytes) -> list[dict[str, str]]:
    frames = []
    for block in body.decode().split("\n\n"):
        lines = [line.partition(": ") for line in block.splitlines() if not line.startswith(":")]
        if lines:
            frames.append({name: value for name, _, value in lines})
    return frames


@pytest.mark.row("S3", part="question")
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("POST", "/api/v1/agent/stream", {"query": "Hello?"}), ("GET", "/api/v1/agent/stream?query=Hello?", None)],
)
async def test_stream_of_a_question_has_simple_and_full_events_and_ends_in_done(
    served: Served, method: str, path: str, body: Any
) -> None:
    reply = await served.send(method, path, body)

    assert reply.headers["content-type"].startswith("text/event-stream")
    events = [frame.get("event") for frame in _frames(reply.body)]
    assert {"run_started", "delta", "text", "model_reply", "final_answer", "done"} <= set(events)
    assert events.count("text") == 1
    assert reply.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("gone", ["detach", "cancel"])
async def test_stream_of_a_question_ends_after_the_time_its_caller_waits_and_the_run_goes_on(
    served: Served, gone: str
) -> None:
    served.worker.gate = anyio.Event()
    asked = {"query": "Hello?", "options": {"timeout_s": 0.05}}

    reply = await served.send("POST", f"/api/v1/agent/stream?on_disconnect={gone}", asked)
    served.worker.gate.set()
    rest = await served.send("GET", f"/api/v1/runs/{reply.headers['x-run-id']}/events", headers={"last-event-id": "1"})

    assert reply.body.endswith(b": the time to wait for the answer is over; the run goes on\n\n")
    assert b"[DONE]" not in reply.body
    assert b"final_answer" in rest.body


@pytest.mark.row("S3", part="resume")
async def test_events_resume_after_any_id_without_gap_or_repeat(served: Served) -> None:
    run_id = (await served.send("POST", "/chat", {"message": "Hello?"})).json["run_id"]
    whole = (await served.send("GET", f"/api/v1/runs/{run_id}/events")).body
    assert whole.endswith(b"data: [DONE]\n\n")

    for cut in range(4):
        rest = await served.send("GET", f"/api/v1/runs/{run_id}/events", headers={"last-event-id": str(cut)})
        head = b"".join(block + b"\n\n" for block in whole.split(b"\n\n")[:cut])

        assert head + rest.body == whole


@pytest.mark.parametrize("last", ["../../x", "-1", "99", "1e3", "9" * 40])
async def test_last_event_id_that_is_none_of_the_runs_is_refused(served: Served, last: str) -> None:
    run_id = (await served.send("POST", "/chat", {"message": "Hello?"})).json["run_id"]

    reply = await served.send("GET", f"/api/v1/runs/{run_id}/events", headers={"last-event-id": last})

    assert (reply.status, reply.code) == (422, "invalid_input")


async def test_cancelling_an_ended_run_conflicts(served: Served) -> None:
    run_id = (await served.send("POST", "/chat", {"message": "Hello?"})).json["run_id"]

    reply = await served.send("POST", f"/api/v1/runs/{run_id}/cancel")

    assert (reply.status, reply.code) == (409, "conflict")


@pytest.mark.row("S5")
async def test_session_lives_from_opening_to_closing(served: Served) -> None:
    opened = (await served.send("POST", "/api/v1/session/", {"context": {"page": "vpn"}})).json
    assert (opened["state"], opened["user_id"], opened["agent_id"]) == ("active", "emma", "support")

    await served.send("POST", "/chat", {"message": "First?", "session_id": opened["id"]})
    second = await served.send("POST", "/chat", {"message": "And it?", "session_id": opened["id"]})
    shown = (await served.send("GET", f"/api/v1/session/{opened['id']}")).json
    listed = (await served.send("GET", "/api/v1/session/")).json["sessions"]
    closed = (await served.send("DELETE", f"/api/v1/session/{opened['id']}")).json
    refused = await served.send("POST", "/chat", {"message": "Third?", "session_id": opened["id"]})

    assert second.json["session_id"] == opened["id"]
    assert [(message["role"], message["content"]) for message in shown["messages"]] == [
        ("user", "First?"),
        ("assistant", "You asked: First?"),
        ("user", "And it?"),
        ("assistant", "You asked: And it?"),
    ]
    assert set(shown["messages"][0]) == {"id", "session_id", "role", "content", "metadata", "created_at"}
    assert [session["id"] for session in listed] == [opened["id"]]
    assert closed["state"] == "closed"
    assert (refused.status, refused.code) == (409, "conflict")


async def test_second_question_of_a_session_is_given_the_first_exchange(served: Served) -> None:
    first = (await served.send("POST", "/chat", {"message": "First?"})).json
    second = (await served.send("POST", "/chat", {"message": "And it?", "session_id": first["session_id"]})).json

    entries = [entry async for entry in served.store.journal.read("acme", second["run_id"])]

    assert [message.text for message in entries[0].event.history] == ["First?", "You asked: First?"]  # type: ignore[union-attr]


async def test_document_is_opened_at_the_place_of_a_passage(served: Served) -> None:
    reply = await served.send("GET", "/api/v1/documents/vpn?at=2-9")
    outside = await served.send("GET", "/api/v1/documents/vpn?at=2-900")
    foreign = await served.send("GET", "/api/v1/documents/vpn", key=KEYS["gil"])

    assert reply.json["passage"] == {
        "start": 2,
        "end": 9,
        "text": "session",
        "before": "A ",
        "after": " lasts 12 hours.",
        "heading_path": [],
    }
    assert outside.status == 422
    assert (foreign.status, foreign.code) == (404, "not_found")


@pytest.mark.row("S1", part="checks")
async def test_readiness_names_the_part_that_fails_while_liveness_stays(served: Served) -> None:
    before = await served.send("GET", "/ready")
    served.broken.append("the disk is gone")
    after = await served.send("GET", "/ready")
    alive = await served.send("GET", "/health")

    assert before.status == 200
    assert (before.json["status"], before.json["checks"]) == ("healthy", {"journal": "ok"})
    assert after.status == 503
    assert (after.json["status"], after.json["checks"]) == ("unhealthy", {"journal": "the disk is gone"})
    assert alive.json == {"status": "ok"}


async def test_repeated_question_is_answered_again_after_its_session_was_closed(served: Served) -> None:
    key = {"idempotency-key": "k1"}
    session = (await served.send("POST", "/api/v1/session/", {})).json["id"]
    asked = {"message": "Hello", "session_id": session}
    first = (await served.send("POST", "/chat", asked, headers=key)).json
    await served.send("DELETE", f"/api/v1/session/{session}")

    again = await served.send("POST", "/chat", asked, headers=key)
    other = await served.send("POST", "/chat", {**asked, "message": "Bye"}, headers=key)

    assert (again.status, again.json["run_id"]) == (200, first["run_id"])
    assert (other.status, other.code) == (422, "key_reused")


@pytest.mark.row("S12", part="parallel")
async def test_many_at_once_with_one_key_are_one_run_and_equal_answers(served: Served) -> None:
    bodies: list[bytes] = []

    async def ask() -> None:
        bodies.append((await served.send("POST", "/chat", {"message": "Once?"}, headers={"idempotency-key": "k"})).body)

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(ask)

    assert len({json.loads(body)["run_id"] for body in bodies}) == 1
    assert len({json.loads(body)["answer"] for body in bodies}) == 1
    assert len(await served.store.journal.runs("acme")) == 1


@pytest.mark.parametrize("path", ["/api/v1/query", "/api/v1/agent/stream"])
async def test_repeated_question_shows_nothing_its_asker_may_not_read_any_more(served: Served, path: str) -> None:
    served.worker.label = replace(OPEN, readers=Readers.of("group:payroll"))
    question, headers = {"query": "What does Omar earn?"}, {"idempotency-key": "k"}
    first = await served.send("POST", path, question, headers=headers)

    again = await served.send("POST", path, question, headers=headers)

    assert first.status == 200
    assert (again.status, again.code) == (403, "forbidden")
    assert b"You asked" not in again.body


async def test_session_shows_no_answer_its_asker_may_not_read_any_more(served: Served) -> None:
    first = await served.send("POST", "/chat", {"message": "Hello?"})
    session = first.json["session_id"]
    served.worker.label = replace(OPEN, readers=Readers.of("group:payroll"))
    await served.send("POST", "/chat", {"message": "What does Omar earn?", "session_id": session})

    shown = await served.send("GET", f"/api/v1/session/{session}")

    assert [message["content"] for message in shown.json["messages"]] == [
        "Hello?",
        "You asked: Hello?",
        "What does Omar earn?",
    ]


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_repeated_question_of_a_caller_who_does_not_wait_is_answered_with_how_it_stands(served: Served) -> None:
    question, headers = {"query": "Hello?"}, {"idempotency-key": "k"}
    first = await served.send("POST", "/api/v1/query", question, headers=headers)

    again = await served.send("POST", "/api/v1/query", {**question, "options": {"timeout_s": 1e-9}}, headers=headers)

    assert (again.status, again.json["id"]) == (200, first.json["id"])
    assert again.json["answer"] == first.json["answer"] != ""
