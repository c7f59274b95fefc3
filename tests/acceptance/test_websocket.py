"""The WebSocket of a running server, spoken to by the `websockets` client."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from .conftest import Server

TICKET = "Please open a ticket because my laptop does not charge."
PHISHING = "How do I report phishing?"


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data")
    server.start()
    try:
        yield server
    finally:
        server.stop()


def opened(server: Server, user: str | None = None, *, query: str = "", **headers: str) -> ClientConnection:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if user is not None:
        sent["Authorization"] = f"Bearer {server.key(user)}"
    address = f"ws://127.0.0.1:{server.port}/api/v1/stream{query}"
    return connect(address, additional_headers=sent, proxy=None, open_timeout=10, close_timeout=10, max_size=None)


def say(socket: ClientConnection, type: str, id: str, **fields: Any) -> None:
    socket.send(json.dumps({"type": type, "id": id, **fields}))


def hear(socket: ClientConnection, id: str) -> Any:
    """The next message under this id; those under others are passed over."""
    while (told := json.loads(socket.recv(timeout=20)))["id"] != id:
        pass
    return told


def until(socket: ClientConnection, id: str, event: str) -> list[Any]:
    """What is told under this id up to the first event of a kind, or of another type of message."""
    told = [hear(socket, id)]
    while told[-1].get("event", told[-1]["type"]) != event:
        assert told[-1]["type"] != "error", told[-1]
        told.append(hear(socket, id))
    return told


def seqs(told: list[Any]) -> list[int]:
    return [message["seq"] for message in told if "seq" in message]


def closed_with(socket: ClientConnection) -> int:
    """The code the server closes with; 1006 when the connection was lost without a word."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            socket.recv(timeout=20)
    assert socket.close_code is not None
    return socket.close_code


@pytest.mark.row("S6", part="ask and watch")
def test_question_is_watched_until_its_answer(server: Server) -> None:
    with opened(server) as socket:
        say(socket, "ask", "q1", message=PHISHING)
        told = until(socket, "q1", "end")

    started, end = told[0], told[-1]
    kinds = [message.get("event") for message in told]
    text = "".join(message["data"]["text"] for message in told if message.get("event") == "text")
    (done,) = [message["data"] for message in told if message.get("event") == "done"]
    assert (started["type"], started["run_id"], end["run_id"]) == ("started", done["run_id"], done["run_id"])
    assert seqs(told) == list(range(1, len(seqs(told)) + 1))
    assert {"run_started", "tool_start", "tool_end", "delta", "final_answer"} <= set(kinds)
    assert text.startswith("Do not click a link")
    assert done["stop_reason"] == "completed"
    assert server.send("GET", f"/api/v1/runs/{done['run_id']}").json["answer"] == done["answer"]


@pytest.mark.row("S6", part="ask and watch")
def test_several_questions_run_at_once_over_one_connection(server: Server) -> None:
    with opened(server) as socket:
        for number in range(5):
            say(socket, "ask", f"q{number}", message=PHISHING)
        told = [json.loads(socket.recv(timeout=20))]
        while sum(message["type"] == "end" for message in told) < 5:
            told.append(json.loads(socket.recv(timeout=20)))

    runs = {message["id"]: message["run_id"] for message in told if message["type"] == "started"}
    assert (set(runs), len(set(runs.values()))) == ({f"q{number}" for number in range(5)}, 5)
    for name, run_id in runs.items():
        mine = [message for message in told if message["id"] == name]
        assert {message["run_id"] for message in mine} == {run_id}
        assert seqs(mine) == list(range(1, len(seqs(mine)) + 1))


@pytest.mark.row("S6", part="approve")
def test_draft_is_approved_over_a_second_connection_and_the_first_sees_it_done(server: Server) -> None:
    with opened(server) as emma, opened(server, "omar") as omar:
        say(emma, "ask", "q", message=TICKET)
        (draft_id,) = until(emma, "q", "done")[-1]["data"]["drafts"]
        say(emma, "approve", "no", draft_id=draft_id)
        refused = hear(emma, "no")
        say(omar, "approve", "yes", draft_id=draft_id, reason="fine")
        decided = hear(omar, "yes")
        rest = until(emma, "q", "end")

    (done,) = [message["data"] for message in rest if message.get("event") == "done"]
    assert (refused["type"], refused["error"]["code"]) == ("error", "forbidden")
    assert (decided["type"], decided["data"]["status"], decided["data"]["decided_by"]) == ("ok", "approved", "omar")
    assert done["stop_reason"] == "completed"
    assert "approval_decided" in [message.get("event") for message in rest]


@pytest.mark.row("S6", part="approve")
def test_rejected_draft_is_not_done(server: Server) -> None:
    with opened(server) as emma, opened(server, "omar") as omar:
        say(emma, "ask", "q", message=TICKET)
        (draft_id,) = until(emma, "q", "done")[-1]["data"]["drafts"]
        say(omar, "reject", "no", draft_id=draft_id, reason="ask your lead first")
        decided = hear(omar, "no")
        rest = until(emma, "q", "end")

    assert decided["data"]["status"] == "rejected"
    assert "tool_started" not in [message.get("event") for message in rest]


@pytest.mark.row("S6", part="commands")
def test_run_is_paused_steered_resumed_and_cancelled(server: Server) -> None:
    with opened(server) as socket:
        say(socket, "ask", "q", message=TICKET)
        run_id = until(socket, "q", "done")[0]["run_id"]
        told = []
        for name, command, fields in (
            ("1", "pause", {"reason": "wait"}),
            ("2", "steer", {"message": "It is the grey one.", "idempotency_key": "k"}),
            ("3", "resume", {}),
            ("4", "cancel", {"reason": "not needed"}),
        ):
            say(socket, command, name, run_id=run_id, **fields)
            told.append(hear(socket, name))
        say(socket, "follow", "again", run_id=run_id)
        events = until(socket, "again", "end")

    assert [message["type"] for message in told] == ["ok"] * 4
    assert {message["data"]["run_id"] for message in told} == {run_id}
    kinds = [message.get("event") for message in events]
    assert [kind for kind in kinds if kind in {"pause_requested", "steer", "resume_requested", "run_cancelled"}] == [
        "pause_requested",
        "steer",
        "resume_requested",
        "run_cancelled",
    ]


@pytest.mark.row("S6", part="resume")
def test_after_a_cut_no_event_is_lost_or_doubled(fresh: Server) -> None:
    before: list[Any] = []
    with opened(fresh) as socket:
        say(socket, "ask", "q", message=TICKET)
        run_id = hear(socket, "q")["run_id"]
        while len(seqs(before)) < 3:
            before.append(hear(socket, "q"))
    fresh.stop(signal.SIGKILL)
    fresh.start()
    with opened(fresh) as socket, opened(fresh, "omar") as omar:
        (draft_id,) = fresh.send("GET", f"/api/v1/runs/{run_id}").json["drafts"] or _draft(fresh, run_id)
        say(socket, "follow", "rest", run_id=run_id, after=seqs(before)[-1])
        hear(socket, "rest")
        say(omar, "approve", "yes", draft_id=draft_id)
        after = until(socket, "rest", "end")
        say(socket, "follow", "whole", run_id=run_id)
        whole = until(socket, "whole", "end")

    assert seqs(before) + seqs(after) == seqs(whole)
    assert seqs(whole) == list(range(1, len(seqs(whole)) + 1))
    data = {message["seq"]: message["data"] for message in whole if "seq" in message}
    assert all(data[message["seq"]] == message["data"] for message in (*before, *after) if "seq" in message)


def _draft(server: Server, run_id: str) -> Any:
    deadline = time.monotonic() + 20
    while not (drafts := server.send("GET", f"/api/v1/runs/{run_id}").json["drafts"]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return drafts


@pytest.mark.row("S6", part="resume")
def test_ended_run_is_told_once_more_and_a_seq_of_the_future_refused(server: Server) -> None:
    run_id = server.ask(PHISHING)["run_id"]
    head = server.send("GET", f"/api/v1/runs/{run_id}").json["head"]

    with opened(server) as socket:
        say(socket, "follow", "all", run_id=run_id)
        everything = until(socket, "all", "end")
        say(socket, "follow", "none", run_id=run_id, after=head)
        nothing = until(socket, "none", "end")
        say(socket, "follow", "future", run_id=run_id, after=head + 1)
        future = hear(socket, "future")

    assert seqs(everything) == list(range(1, head + 1))
    assert seqs(nothing) == []
    assert (future["type"], future["error"]["code"]) == ("error", "invalid_input")


@pytest.mark.row("S6", part="tokens")
def test_token_opens_one_connection_as_its_holder_and_no_second(server: Server) -> None:
    made = server.send("POST", "/api/v1/stream-tokens", user="omar")
    query = f"?token={made.json['token']}"

    with opened(server, query=query) as socket:
        draft_id = server.ask(TICKET)["drafts"][0]
        say(socket, "reject", "no", draft_id=draft_id)
        decided = hear(socket, "no")
    with pytest.raises(InvalidStatus) as again:
        opened(server, query=query)
    with pytest.raises(InvalidStatus) as invented:
        opened(server, query="?token=qs_acme.x.y")

    assert made.status == 201
    assert decided["data"]["decided_by"] == "omar"
    assert [refusal.value.response.status_code for refusal in (again, invented)] == [401, 401]
    log = (server.data / "log").read_text()
    assert made.json["token"] not in log


@pytest.mark.row("S6", part="who may come in")
@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Authorization": "Bearer qd_wrong"}, 401, "unauthenticated"),
        ({"Authorization": ""}, 401, "unauthenticated"),
        ({"X_Forwarded_For": "203.0.113.7"}, 401, "unauthenticated"),
        ({"Origin": "https://evil.example"}, 403, "foreign_origin"),
        ({"Origin": "null"}, 403, "foreign_origin"),
        ({"Cookie": "a" * 7000, "X_More": "b" * 7000, "X_1": "c" * 7000, "X_2": "d" * 7000, "X_3": "e" * 7000}, 431, None),
    ],
    ids=["wrong key", "empty key", "through a proxy", "foreign page", "page of no origin", "large head"],
)
def test_stranger_is_refused_before_the_connection_opens(
    server: Server, headers: dict[str, str], status: int, code: str | None
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        opened(server, **headers)

    assert refused.value.response.status_code == status
    body = refused.value.response.body
    assert body is not None
    error = json.loads(body)["error"]
    line = server.logged(error["request_id"])
    assert error["code"] == (code or "headers_too_large")
    assert (line["level"], line["status"]) == ("info", status)
    assert '"level": "error"' not in (server.data / "log").read_text()


def test_connection_has_a_line_in_the_log_once_it_is_over(server: Server) -> None:
    with opened(server, X_Request_Id="my-connection") as socket:
        say(socket, "ping", "p")
        hear(socket, "p")

    line = server.logged("my-connection")

    assert (line["route"], line["status"], line["tenant"]) == ("/api/v1/stream", 101, "acme")


def test_page_of_the_server_itself_may_come_in(server: Server) -> None:
    with opened(server, Origin=f"http://127.0.0.1:{server.port}") as socket:
        say(socket, "ping", "p")

        assert hear(socket, "p") == {"type": "pong", "id": "p"}


@pytest.mark.row("S6", part="bad input")
@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("hello", 1007),
        ('{"type":"ping","id":"a","id":"b"}', 1007),
        ('{"type":"ping","id":NaN}', 1007),
        ("[" * 100 + "]" * 100, 1007),
        (b"\x00\x01", 1003),
        ("x" * 2_000_000, 1009),
        (["{"] * 100_000, 1008),
        ([""] * 100_000, 1008),
    ],
    ids=["no JSON", "key twice", "not a number", "deep", "binary", "2 MB", "fragments", "empty fragments"],
)
def test_what_is_no_message_ends_the_connection(server: Server, sent: Any, code: int) -> None:
    with opened(server) as socket:
        with contextlib.suppress(ConnectionClosed):
            socket.send(sent)

        assert closed_with(socket) == code


@pytest.mark.row("S6", part="bad input")
def test_frame_of_100_mb_is_refused_at_its_head(server: Server) -> None:
    with opened(server) as socket:
        socket.socket.sendall(b"\x81\xff" + (100_000_000).to_bytes(8, "big") + b"\0\0\0\0")

        assert closed_with(socket) == 1009


@pytest.mark.row("S6", part="bad input")
def test_text_that_is_not_utf_8_ends_the_connection(server: Server) -> None:
    with opened(server) as socket:
        socket.socket.sendall(b"\x81\x82\0\0\0\0\xff\xfe")

        assert closed_with(socket) == 1007
    assert "Traceback" not in (server.data / "log").read_text()


@pytest.mark.row("S6", part="bad input")
@pytest.mark.parametrize(
    ("sent", "id", "code"),
    [
        ({"type": "sing", "id": "a"}, "a", "invalid_input"),
        ({"id": "a"}, "a", "invalid_input"),
        ([], None, "invalid_input"),
        ({"type": "ask", "id": "a", "message": "hi", "colour": "red"}, "a", "invalid_input"),
        ({"type": "ask", "id": "a", "message": 7}, "a", "invalid_input"),
        ({"type": "ask", "id": "a", "message": " "}, "a", "invalid_input"),
        ({"type": "ask", "id": "a", "message": "hi", "agent": "nobody"}, "a", "invalid_input"),
        ({"type": "ask", "id": "a", "message": "hi", "idempotency_key": "a b"}, "a", "invalid_input"),
        ({"type": "ask", "message": "hi"}, None, "invalid_input"),
        ({"type": "follow", "id": "a", "run_id": "nothing"}, "a", "not_found"),
        ({"type": "follow", "id": "a", "run_id": "../x"}, "a", "invalid_input"),
        ({"type": "cancel", "id": "a", "run_id": "nothing"}, "a", "not_found"),
        ({"type": "approve", "id": "a", "draft_id": "nothing"}, "a", "forbidden"),
        ({"type": "leave", "id": "a"}, "a", "conflict"),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_what_cannot_be_done_is_answered_and_the_connection_stays(
    server: Server, sent: Any, id: str | None, code: str
) -> None:
    with opened(server) as socket:
        socket.send(json.dumps(sent))
        answer = json.loads(socket.recv(timeout=20))
        say(socket, "ping", "still")

        assert (answer["type"], answer["id"], answer["error"]["code"]) == ("error", id, code)
        assert hear(socket, "still")["type"] == "pong"


def test_id_is_free_again_once_it_is_left_and_taken_only_once(server: Server) -> None:
    run_id = server.ask(TICKET)["run_id"]

    with opened(server) as socket:
        say(socket, "follow", "f", run_id=run_id)
        until(socket, "f", "started")
        say(socket, "follow", "f", run_id=run_id)
        twice = until_type(socket, "f", "error")
        say(socket, "leave", "f")
        left = until_type(socket, "f", "ok")
        say(socket, "follow", "f", run_id=run_id)
        again = until_type(socket, "f", "started")
        for number in range(20):
            say(socket, "follow", f"n{number}", run_id=run_id)
        say(socket, "ping", "end")
        refused = []
        while (told := json.loads(socket.recv(timeout=20)))["id"] != "end":
            refused += [told["error"]["code"]] if told["type"] == "error" else []

    assert twice["error"]["code"] == "conflict"
    assert (left["type"], again["run_id"]) == ("ok", run_id)
    assert refused == ["conflict"] * 5


def until_type(socket: ClientConnection, id: str, type: str) -> Any:
    while (told := hear(socket, id))["type"] != type:
        pass
    return told


def test_run_of_somebody_else_is_not_told(server: Server) -> None:
    run_id = server.ask(PHISHING)["run_id"]

    with opened(server, "marc") as colleague, opened(server, "gil") as stranger:
        for socket in (colleague, stranger):
            say(socket, "follow", "f", run_id=run_id)
            say(socket, "cancel", "c", run_id=run_id)

            assert [hear(socket, name)["error"]["code"] for name in ("f", "c")] == ["not_found", "not_found"]


@pytest.mark.row("S6", part="draining")
def test_stopping_server_sends_its_clients_back_and_their_runs_stay(fresh: Server) -> None:
    with opened(fresh) as socket:
        say(socket, "ask", "q", message=TICKET)
        told = until(socket, "q", "done")
        process = fresh.process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        code = closed_with(socket)
        took_s = time.monotonic() - began
    assert process.wait(30) == 0
    fresh.stop()
    fresh.start()
    with opened(fresh) as socket:
        say(socket, "follow", "rest", run_id=told[0]["run_id"], after=seqs(told)[-1])
        again = hear(socket, "rest")

    assert (code, again["type"]) == (1012, "started")
    assert took_s < 2
