"""Approvals of a served folder: on the terms its policy writes, by command and over HTTP."""

from __future__ import annotations

import json
import queue
import socketserver
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from .beside import beside
from .conftest import QUARTERDECK, Server, environment, with_root

# The example's tools, of which one can be taken back.
TOOLS = """
from dataclasses import replace

import desk_tools

from quarterdeck import tool


def build_tools(data):
    closed = data / "closed"

    @tool(effect="write")
    def close_ticket(ticket_id: str) -> str:
        closed.open("a").write(ticket_id + "\\n")
        return f"{ticket_id} is closed"

    undone = {"create_ticket_draft": "close_ticket"}
    return [*(replace(each, undo=undone.get(each.name, "")) for each in desk_tools.build_tools(data)), close_ticket]
"""
TERMS = "approvals: {by: [approver], quorum: 2, four_eyes: true, reason: required}"


class _Letters(socketserver.StreamRequestHandler):
    """Takes in any mail."""

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        for line in self.rfile:
            self.wfile.write(b"354 go on\r\n" if line.upper().startswith(b"DATA") else b"250 fine\r\n")
            if line.upper().startswith(b"DATA"):
                letter = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.letters.put(letter.decode())  # type: ignore[attr-defined]  # the fixture gives it to its server
                self.wfile.write(b"250 kept\r\n")


@pytest.fixture(scope="module")
def letters() -> Iterator[Any]:
    """A mail server: its port is `server_address[1]`, its mails are in `letters`."""
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Letters)
    server.daemon_threads = True
    server.letters = queue.Queue()  # type: ignore[attr-defined]  # for its handler and the test
    with beside(server):
        yield server


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory, letters: Any) -> Iterator[Server]:
    """The example, where two approvers must agree and say why; `root` and `omar` are, and `lea` may decide for others."""
    folder = with_root(tmp_path_factory.mktemp("office") / "desk")
    policy = (folder / "policy.yaml").read_text()
    assert "approvals: [approver]" in policy
    (folder / "policy.yaml").write_text(policy.replace("approvals: [approver]", TERMS))
    (folder / "tools.py").rename(folder / "desk_tools.py")
    (folder / "tools.py").write_text(TOOLS)
    people = yaml.safe_load((folder / "users.yaml").read_text())
    people["users"].append({"id": "lea", "tenant": "acme", "scopes": ["approvals"], "key": "generated"})
    (folder / "users.yaml").write_text(yaml.safe_dump(people))
    settings = yaml.safe_load((folder / "quarterdeck.yaml").read_text())
    box = {"approver": "approver", "address": "desk@acme.example", "tenant": "acme"}
    settings["mail"] = {
        "host": "127.0.0.1",
        "port": letters.server_address[1],
        "security": "none",
        "sender": "quarterdeck@acme.example",
        "mailboxes": [box],
    }
    (folder / "quarterdeck.yaml").write_text(yaml.safe_dump(settings))
    server = Server(tmp_path_factory.mktemp("data"), folder=folder)
    server.start()
    yield server
    server.stop()


def command(server: Server, user: str, *words: str) -> Any:
    environ = environment(QUARTERDECK_URL=server.url, QUARTERDECK_KEY=server.key(user))
    done = subprocess.run(
        [*QUARTERDECK, "approvals", *words, "--json"], capture_output=True, text=True, env=environ, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.row("G2", part="served")
def test_two_people_agree_with_reasons_one_of_them_in_anothers_place(office: Server) -> None:
    asked = office.ask("Please open a ticket because my monitor flickers.", user="emma")
    (draft,) = asked["drafts"]
    bare = office.send("POST", f"/api/v1/approvals/{draft}/decisions", {"approved": True}, user="omar")
    stranger = office.send("GET", f"/api/v1/approvals/{draft}", user="lea")

    first = command(office, "omar", "approve", draft, "--reason", "it is broken")
    tomorrow = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M}"
    given = command(office, "root", "delegate", "lea", "--until", tomorrow, "--reason", "away")
    listed = command(office, "lea", "delegations")
    last = command(office, "lea", "approve", draft, "--reason", "for root")
    run = office.ended(asked["run_id"])

    assert (bare.status, stranger.status) == (422, 404)
    assert (first["status"], first["quorum"], [each["by"] for each in first["consents"]]) == ("waiting", 2, ["omar"])
    assert [each["id"] for each in listed] == [given["id"]]
    assert (last["status"], last["consents"][1]["on_behalf_of"]) == ("approved", "root")
    assert run["status"] == "done"
    assert run["tool_calls_made"][0]["success"]


@pytest.mark.row("G3", part="undo")
def test_what_a_draft_did_is_taken_back_by_command_when_somebody_agrees_to_that_too(office: Server) -> None:
    (draft,) = office.ask("Please open a ticket because my trackball squeaks.", user="emma")["drafts"]
    early = office.send("POST", f"/api/v1/approvals/{draft}/undo", {}, user="omar")
    for person in ("omar", "root"):
        command(office, person, "approve", draft, "--reason", "yes")
    office.ended(office.send("GET", f"/api/v1/approvals/{draft}", user="omar").json["run_id"])

    run = command(office, "omar", "undo", draft, "--reason", "it was a joke")
    listed = office.send("GET", "/api/v1/approvals?status=waiting", user="root").json["approvals"]
    (undo,) = [each for each in listed if each["run_id"] == run["run_id"]]
    command(office, "root", "approve", undo["id"])
    office.send("GET", f"/api/v1/runs/{run['run_id']}/events", user="omar")  # to its end
    again = command(office, "omar", "undo", draft)
    story = office.send("GET", f"/api/v1/runs/{run['run_id']}/story", user="omar")

    assert (early.status, story.status) == (409, 200)
    assert (undo["tool"], undo["requested_by"], undo["integrity"]) == ("close_ticket", "omar", "untrusted")
    assert again["run_id"] == run["run_id"]
    assert (office.data / "closed").read_text().split() == [undo["args"]["ticket_id"]]


@pytest.mark.row("G2", part="batch")
def test_equal_drafts_are_decided_at_once_and_each_says_what_became_of_it(office: Server) -> None:
    drafts = [
        office.ask(f"Please open a ticket because my {thing} is broken.", user="emma")["drafts"][0]
        for thing in ("dock", "mouse")
    ]

    outcomes = command(office, "omar", "reject", *drafts, "f" * 32, "--reason", "call the desk")

    assert [each["status"] for each in outcomes] == ["rejected", "rejected", None]
    assert outcomes[2]["error"]["code"] == "not_found"


@pytest.mark.row("G2", part="mail")
def test_those_who_may_decide_get_a_mail_that_names_the_draft(office: Server, letters: Any) -> None:
    (draft,) = office.ask("Please open a ticket because my headset crackles.", user="emma")["drafts"]

    letter = letters.letters.get(timeout=20)
    while draft not in letter:  # those of the other tests come first
        letter = letters.letters.get(timeout=20)

    assert "To: desk@acme.example" in letter
    assert "headset" not in letter
