from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from .conftest import EXAMPLE, QUARTERDECK, Server, environment


@pytest.fixture
def fresh(tmp_path: Path) -> Any:
    server = Server(tmp_path / "data")
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.row("L2", part="kill between draft and approval")
def test_draft_survives_kill_9_and_is_executed_once_when_approved_afterwards(fresh: Server) -> None:
    asked = fresh.ask("Please open a ticket because my laptop does not charge.")
    (draft_id,) = asked["drafts"]

    fresh.stop(signal.SIGKILL)
    fresh.start()
    before = fresh.send("GET", f"/api/v1/runs/{asked['run_id']}").json
    decided = fresh.send("POST", f"/api/v1/approvals/{draft_id}/decisions", {"approved": True}, user="omar")
    run = fresh.ended(asked["run_id"])

    assert fresh.told["new_keys"] == {}
    assert before["stop_reason"] == "awaiting_approval"
    assert decided.status == 200
    assert run["status"] == "done"
    connection = sqlite3.connect(fresh.data / "tickets.sqlite3")
    title = decided.json["args"]["title"]
    assert connection.execute("SELECT count(*) FROM tickets WHERE title = ?", (title,)).fetchone() == (1,)
    connection.close()


def test_draft_is_executed_after_kill_9_that_follows_its_approval_at_once(fresh: Server) -> None:
    asked = fresh.ask("Please open a ticket because my laptop does not charge.")
    decided = fresh.send("POST", f"/api/v1/approvals/{asked['drafts'][0]}/decisions", {"approved": True}, user="omar")

    fresh.stop(signal.SIGKILL)
    fresh.start()
    run = fresh.ended(asked["run_id"])

    assert decided.status == 200
    assert (run["status"], [call["success"] for call in run["tool_calls_made"]]) == ("done", [True])
    connection = sqlite3.connect(fresh.data / "tickets.sqlite3")
    title = decided.json["args"]["title"]
    assert connection.execute("SELECT count(*) FROM tickets WHERE title = ?", (title,)).fetchone() == (1,)
    connection.close()


@pytest.mark.row("S13", part="SIGTERM under load")
def test_stop_under_load_is_announced_loses_nothing_and_ends_with_success(fresh: Server) -> None:
    answered: list[str] = []
    failed: list[Any] = []
    stopping = threading.Event()

    def load() -> None:
        while not stopping.is_set():
            try:
                answered.append(fresh.ask("How do I report phishing?")["run_id"])
            except AssertionError as error:
                failed.append(error)
            except OSError:  # the port is closed: only after the stop was asked for
                if not stopping.wait(0.01):
                    failed.append("refused before the stop") if fresh.process is not None else None
                return

    stream = fresh.connect()
    waiting = fresh.ask("Please open a ticket because my laptop does not charge.")["run_id"]
    stream.request("GET", f"/api/v1/runs/{waiting}/events")
    reply = stream.getresponse()
    kept = fresh.connect()
    kept.request("GET", "/ready")
    assert kept.getresponse().read()
    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(answered) < 8:
        time.sleep(0.01)

    process, fresh.process = fresh.process, None
    assert process is not None
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    body = reply.read()  # the stream is ended by the server
    kept.request("GET", "/ready")
    ready = kept.getresponse()
    ready_body = ready.read()
    code = process.wait(30)
    took_s = time.monotonic() - began
    stopping.set()
    for thread in threads:
        thread.join()
    kept.close()
    stream.close()
    assert process.stdout is not None
    process.stdout.close()

    assert b"[DONE]" not in body
    assert (ready.status, b"stopping" in ready_body) == (503, True)
    assert code == 0
    assert took_s < 30
    assert failed == []
    fresh.start()
    for run_id in answered:
        assert fresh.send("GET", f"/api/v1/runs/{run_id}").json["status"] == "done"
    assert fresh.send("GET", f"/api/v1/runs/{waiting}").json["status"] == "waiting"


def test_second_server_on_the_same_data_is_refused(fresh: Server) -> None:
    second = subprocess.run(
        [*QUARTERDECK, "serve", str(EXAMPLE), "--port", "0", "--data", str(fresh.data)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=30,
    )

    assert second.returncode == 2
    assert "in use by another server" in second.stderr


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"ENV": "production"}, "needs a key: set OPENAI_API_KEY"),
        ({"LLM_MODE": "remote"}, "needs a key: set OPENAI_API_KEY"),
        ({"LLM_MODE": "nearby"}, "LLM_MODE: models.mode"),
        ({"QUARTERDECK_SERVER__COLOUR": "red"}, "QUARTERDECK_SERVER__COLOUR: server.colour: unknown key"),
        ({"DATABASE_URL": "oracle://host/db"}, "there is no store 'oracle'"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_wrong_setting_is_told_in_one_line_at_start(tmp_path: Path, environ: dict[str, str], said: str) -> None:
    started = subprocess.run(
        [*QUARTERDECK, "serve", str(EXAMPLE), "--port", "0", "--data", str(tmp_path / "data")],
        capture_output=True,
        text=True,
        env=environment(**environ),
        timeout=30,
    )

    assert started.returncode == 2
    assert said in started.stderr
    assert "Traceback" not in started.stderr


def test_connection_that_sends_its_head_or_body_slowly_is_closed_in_time(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", {"QUARTERDECK_SERVER__BODY_TIMEOUT_S": "0.3"})
    server.start()
    try:
        head = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        head.sendall(b"POST /chat HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow")
        body = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        body.sendall(
            b"POST /chat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
        )

        answers = [_everything(connection) for connection in (head, body)]
        alive = server.send("GET", "/health").status
    finally:
        server.stop()

    assert answers[0].startswith(b"HTTP/1.1 408 ")
    assert answers[1].startswith(b"HTTP/1.1 408 ")
    assert b"request_timeout" in answers[1]
    assert alive == 200


def test_idle_connections_beyond_the_usual_limit_of_open_files_keep_nobody_out(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    try:
        server.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        with contextlib.ExitStack() as idle:
            for _ in range(200):
                idle.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            alive = server.send("GET", "/health").status
    finally:
        server.stop()

    assert alive == 200


def _everything(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    with connection:
        pieces = []
        while piece := connection.recv(65_536):
            pieces.append(piece)
        return b"".join(pieces)


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["words", "json"])
def test_server_whose_first_words_nobody_reads_serves_all_the_same(tmp_path: Path, options: tuple[str, ...]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*QUARTERDECK, "serve", str(EXAMPLE), "--port", str(port), "--data", str(tmp_path), *options]
    reader, writer = os.pipe()
    os.close(reader)
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=writer, stderr=log, env=environment())
    os.close(writer)
    try:
        until = time.monotonic() + 60
        while server.poll() is None and not _serves(port) and time.monotonic() < until:
            time.sleep(0.1)
        served = _serves(port)
    finally:
        server.terminate()
        ended = server.wait(30)

    assert served, (tmp_path / "log").read_text()
    assert ended == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


def _serves(port: int) -> bool:
    try:
        return bool(urlopen(f"http://127.0.0.1:{port}/health", timeout=5).status == 200)
    except OSError:
        return False


def test_port_that_is_taken_is_told_in_one_line(fresh: Server, tmp_path: Path) -> None:
    second = subprocess.run(
        [*QUARTERDECK, "serve", str(EXAMPLE), "--port", str(fresh.port), "--data", str(tmp_path / "other")],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=30,
    )

    assert second.returncode == 2
    assert f"cannot listen on 127.0.0.1:{fresh.port}" in second.stderr.splitlines()[-1]
    assert "Traceback" not in second.stderr


@pytest.mark.row("S1", part="keys outside development")
def test_outside_development_every_caller_needs_a_key(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", {"ENV": "staging"})
    server.start()
    try:
        without = server.send("POST", "/chat", {"message": "hi"})
        with_key = server.send("POST", "/chat", {"message": "How do I report phishing?"}, user="emma")
    finally:
        server.stop()

    assert (without.status, with_key.status) == (401, 200)
