"""The policy of a folder by command, and changed under a running server."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import EXAMPLE, QUARTERDECK, Server, environment, with_root

CLOSED = "\nrules:\n  - {id: closed, when: {tool: create_ticket_draft}, then: deny}\n"
TICKET = {"title": "Dock", "description": "My dock is dead", "category": "hardware", "priority": "low"}


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*QUARTERDECK, "policy", *words], capture_output=True, text=True, timeout=60, check=False, env=environment()
    )


def told(*words: str) -> Any:
    done = command(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.row("G4", part="policy check")
def test_a_decision_is_explained_with_its_rule_and_the_people_who_must_agree() -> None:
    asked = ("check", str(EXAMPLE), "create_ticket_draft", "--args", json.dumps(TICKET), "--user", "emma")

    untrusted = told(*asked, "--words", "Open a ticket: Dock, My dock is dead, hardware, low")
    private = told(*asked, "--readers", "group:hr")
    nowhere = told("check", str(EXAMPLE), "wipe_disk")

    assert (untrusted["verdict"], untrusted["rule"], untrusted["approvers"]) == (
        "approve",
        "approval.required",
        ["approver"],
    )
    assert (private["rule"], "group:hr" in private["reasons"][0]) == ("readers.sink", True)
    assert (nowhere["verdict"], nowhere["rule"]) == ("deny", "rights.unknown_tool")


@pytest.mark.row("G4", part="policy check")
def test_a_file_that_is_no_policy_is_refused_with_its_lines(tmp_path: Path) -> None:
    folder = with_root(tmp_path / "desk")
    (folder / "policy.yaml").write_text("policy: v1\ntools:\n  create_ticket_draft:\n    risk: 1\n  nothing: {}\n")

    refused = command("check", str(folder))

    assert refused.returncode == 2
    assert "policy.yaml:4: tools.create_ticket_draft.risk" in refused.stderr
    assert "policy.yaml:5: there is no tool 'nothing'" in refused.stderr


@pytest.mark.row("G4", part="policy check")
def test_a_policy_is_told_in_words_and_an_agent_by_the_rule_of_two() -> None:
    (draft,) = told("explain", str(EXAMPLE), "create_ticket_draft")
    linted = told("lint", str(EXAMPLE))

    assert "always with an approval of approver" in draft["says"]
    assert linted["agents"][0]["all_three"]
    assert linted["agents"][0]["verdict"] == "all three, and a person is asked before everything it does"
    assert command("explain", str(EXAMPLE), "nothing").returncode == 4


@pytest.mark.row("G2", part="policy file")
def test_a_level_nobody_can_agree_to_is_told_by_lint_which_then_fails_if_it_is_strict(tmp_path: Path) -> None:
    folder = with_root(tmp_path / "desk")
    people = yaml.safe_load((folder / "users.yaml").read_text())
    people["users"] = [user for user in people["users"] if user["id"] != "gil"]  # the one approver of globex
    people["users"].append({"id": "gus", "name": "Gus", "tenant": "globex", "roles": ["employee"], "key": "generated"})
    (folder / "users.yaml").write_text(yaml.safe_dump(people))

    linted = told("lint", str(folder))

    assert ["globex" in each for each in linted["unheld"]] == [True]
    assert command("lint", str(folder), "--strict").returncode == 1
    assert told("lint", str(EXAMPLE))["unheld"] == []


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = with_root(tmp_path / "desk")
    server = Server(data=tmp_path / "data", folder=folder)
    server.start()
    yield server
    server.stop()


@pytest.mark.row("G4", part="hot swap")
def test_a_changed_policy_holds_for_the_next_call_and_a_wrong_one_changes_nothing(
    server: Server, figure: Callable[[str], None]
) -> None:
    file = server.folder / "policy.yaml"
    before = file.read_text()
    first = server.ask("Please open a ticket because my dock is dead.")

    file.write_text(before + CLOSED)
    began = time.monotonic()
    closed = _until_closed(server)
    took_s = time.monotonic() - began
    file.write_text("policy: v1\ntools: {create_ticket_draft: {risk: 1}}\n")
    while _changes(server, "policy", "refused") < 1:
        assert time.monotonic() < began + 60
        time.sleep(0.05)
    still = _decision(server, server.ask("Please open a ticket because my mouse is dead.")["run_id"])
    rows = server.send("GET", "/api/v1/audit?limit=200", user="root").json

    assert _decision(server, first["run_id"])["rule"] != "closed"
    assert (closed["verdict"], still["verdict"]) == ("deny", "deny")
    assert closed["policy_version"] == still["policy_version"] != _decision(server, first["run_id"])["policy_version"]
    assert [row for row in rows["rows"] if row["action"] == "config" and row["object"] == "policy"]
    assert "policy refused: " in (server.data / "log").read_text()
    figure(f"in force {took_s:.1f} s after it was written (≤ 2); a wrong one is logged and counted")


@pytest.mark.row("S9", part="users file")
def test_somebody_taken_out_is_refused_within_two_seconds_and_a_wrong_file_changes_nothing(
    server: Server, figure: Callable[[str], None]
) -> None:
    file = server.folder / "users.yaml"
    before = file.read_text()
    people = yaml.safe_load(before)
    people["users"] = [user for user in people["users"] if user["id"] != "omar"]

    began = time.monotonic()
    file.write_text(yaml.safe_dump(people))
    while _let_in(server, "omar"):
        assert time.monotonic() < began + 30
        time.sleep(0.02)
    took_s = time.monotonic() - began
    file.write_text("users: [{tenant: acme}]\n")
    while _changes(server, "people", "refused") < 1:
        assert time.monotonic() < began + 60
        time.sleep(0.05)

    assert took_s < 2.0
    assert (_let_in(server, "omar"), _let_in(server, "root")) == (False, True)
    assert _changes(server, "people", "in_force") == 1
    assert "people refused: " in (server.data / "log").read_text()
    figure(f"who was taken out of users.yaml is refused {took_s:.1f} s later (≤ 2); a wrong one is logged and counted")


def _let_in(server: Server, user: str) -> bool:
    return server.send("GET", "/api/v1/runs", user=user).status == 200


def _changes(server: Server, file: str, outcome: str) -> float:
    """How often a file was found changed with that outcome."""
    line = f'quarterdeck_configuration_changes_total{{file="{file}",outcome="{outcome}"}} '
    page = server.send("GET", "/metrics", user="root").body.decode()
    return sum(float(row.removeprefix(line)) for row in page.splitlines() if row.startswith(line))


def _until_closed(server: Server) -> Any:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        decision = _decision(server, server.ask("Please open a ticket because my screen is dead.")["run_id"])
        if decision["rule"] == "closed":
            return decision
    raise AssertionError("the changed policy did not come into force")


def _decision(server: Server, run_id: str) -> Any:
    """The last decision of a run about the ticket."""
    story = server.send("GET", f"/api/v1/runs/{run_id}/story").json
    return [step["told"] for step in story["steps"] if step["kind"] == "policy"][-1]
