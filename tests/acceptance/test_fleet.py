"""The whole topology as `make fleet` starts it, small: two replicas, one worker, nginx, Postgres, Redis."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from deploy.record import Part, Record

from .conftest import Answer, environment

ROOT = Path(__file__).parents[2]
FLEET = [sys.executable, "-m", "deploy.fleet"]
KNOWN = "How do I report phishing?"
WRITE = "Please open a ticket because my laptop does not charge."


@dataclass
class Fleet:
    """A running fleet, as somebody sees it who reads its record and calls its address."""

    process: subprocess.Popen[str]
    home: Path
    url: str
    keys: Path

    @property
    def record(self) -> Record:
        record = Record.read(self.home)
        assert record is not None
        return record

    def part(self, name: str) -> Part:
        return self.record.part(name)

    def key(self, user: str) -> str:
        return dict(line.split() for line in self.keys.read_text().splitlines())[user]

    def open(
        self, method: str, path: str, body: Any = None, *, user: str | None = "emma", at: str | None = None, **headers: str
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Send a request through nginx, or to the replica named by `at`, and read the head of its answer."""
        url = self.part(at).url if at is not None else self.url
        connection = http.client.HTTPConnection(urlsplit(str(url)).netloc, timeout=60)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if user is not None:
            sent["Authorization"] = f"Bearer {self.key(user)}"
        if body is not None:
            sent["Content-Type"] = "application/json"
        connection.request(method, path, json.dumps(body) if body is not None else None, sent)
        return connection, connection.getresponse()

    def send(self, method: str, path: str, body: Any = None, **how: Any) -> Answer:
        connection, reply = self.open(method, path, body, **how)
        try:
            return Answer(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())
        finally:
            connection.close()

    def restart(self, *names: str) -> None:
        command = [*FLEET, "--home", str(self.home), "restart", *names]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def _programs() -> None:
    for program, package in {"nginx": "nginx-light", "redis-server": "redis-server"}.items():
        if shutil.which(program, path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") is None:
            pytest.skip(f"{program} is not installed: apt-get install {package}")


@pytest.fixture(scope="module")
def fleet(_programs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running(tmp_path_factory.mktemp("fleet"), replicas=2) as started:
        yield started


@contextmanager
def running(home: Path, *, replicas: int) -> Iterator[Fleet]:
    command = [*FLEET, "--home", str(home), "--port", "0", "--replicas", str(replicas), "--workers", "1", "--json"]
    with (home / "said").open("w") as said:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=said, text=True, start_new_session=True
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        assert line, (home / "said").read_text()
        told = json.loads(line)
        yield Fleet(process, home, told["url"], Path(told["keys_file"]))
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


@pytest.mark.row("P1", part="processes")
def test_question_through_nginx_is_answered_and_every_caller_needs_a_key(fleet: Fleet) -> None:
    answered = fleet.send("POST", "/chat", {"message": KNOWN})
    without = fleet.send("POST", "/chat", {"message": KNOWN}, user=None)
    ready = fleet.send("GET", "/ready", user=None)

    assert (answered.status, answered.json["sources"] != []) == (200, True)
    assert (without.status, ready.status, ready.json["checks"]["worker"]) == (401, 200, "ok")


@pytest.mark.row("L2", part="another replica")
def test_draft_is_approved_through_another_replica_than_it_was_asked_at(fleet: Fleet) -> None:
    asked = fleet.send("POST", "/chat", {"message": WRITE}, at="api-1").json
    (draft,) = asked["drafts"]

    decided = fleet.send("POST", f"/api/v1/approvals/{draft}/decisions", {"approved": True}, user="omar", at="api-2")
    ended = fleet.send("GET", f"/api/v1/runs/{asked['run_id']}/events")
    run = fleet.send("GET", f"/api/v1/runs/{asked['run_id']}", at="api-1").json

    assert (decided.status, run["status"]) == (200, "done")
    assert ended.body.endswith(b"data: [DONE]\n\n")
    assert _tickets(fleet, decided.json["args"]["title"]) == 1


@pytest.mark.row("K10", part="fleet")
def test_document_brought_in_at_one_replica_is_found_and_closed_at_all_of_them(fleet: Fleet) -> None:
    said = "The canteen of the Lisbon office opens at half past eleven."
    upload = {"name": "lisbon.md", "text": f"# Lisbon canteen\n\n{said}\n", "groups": ["everyone"]}
    search = {"query": "When does the Lisbon canteen open?"}

    begun = fleet.send("POST", "/api/v1/documents", upload, user="omar", at="api-1")
    fleet.send("GET", f"/api/v1/runs/{begun.json['run_id']}/events", user="omar", at="api-2")  # to its end
    found = [fleet.send("POST", "/api/v1/search", search, at=at).json["passages"] for at in ("api-1", "api-2")]
    doc_id = begun.json["documents"][0]["id"]
    gone = fleet.send("DELETE", f"/api/v1/documents/{doc_id}", user="omar", at="api-2")
    left = [fleet.send("POST", "/api/v1/search", search, at=at).json["passages"] for at in ("api-1", "api-2")]

    assert begun.status == 202, begun.body
    assert [passages[0]["content"].splitlines()[-1] for passages in found] == [said, said]
    assert gone.status == 204
    assert all(passage["document"] != doc_id for passages in left for passage in passages)


@pytest.mark.row("S3", part="fleet")
def test_stream_that_a_stopping_replica_cuts_goes_on_at_another_one(fleet: Fleet) -> None:
    asked = fleet.send("POST", "/chat", {"message": WRITE}).json
    path = f"/api/v1/runs/{asked['run_id']}/events"
    connection, stream = fleet.open("GET", path)

    fleet.restart("api-1", "api-2")
    first = stream.read()
    connection.close()
    stored = _stored(first)
    decided = fleet.send("POST", f"/api/v1/approvals/{asked['drafts'][0]}/decisions", {"approved": True}, user="omar")
    rest = fleet.send("GET", path, Last_Event_ID=_id(stored[-1])).body
    whole = fleet.send("GET", path).body

    assert decided.status == 200
    assert b"[DONE]" not in first
    assert rest.endswith(b"data: [DONE]\n\n")
    assert stored + _stored(rest) == _stored(whole)


@pytest.mark.row("S12", part="rolling restart")
@pytest.mark.row("P1", part="rolling restart")
def test_rolling_restart_under_load_fails_no_request(fleet: Fleet) -> None:
    restarted = threading.Event()
    before = {part.name: part.identity for part in fleet.record.parts}

    def client(_: int) -> list[tuple[str, int, str]]:
        seen = []
        while not restarted.is_set():
            key = uuid.uuid4().hex
            answer = fleet.send("POST", "/chat", {"message": KNOWN}, Idempotency_Key=key)
            seen.append((key, answer.status, answer.json.get("run_id", answer.body.decode())))
        return seen

    with ThreadPoolExecutor(10) as pool:
        clients = [pool.submit(client, number) for number in range(10)]
        try:
            fleet.restart()
        finally:
            restarted.set()
        seen = [request for client in clients for request in client.result()]
    after = {part.name: part.identity for part in fleet.record.parts}
    key, _, run_id = seen[0]
    repeated = fleet.send("POST", "/chat", {"message": KNOWN}, Idempotency_Key=key).json

    assert {name for name in before if before[name] != after[name]} == {"api-1", "api-2", "worker-1"}
    assert [request for request in seen if request[1] != 200] == []
    assert len({run_id for *_, run_id in seen}) == len(seen) >= 10
    assert repeated["run_id"] == run_id


def test_part_that_is_killed_comes_back(fleet: Fleet) -> None:
    worker = fleet.part("worker-1").identity
    assert worker is not None

    psutil.Process(worker.pid).kill()
    answered = fleet.send("POST", "/chat", {"message": KNOWN})

    assert answered.status == 200
    assert fleet.part("worker-1").identity != worker


def test_second_fleet_in_the_same_place_is_refused(fleet: Fleet) -> None:
    second = subprocess.run(
        [*FLEET, "--home", str(fleet.home), "--port", "0"], cwd=ROOT, capture_output=True, text=True, timeout=30
    )

    assert second.returncode == 1
    assert f"a fleet is running at {fleet.url}" in second.stderr


@pytest.mark.usefixtures("_programs")
def test_fleet_whose_parts_do_not_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "quarterdeck.yaml").write_text("colour: red\n")
    command = [*FLEET, "--home", str(tmp_path), "--port", "0", "--folder", str(folder)]

    failed = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60)

    assert failed.returncode == 1
    assert "ended with 2; the last lines of" in failed.stderr
    assert "colour: unknown key" in failed.stderr
    assert Record.read(tmp_path) is None


@pytest.mark.usefixtures("_programs")
@pytest.mark.row("P1", part="clean stop")
def test_stopped_fleet_leaves_no_process_and_no_data(tmp_path: Path) -> None:
    with running(tmp_path, replicas=1) as fleet:
        record = fleet.record
        parts = [part.identity.process() for part in record.parts if part.identity]
        processes = [each for part in parts if part is not None for each in (part, *part.children(recursive=True))]

        fleet.process.send_signal(signal.SIGINT)
        code = fleet.process.wait(60)

    assert code == 0, (tmp_path / "said").read_text()
    assert len(processes) > 5
    assert [process for process in processes if process.is_running()] == []
    assert not record.data.exists()
    assert Record.read(tmp_path) is None


def _tickets(fleet: Fleet, title: str) -> int:
    connection = sqlite3.connect(fleet.keys.parent / "tickets.sqlite3")
    try:
        return int(connection.execute("SELECT count(*) FROM tickets WHERE title = ?", (title,)).fetchone()[0])
    finally:
        connection.close()


def _stored(stream: bytes) -> list[bytes]:
    """The frames of stored events, whole ones only."""
    return [frame for frame in stream.split(b"\n\n")[:-1] if frame.startswith(b"id: ")]


def _id(frame: bytes) -> str:
    return frame.split(b"\n")[0].removeprefix(b"id: ").decode()
