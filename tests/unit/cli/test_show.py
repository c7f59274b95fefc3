"""What is shown on a terminal of texts that others wrote."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from quarterdeck.cli.ingest import _progress
from quarterdeck.cli.main import app, main
from quarterdeck.cli.show import console, indented, plain
from tests.acceptance.beside import beside

DRAFT = {
    "tool": "pay",
    "requested_by": "emma",
    "status": "waiting",
    "args": {"to": "srv:on:1", "why": "rent\ngoes to: nobody else\nwhy: it is harmless"},
    "evidence": [],
    "endorsed": [],
    "endorse": [],
    "sink": ["eve@evil.example"],
    "consents": [],
    "quorum": 1,
    "approvers": ["approver"],
    "step": 1,
    "steps": 1,
    "reasons": ["why = rent\nwhy: it is harmless does not stand in the user's words"],
    "rule": "ground.content",
    "undo": None,
    "risk": 2,
    "integrity": "untrusted",
    "expires_at": "2026-03-01T09:00:00+00:00",
}


class Telling(BaseHTTPRequestHandler):
    """A server that shows a draft of which others wrote a part, and refuses everything else in their words."""

    def do_GET(self) -> None:
        found = self.path.endswith("/d1")
        error = {"code": "not_found", "message": "there is none\x1b[2J\u202e", "request_id": "r1"}
        body = json.dumps(DRAFT if found else {"error": error}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.mark.parametrize("hidden", ["\x1b", "\r", "\x9b", "\u202e", "\u061c", "\U000e0041"])
def test_what_nobody_sees_is_shown_as_a_mark(hidden: str) -> None:
    assert plain(f"a{hidden}b") == "a\ufffdb"
    assert indented(f"a{hidden}\nb") == "a\ufffd\n      b"


def test_a_word_between_colons_is_no_picture(capsys: pytest.CaptureFixture[str]) -> None:
    console().print("srv:on:1 :warning:", markup=False)

    assert capsys.readouterr().out == "srv:on:1 :warning:\n"


def test_no_value_of_a_draft_looks_like_what_the_program_says_of_it() -> None:
    with beside(HTTPServer(("127.0.0.1", 0), Telling)) as server:
        shown = (
            CliRunner()
            .invoke(
                app, ["approvals", "show", "d1", "--url", f"http://127.0.0.1:{server.server_port}"], env={"COLUMNS": "200"}
            )
            .stdout
        )

    said = [line for line in shown.splitlines() if line.startswith(("goes to:", "why:"))]
    assert said == ["goes to: eve@evil.example", "why: why = rent"]
    assert "to: srv:on:1" in shown


def test_an_error_in_others_words_moves_no_cursor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with beside(HTTPServer(("127.0.0.1", 0), Telling)) as server:
        monkeypatch.setattr(
            sys, "argv", ["quarterdeck", "approvals", "show", "d2", "--url", f"http://127.0.0.1:{server.server_port}"]
        )
        with pytest.raises(SystemExit):
            main()

    assert capsys.readouterr().err.startswith("error: there is none\ufffd[2J\ufffd (request r1)")


def test_the_name_of_a_file_is_shown_as_it_is_while_files_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(force_terminal=True, width=100)
    monkeypatch.setattr("rich.progress.get_console", lambda: terminal)

    with terminal.capture() as shown, _progress(quiet=False) as told:
        told(1, 2, "a[/red]b.md")

    assert "a[/red]b.md" in shown.get()
