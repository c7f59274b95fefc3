"""Each command against a running server or a folder, as a machine calls it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from quarterdeck.cli.main import app
from quarterdeck.cli.reference import commands

from .conftest import EXAMPLE, Server

# They serve until they are stopped, or are a page of tests by themselves.
ELSEWHERE = {
    "serve",
    "worker",
    "simulate",
    "eval",
    "chat",
    "audit",
    "privacy",
    "access",
    "policy",
    "webhooks",
    "costs",
    "keys",
}
# Their documents are read where the folders are that have what they need.
OTHER_FOLDERS = {("approvals", word) for word in ("delegate", "delegations", "revoke", "endorse", "undo")}


class Machine:
    """Calls commands, remembers which."""

    def __init__(self, server: Server) -> None:
        self._keys = {"QUARTERDECK_URL": server.url, "QUARTERDECK_KEY": ""}
        self._server = server
        self.called: set[tuple[str, ...]] = set()

    def __call__(self, *words: str, user: str = "emma", code: int = 0) -> Any:
        self.called |= {known for known in commands() if words[: len(known)] == known}
        environ = {"QUARTERDECK_URL": self._server.url, "QUARTERDECK_KEY": self._server.key(user)}
        done = CliRunner().invoke(app, [*words, "--json"], env=environ)
        assert done.exit_code == code, done.output
        return json.loads(done.stdout)


@pytest.mark.row("D4", part="json")
def test_every_command_gives_one_json_document(server: Server, tmp_path: Path) -> None:
    call, data = Machine(server), str(tmp_path / "data")
    asked = [server.ask(f"Please open a ticket because my lamp {number} is broken.") for number in range(3)]
    runs, drafts = [one["run_id"] for one in asked], [one["drafts"][0] for one in asked]

    assert call("runs", "list", user="omar")
    assert call("runs", "show", runs[0])["steps"]
    assert call("runs", "dead", user="omar") == []
    assert call("runs", "steer", runs[0], "Be quick.")["run_id"] == runs[0]
    assert call("runs", "pause", runs[1])["run_id"] == runs[1]
    assert call("runs", "resume", runs[1])["run_id"] == runs[1]
    assert call("runs", "fork", runs[0], "--at", "1")["run_id"] != runs[0]
    assert call("runs", "export", runs[0])["uri"]
    assert call("runs", "cancel", runs[2])["run_id"] == runs[2]
    assert call("approvals", "list", user="omar")
    assert call("approvals", "show", drafts[0], user="omar")["id"] == drafts[0]
    assert call("approvals", "approve", drafts[0], user="omar")["status"] == "approved"
    assert call("approvals", "reject", drafts[1], user="omar")["status"] == "rejected"
    assert call("approvals", "doubt", user="omar") == []
    assert call("migrate", str(EXAMPLE), "--data", data)["status"] == "current"
    assert call("ingest", str(EXAMPLE), "--data", data)[0]["added"]
    assert call("config", str(EXAMPLE), "--data", data)["settings"]
    assert call("doctor", str(EXAMPLE), "--data", data, "--offline")["ok"] is True
    refused = CliRunner().invoke(app, ["runs", "retry", runs[0], "--json", "--url", server.url])

    assert refused.exception is not None  # it did not fail, so there is nothing to try again
    untried = {words for words in commands() if words[0] not in ELSEWHERE} - call.called
    assert untried - OTHER_FOLDERS == {("runs", "retry")}
