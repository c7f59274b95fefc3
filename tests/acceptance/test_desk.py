from __future__ import annotations

import http.client
import sqlite3
from collections.abc import Sequence
from typing import Any

import pytest

from .conftest import EXAMPLE, Server

TICKET = "Please open a ticket because my laptop does not charge."


def _tickets(server: Server, title: str) -> Sequence[Any]:
    connection = sqlite3.connect(server.data / "tickets.sqlite3")
    try:
        return connection.execute("SELECT rowid FROM tickets WHERE title = ?", (title,)).fetchall()
    finally:
        connection.close()


@pytest.mark.row("P3")
@pytest.mark.row("S2", part="server")
@pytest.mark.parametrize(
    ("question", "document", "said"),
    [
        ("How long does a VPN session last before I have to sign in again?", "vpn-setup", "12 hours"),
        ("未休的年假最多可以结转几天？", "annual-leave-zh", "5 天"),
    ],
    ids=["english", "chinese"],
)
def test_question_is_answered_from_a_source_that_exists(server: Server, question: str, document: str, said: str) -> None:
    body = server.ask(question)

    assert said in body["answer"]
    assert body["model"] == "simulated"
    assert body["sources"] == [citation["id"] for citation in body["citations"]]
    assert any(source.startswith(document) for source in body["sources"])
    article = (EXAMPLE / "knowledge" / f"{document}.md").read_text()
    assert body["citations"][0]["content"] in article
    opened = server.send("GET", f"/api/v1/documents/{document}").json
    assert body["citations"][0]["content"] in opened["text"]


@pytest.mark.row("K9", part="server")
def test_question_outside_ones_groups_finds_and_leaks_nothing(server: Server) -> None:
    question = "What is the salary band for P4?"

    outside = server.ask(question)
    inside = server.ask(question, user="hanna")

    assert inside["sources"]
    hidden = [inside["citations"][0]["title"], inside["citations"][0]["content"], *inside["sources"]]
    events = server.send("GET", f"/api/v1/runs/{outside['run_id']}/events").body.decode()
    for secret in (*hidden, "76,000"):
        assert secret not in str(outside)
        assert secret not in events
    assert outside["sources"] == []
    assert server.send("GET", "/api/v1/documents/salary-bands").status == 404
    assert server.send("GET", "/api/v1/documents/salary-bands", user="hanna").status == 200


@pytest.mark.row("G1")
def test_ticket_is_drafted_edited_approved_and_exists_once(server: Server) -> None:
    title = "Laptop of Emma does not charge"
    asked = server.ask(TICKET)
    (draft_id,) = asked["drafts"]
    assert (asked["stop_reason"], asked["needs_human_review"], asked["tool_calls"]) == (
        "awaiting_approval",
        True,
        ["create_ticket_draft"],
    )
    draft = server.send("GET", f"/api/v1/approvals/{draft_id}", user="omar").json
    assert not _tickets(server, draft["args"]["title"])
    own = server.send("POST", f"/api/v1/approvals/{draft_id}/decisions", {"approved": True})
    assert own.status == 403

    decision = {"approved": True, "reason": "clear", "edited_args": {**draft["args"], "title": title}}
    first = server.send("POST", f"/api/v1/approvals/{draft_id}/decisions", decision, user="omar")
    again = server.send("POST", f"/api/v1/approvals/{draft_id}/decisions", decision, user="omar")
    other = server.send("POST", f"/api/v1/approvals/{draft_id}/decisions", {"approved": False}, user="omar")
    run = server.ended(asked["run_id"])

    assert (first.status, again.status, other.status) == (200, 200, 409)
    assert (run["status"], run["stop_reason"]) == ("done", "completed")
    assert run["tool_calls_made"][0]["approved_by"] == "omar"
    assert len(_tickets(server, title)) == 1


def test_rejected_draft_is_never_executed(server: Server) -> None:
    asked = server.ask("Please open a ticket because the projector hums.")
    (draft_id,) = asked["drafts"]
    title = server.send("GET", f"/api/v1/approvals/{draft_id}", user="omar").json["args"]["title"]

    server.send("POST", f"/api/v1/approvals/{draft_id}/decisions", {"approved": False, "reason": "no"}, user="omar")
    run = server.ended(asked["run_id"])

    assert run["status"] == "done"
    assert not _tickets(server, title)


@pytest.mark.row("S5", part="server")
def test_second_question_of_a_session_understands_what_it_is_about(server: Server) -> None:
    first = server.ask("How long does a VPN session last before I have to sign in again?")
    second = server.ask("On how many devices can I use it at the same time?", session_id=first["session_id"])

    assert "2 devices" in second["answer"]
    assert any(source.startswith("vpn-setup") for source in second["sources"])


def _read_frames(reply: http.client.HTTPResponse, count: int) -> bytes:
    found = b""
    while found.count(b"\n\n") < count:
        line = reply.readline()
        assert line, found
        found += line
    return found


def _stored(stream: bytes) -> list[bytes]:
    """The frames of stored events; pieces of replies are live and come once."""
    return [frame for frame in stream.split(b"\n\n") if frame.startswith(b"id: ")]


@pytest.mark.row("S3", part="cut and resume")
def test_stream_that_was_cut_goes_on_where_it_was(server: Server) -> None:
    run_id = server.ask(TICKET)["run_id"]
    connection = server.connect()
    connection.request("GET", f"/api/v1/runs/{run_id}/events")
    reply = connection.getresponse()
    head = _read_frames(reply, 2)
    connection.close()  # the reader is gone in the middle of the stream, while the run waits for a person

    (draft,) = server.send("GET", f"/api/v1/approvals?run_id={run_id}", user="omar").json["approvals"]
    server.send("POST", f"/api/v1/approvals/{draft['id']}/decisions", {"approved": True}, user="omar")
    rest = server.send("GET", f"/api/v1/runs/{run_id}/events", headers={"Last-Event-ID": "2"})
    whole = server.send("GET", f"/api/v1/runs/{run_id}/events")

    assert b"id: 2\n" in head
    assert _stored(head + rest.body) == _stored(whole.body)


def test_open_stream_sees_the_decision_of_a_person_as_it_comes(server: Server) -> None:
    run_id = server.ask(TICKET)["run_id"]
    connection = server.connect()
    connection.request("GET", f"/api/v1/runs/{run_id}/events")
    reply = connection.getresponse()
    (draft,) = server.send("GET", f"/api/v1/approvals?run_id={run_id}", user="omar").json["approvals"]

    server.send("POST", f"/api/v1/approvals/{draft['id']}/decisions", {"approved": False}, user="omar")
    whole = reply.read()
    connection.close()

    kinds = [line.removeprefix("event: ") for line in whole.decode().splitlines() if line.startswith("event: ")]
    assert "approval_requested" in kinds
    assert kinds.index("approval_requested") < kinds.index("approval_decided") < kinds.index("final_answer")
    assert whole.endswith(b"data: [DONE]\n\n")


def test_answer_is_streamed_as_text_while_it_is_made(server: Server) -> None:
    answer = server.send("GET", "/api/v1/agent/stream?query=How%20do%20I%20report%20phishing%3F")

    kinds = [line.removeprefix("event: ") for line in answer.body.decode().splitlines() if line.startswith("event: ")]
    assert kinds.index("tool_start") < kinds.index("tool_end") < kinds.index("text") < kinds.index("done")
    assert kinds.count("text") > 1
    assert answer.body.endswith(b"data: [DONE]\n\n")


def test_operator_sees_how_a_colleagues_run_stands_and_not_what_it_must_not_read(server: Server) -> None:
    private = server.ask("What is the salary band for P4?", user="hanna")

    seen = server.send("GET", f"/api/v1/runs/{private['run_id']}", user="omar").json
    events = server.send("GET", f"/api/v1/runs/{private['run_id']}/events", user="omar")
    colleague = server.send("GET", f"/api/v1/runs/{private['run_id']}", user="marc")

    assert (seen["status"], seen["user"]) == ("done", "hanna")
    assert (seen["question"], seen["answer"], seen["sources"], seen["citations"]) == ("", "", [], [])
    assert all(call["arguments"] == {} for call in seen["tool_calls_made"])
    assert events.status == 403
    assert colleague.status == 404


def test_nothing_of_one_tenant_exists_for_another(server: Server) -> None:
    mine = server.ask(TICKET)
    paths = [
        f"/api/v1/runs/{mine['run_id']}",
        f"/api/v1/runs/{mine['run_id']}/events",
        f"/api/v1/session/{mine['session_id']}",
        "/api/v1/documents/vpn-setup",
    ]

    found = [server.send("GET", path, user="gil").status for path in paths]

    assert found == [404, 404, 404, 404]
    assert server.send("GET", "/api/v1/runs", user="gil").json["runs"] == []


@pytest.mark.row("S13", part="logs")
def test_every_log_line_is_json_and_carries_its_ids(server: Server) -> None:
    asked = server.send(
        "POST", "/chat", {"message": "How\ndo I\x1b[31m report phishing?"}, headers={"X-Request-Id": "my-id-1"}
    )

    line = server.logged("my-id-1")
    assert asked.headers["x-request-id"] == "my-id-1"
    assert (line["tenant"], line["run_id"], line["status"]) == ("acme", asked.json["run_id"], 200)
    assert len(line["trace_id"]) == 32


def test_keys_are_told_once_and_stand_in_no_log(server: Server) -> None:
    keys = server.told["new_keys"]

    assert set(keys) == {"emma", "omar", "hanna", "marc", "ines", "gil"}
    text = (server.data / "log").read_text()
    assert not any(key in text for key in keys.values())
    assert oct((server.data / "keys").stat().st_mode & 0o777) == "0o600"
