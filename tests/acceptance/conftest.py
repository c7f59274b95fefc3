"""A server as users start it: a process of its own, on a free port, with a data folder of its own."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from quarterdeck.service.access import SCOPES

EXAMPLE = Path(__file__).parents[2] / "examples" / "support_desk"
QUARTERDECK = [sys.executable, "-c", "from quarterdeck.cli import main; main()"]


def with_root(folder: Path) -> Path:
    """A copy of the example in which `root` of acme may do everything."""
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("data", ".quarterdeck", "__pycache__"))
    people = yaml.safe_load((folder / "users.yaml").read_text())
    everything = {"id": "root", "name": "Root", "tenant": "acme", "groups": ["everyone"], "key": "generated"}
    people["users"].append(everything | {"scopes": list(SCOPES), "roles": ["approver"]})
    (folder / "users.yaml").write_text(yaml.safe_dump(people))
    return folder


def environment(**more: str) -> dict[str, str]:
    """No key, no proxy, no setting of the machine the tests run on."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, **more}


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """One `quarterdeck serve`; it can be killed and started again over the same data."""

    data: Path
    environ: dict[str, str] = field(default_factory=dict)
    url: str = ""
    port: int = 0
    told: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    folder: Path = EXAMPLE

    def start(self) -> None:
        command = [*QUARTERDECK, "serve", str(self.folder), "--port", "0", "--data", str(self.data), "--json"]
        self.data.mkdir(parents=True, exist_ok=True)
        with (self.data / "log").open("a") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment(**self.environ)
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, (self.data / "log").read_text()
        self.told = json.loads(line)
        self.url = self.told["url"]
        self.port = int(self.url.rsplit(":", 1)[1])

    def stop(self, how: int = signal.SIGTERM) -> int:
        if self.process is None:
            return 0
        process, self.process = self.process, None
        process.send_signal(how)
        try:
            return process.wait(30)
        finally:
            assert process.stdout is not None
            process.stdout.close()

    def key(self, user: str) -> str:
        keys = dict(line.split() for line in (self.data / "keys").read_text().splitlines())
        return str(keys[user])

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def send(
        self, method: str, path: str, body: Any = None, *, user: str | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own; without a user, without a key."""
        sent = dict(headers or {})
        if body is not None:
            sent["Content-Type"] = "application/json"
        if user is not None:
            sent["Authorization"] = f"Bearer {self.key(user)}"
        connection = self.connect()
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, sent)
            reply = connection.getresponse()
            return Answer(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())
        finally:
            connection.close()

    def ask(self, message: str, *, user: str | None = None, **more: Any) -> Any:
        answer = self.send("POST", "/chat", {"message": message, **more}, user=user)
        assert answer.status == 200, answer.body
        return answer.json

    def ended(self, run_id: str) -> Any:
        """The run once it has ended: read through its event stream, which closes then."""
        assert self.send("GET", f"/api/v1/runs/{run_id}/events").body.endswith(b"data: [DONE]\n\n")
        return self.send("GET", f"/api/v1/runs/{run_id}").json

    def logged(self, request_id: str) -> dict[str, Any]:
        """The log line of a request. It is written once the answer is out, so perhaps a moment after it was read."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            lines = [
                json.loads(line) for line in (self.data / "log").read_text().splitlines(keepends=True) if line[-1] == "\n"
            ]
            found = [line for line in lines if line.get("request_id") == request_id]
            if found:
                return found[0]
            time.sleep(0.01)
        raise AssertionError(f"no line with {request_id}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("served") / "data")
    started.start()
    try:
        yield started
    finally:
        started.stop()
