"""Keys people make for programs, from the command line, and what is left of them once they are taken back: nothing."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from .conftest import QUARTERDECK, Server, environment, with_root

TICKET = "Please open a ticket because my monitor flickers."


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("keys")
    environ = {"QUARTERDECK_IDENTITY__CHECK_S": "0.2"}
    if request.param == "postgresql":
        environ["DATABASE_URL"] = request.getfixturevalue("_shared_postgres").new_database()
    folder = with_root(home / "desk")
    people = yaml.safe_load((folder / "users.yaml").read_text())
    (root,) = [user for user in people["users"] if user["id"] == "root"]
    root["scopes"].append("tickets.write")
    (folder / "users.yaml").write_text(yaml.safe_dump(people))
    server = Server(home / "data", environ, folder=folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def keys(desk: Server, *words: str, user: str = "root") -> subprocess.CompletedProcess[str]:
    environ = environment(QUARTERDECK_URL=desk.url, QUARTERDECK_KEY=desk.key(user))
    return subprocess.run([*QUARTERDECK, "keys", *words], capture_output=True, text=True, env=environ, timeout=60)


def told(desk: Server, *words: str) -> Any:
    done = keys(desk, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def waiting_run(desk: Server, key: str) -> str:
    """A run of the key's holder that waits for a person, and so has no end by itself."""
    asked = desk.send("POST", "/chat", {"message": TICKET}, headers=bearer(key))
    assert asked.json["drafts"], asked.body
    return str(asked.json["run_id"])


@contextlib.contextmanager
def streamed(desk: Server, path: str, headers: dict[str, str]) -> Iterator[http.client.HTTPResponse]:
    """An event stream that is open while the block lasts."""
    connection = http.client.HTTPConnection("127.0.0.1", desk.port, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers)
        reply = connection.getresponse()
        assert reply.status == 200
        with reply:
            yield reply


@contextlib.contextmanager
def opened(desk: Server, key: str, run_id: str) -> Iterator[ClientConnection]:
    """A connection that follows a run while the block lasts."""
    address = f"ws://127.0.0.1:{desk.port}/api/v1/stream"
    with connect(address, additional_headers=bearer(key), proxy=None) as client:
        client.send(json.dumps({"type": "follow", "id": "a", "run_id": run_id}))
        assert json.loads(client.recv(10))["type"] == "started"
        yield client


def closed(client: ClientConnection) -> int:
    """The code with which the server closes a connection, waited for."""
    with contextlib.suppress(ConnectionClosed):
        for _ in range(100):
            client.recv(15)
    assert client.close_code is not None
    return client.close_code


@pytest.mark.row("S9", part="command line")
def test_key_is_made_used_rotated_and_revoked_from_the_command_line_and_told_once(desk: Server) -> None:
    made = keys(desk, "create", "nightly report", "--scope", "chat")
    (key,) = made.stdout.splitlines()
    key_id = key.split(".")[1]
    used = desk.send("GET", "/api/v1/runs", headers=bearer(key))
    rotated = keys(desk, "rotate", key_id, "--grace-s", "0")
    after = [desk.send("GET", "/api/v1/runs", headers=bearer(each.strip())).status for each in (key, rotated.stdout)]
    listed = told(desk, "list")
    revoked = keys(desk, "revoke", key_id)
    gone = desk.send("GET", "/api/v1/runs", headers=bearer(rotated.stdout.strip()))

    assert (used.status, after, gone.status) == (200, [401, 200], 401)
    assert [row["name"] for row in listed if row["id"] == key_id] == ["nightly report"]
    assert "revoked" in revoked.stdout
    assert key not in made.stderr + rotated.stderr + json.dumps(listed) + revoked.stdout + keys(desk, "list").stdout
    written = b"".join(path.read_bytes() for path in desk.data.rglob("*") if path.is_file())
    assert key.rsplit(".", 1)[1].encode() not in written


@pytest.mark.row("S9", part="command line")
def test_key_with_more_rights_than_its_maker_is_refused(desk: Server) -> None:
    refused = keys(desk, "create", "a", "--scope", "chat", user="emma")
    unknown = keys(desk, "revoke", "0" * 32)

    assert (refused.returncode, unknown.returncode) == (3, 4)
    assert refused.stdout == ""


@pytest.mark.row("S9", part="command line")
def test_the_oldest_key_is_listed_however_many_there_are(desk: Server) -> None:
    body = {"name": "one of many", "scopes": ["chat"]}
    made = [desk.send("POST", "/api/v1/keys", body, user="root").json["id"] for _ in range(201)]

    listed = [row["id"] for row in told(desk, "list")]

    assert listed[:201] == made[::-1]


@pytest.mark.row("S9", part="open streams")
def test_streams_of_a_key_end_and_its_runs_stop_once_it_is_taken_back(desk: Server) -> None:
    made = told(desk, "create", "watching", "--scope", "chat", "--scope", "tickets.write")
    run_id = waiting_run(desk, made["key"])
    token = desk.send("POST", "/api/v1/stream-tokens", headers=bearer(made["key"])).json["token"]
    path = f"/api/v1/runs/{run_id}/events"
    with (
        streamed(desk, path, bearer(made["key"])) as by_key,
        streamed(desk, f"{path}?token={token}", {}) as by_token,
        opened(desk, made["key"], run_id) as socket,
    ):
        told(desk, "revoke", made["id"])
        rests = [by_key.read(), by_token.read()]
        code = closed(socket)
    draft = desk.send("GET", f"/api/v1/approvals?run_id={run_id}", user="omar").json["approvals"][0]["id"]
    desk.send("POST", f"/api/v1/approvals/{draft}/decisions", {"approved": True}, user="omar")
    run = ended(desk, run_id)

    assert all(b"may not act any more" in rest and b"[DONE]" not in rest for rest in rests)
    assert code == 4401
    assert (run["status"], run["error"]["code"]) == ("failed", "forbidden")


@pytest.mark.row("S9", part="open streams")
def test_stream_ends_with_the_key_it_was_opened_with(desk: Server) -> None:
    end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 4))
    made = told(desk, "create", "short", "--scope", "chat", "--scope", "tickets.write", "--expires-at", end)
    run_id = waiting_run(desk, made["key"])

    reading = desk.send("GET", f"/api/v1/runs/{run_id}/events", headers=bearer(made["key"]))

    assert reading.status == 200
    assert b"is over" in reading.body
    assert desk.send("GET", f"/api/v1/runs/{run_id}", user="root").json["status"] == "waiting"


def ended(desk: Server, run_id: str) -> Any:
    ends = time.monotonic() + 15
    while time.monotonic() < ends:
        run = desk.send("GET", f"/api/v1/runs/{run_id}", user="root").json
        if run["status"] in ("failed", "done"):
            return run
        time.sleep(0.05)
    raise AssertionError(run)
