"""Webhooks of a running server: signed, retried, not lost when the server is killed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import EXAMPLE, QUARTERDECK, Server, environment

SECRET = b"the key of a receiver, 32 bytes."


@dataclass
class Received:
    """One request as the receiver saw it."""

    headers: dict[str, str]
    body: bytes

    @property
    def genuine(self) -> bool:
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + self.body
        expected = "v1," + base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
        return expected in self.headers["webhook-signature"].split(" ")


@dataclass
class Receiver:
    """A receiver that answers with these statuses in turn, then with 204."""

    url: str
    answers: list[int] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    more: threading.Condition = field(default_factory=threading.Condition)

    def take(self, request: Received) -> int:
        with self.more:
            self.received.append(request)
            self.more.notify_all()
            return self.answers.pop(0) if self.answers else 204

    def wait(self, count: int, timeout_s: float = 20.0) -> list[Received]:
        with self.more:
            assert self.more.wait_for(lambda: len(self.received) >= count, timeout_s), self.received
            return list(self.received)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = found.take(Received({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Receiver(f"http://127.0.0.1:{server.server_port}/hook")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield found
    server.shutdown()
    thread.join(5)
    server.server_close()


@pytest.fixture
def hooked(tmp_path: Path, receiver: Receiver) -> Iterator[Server]:
    """The example with a webhook; its secret comes from the environment."""
    folder = tmp_path / "desk"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".quarterdeck", "__pycache__"))
    path = folder / "quarterdeck.yaml"
    settings = yaml.safe_load(path.read_text()) or {}
    settings["webhooks"] = {"crm": {"url": receiver.url, "events": ["run_finished", "approval_needed"]}}
    settings["deliveries"] = {"retry_base_s": 0.05, "timeout_s": 2.0}
    path.write_text(yaml.safe_dump(settings))
    secret = "whsec_" + base64.b64encode(SECRET).decode()
    server = Server(data=tmp_path / "data", folder=folder, environ={"QUARTERDECK_WEBHOOKS__CRM__SECRET": secret})
    yield server
    server.stop(signal.SIGKILL)


@pytest.mark.row("S15", part="webhook")
def test_receiver_that_fails_twice_gets_one_event_id_with_a_valid_signature(hooked: Server, receiver: Receiver) -> None:
    receiver.answers = [500, 503]
    hooked.start()

    hooked.ask("How long is a VPN session?", user="emma")
    received = receiver.wait(3)

    assert len({request.headers["webhook-id"] for request in received}) == 1
    assert len({request.body for request in received}) == 1
    assert all(request.genuine for request in received)
    told = json.loads(received[-1].body)
    assert (told["type"], told["data"]["status"]) == ("run_finished", "done")
    assert set(told["data"]) == {
        "run_id",
        "agent",
        "session_id",
        "status",
        "stop_reason",
        "confidence",
        "needs_human_review",
    }


def run(server: Server, *words: str) -> Any:
    """What a command prints for machines."""
    where = {"QUARTERDECK_URL": server.url, "QUARTERDECK_KEY": server.key("ines")}
    done = subprocess.run(
        [*QUARTERDECK, "webhooks", *words, "--json"], env=environment(**where), capture_output=True, timeout=30, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.row("S15", part="dead letters")
def test_receiver_that_wants_no_more_is_left_alone_until_a_person_says_otherwise(hooked: Server, receiver: Receiver) -> None:
    receiver.answers = [410]
    hooked.start()
    hooked.ask("How long is a VPN session?", user="emma")
    (lost,) = receiver.wait(1)
    tries = (run(hooked, "deliveries") for _ in range(50))  # the answer is being written down
    dead = next(found for found in tries if found)
    disabled = run(hooked, "list")
    hooked.ask("How long is a VPN session?", user="emma")

    enabled = run(hooked, "enable", "crm")
    sent = run(hooked, "retry", "--all")
    again = receiver.wait(2)[1]
    tested = run(hooked, "test", "crm")

    assert [(row["notice_id"], row["error"][:30]) for row in dead] == [
        (lost.headers["webhook-id"], "the receiver answered 410: it ")
    ]
    assert [(row["id"], row["status"]) for row in disabled] == [("crm", "disabled")]
    assert (enabled["status"], len(sent), tested["verdict"]) == ("active", 1, "delivered")
    assert again.headers["webhook-id"] == lost.headers["webhook-id"]
    assert again.genuine


@pytest.mark.row("S12", part="everything made")
def test_key_of_a_session_is_known_after_a_restart(hooked: Server) -> None:
    hooked.start()
    key = {"Idempotency-Key": "k1"}
    first = hooked.send("POST", "/api/v1/session/", {"context": {"a": 1}}, user="emma", headers=key)
    hooked.stop(signal.SIGKILL)

    hooked.start()
    again = hooked.send("POST", "/api/v1/session/", {"context": {"a": 1}}, user="emma", headers=key)
    other = hooked.send("POST", "/api/v1/session/", {"context": {"a": 2}}, user="emma", headers=key)

    assert (again.status, again.body) == (first.status, first.body) == (201, first.body)
    assert (other.status, other.json["error"]["code"]) == (422, "key_reused")


@pytest.mark.row("S15", part="kill -9")
def test_event_whose_server_was_killed_before_it_was_told_is_told_by_the_next(hooked: Server, receiver: Receiver) -> None:
    hooked.environ["QUARTERDECK_DELIVERIES__RETRY_BASE_S"] = "1"
    receiver.answers = [500]
    hooked.start()
    hooked.ask("How long is a VPN session?", user="emma")
    first = receiver.wait(1)[0]
    hooked.stop(signal.SIGKILL)

    hooked.start()
    again = receiver.wait(2, timeout_s=60)[1]

    assert again.headers["webhook-id"] == first.headers["webhook-id"]
    assert again.body == first.body
    assert again.genuine
