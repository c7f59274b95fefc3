"""Every command there is: what it says of itself, and the page made from that."""

from __future__ import annotations

import json
import re
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler, TCPServer
from typing import Any

import pytest
from typer.testing import CliRunner

from quarterdeck.cli.client import segment
from quarterdeck.cli.main import app, exit_code
from quarterdeck.cli.reference import commands, reference
from quarterdeck.core import errors
from tests.acceptance.beside import beside

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "reference" / "cli.md"


@pytest.mark.row("D4", part="help")
def test_the_commands_people_were_promised_are_there() -> None:
    groups = {words[0] for words in commands()}

    assert groups >= {
        "serve",
        "worker",
        "chat",
        "ingest",
        "runs",
        "approvals",
        "simulate",
        "config",
        "doctor",
        "migrate",
        "eval",
    }


@pytest.mark.row("D4", part="help")
@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_explains_itself_and_all_that_can_be_said_to_it(words: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"})

    assert shown.exit_code == 0
    assert "Usage" in shown.stdout
    assert commands()[words].help
    unexplained = [one.name for one in commands()[words].params if one.name != "help" and not getattr(one, "help", None)]
    assert unexplained == []


@pytest.mark.row("D4", part="json")
def test_every_command_can_speak_to_machines() -> None:
    silent = {words for words, command in commands().items() if not any("--json" in one.opts for one in command.params)}

    assert silent <= {("audit", "export"), ("privacy", "export")}  # which write JSON lines and nothing else


@pytest.mark.row("D4", part="reference")
def test_the_page_says_what_the_commands_say() -> None:
    # Made anew by: python -m quarterdeck.cli.reference > docs/reference/cli.md
    assert PAGE.read_text(encoding="utf-8") == reference()


@pytest.mark.row("D4", part="reference")
def test_every_command_that_a_page_names_is_one_and_knows_its_options() -> None:
    known = commands()
    groups = {words[:1] for words in known if len(words) > 1}
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    named = re.compile(r"(?:^\$ |^|`)(?:\.venv/bin/)?quarterdeck ([a-z][^`\n]*)", re.MULTILINE)
    told = [
        (page.name, line.split(" # ")[0].split())
        for page in pages
        for line in named.findall(page.read_text(encoding="utf-8"))
    ]

    wrong = []
    for page, words in told:
        called = known.get((words[0],)) or known.get(tuple(words[:2]))
        options = {"--help"}.union(*((*one.opts, *one.secondary_opts) for one in called.params)) if called else set()
        if called is None and tuple(words) not in groups:
            wrong.append((page, words))
        elif called is not None:
            wrong += [(page, [*words[:2], word]) for word in words if word.startswith("--") and word not in options]

    assert len(told) > 50
    assert wrong == []


@pytest.mark.row("D4", part="reference")
def test_the_page_says_how_a_thing_that_is_on_is_turned_off() -> None:
    page = PAGE.read_text(encoding="utf-8")

    off = {word for one in commands().values() for option in one.params for word in option.secondary_opts}

    assert off >= {"--no-cases", "--no-rubrics"}
    assert [word for word in off if f"`{word}`" not in page] == []


@pytest.mark.row("D4", part="reference")
def test_every_error_there_is_has_its_exit_code_on_the_page() -> None:
    kinds = [getattr(errors, name) for name in errors.__all__ if name != "error_of"]

    unsaid = [kind.code for kind in kinds if kind is not errors.QuarterdeckError and f"`{kind.code}`" not in reference()]

    assert unsaid == []
    assert (exit_code(errors.KeyReused), exit_code(errors.StoreUnavailable), exit_code(errors.Fenced)) == (7, 6, 1)


@pytest.mark.parametrize("id", ["../x", "a/doubts", "..", ".", "", "a\\b"])
@pytest.mark.parametrize(
    "words",
    [
        ("runs", "show"),
        ("runs", "cancel"),
        ("runs", "pause"),
        ("runs", "resume"),
        ("runs", "retry"),
        ("runs", "export"),
        ("approvals", "show"),
        ("approvals", "undo"),
        ("approvals", "approve"),
        ("keys", "rotate"),
        ("keys", "revoke"),
        ("webhooks", "test"),
        ("webhooks", "enable"),
        ("webhooks", "retry"),
    ],
    ids=" ".join,
)
def test_what_is_no_id_reaches_no_route(words: tuple[str, ...], id: str) -> None:
    done = CliRunner().invoke(app, [*words, id, "--url", "http://127.0.0.1:9"])  # where nobody answers

    assert isinstance(done.exception, errors.InvalidInput), done.output


def test_an_id_is_one_segment_of_a_path_whatever_stands_in_it() -> None:
    assert segment("a?b#c%2F d") == "a%3Fb%23c%252F%20d"


@pytest.mark.parametrize(
    "words",
    [
        ("runs", "show", "\udcff"),
        ("costs", "--name", "\udcff"),
        ("chat", "\udcff"),
        ("runs", "list", "--key", "qd_secret\n"),
        ("runs", "list", "--key", "qd_secret\u2026"),
        ("runs", "list", "--url", "http://[::1"),
        ("runs", "list", "--url", "http://a b"),
        ("runs", "list", "--url", "http://127.0.0.1:port"),
    ],
    ids=ascii,
)
def test_what_no_request_can_carry_is_wrong_input_and_tells_no_key(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, list(words), env={"QUARTERDECK_URL": "http://127.0.0.1:9"})  # where nobody answers

    assert isinstance(done.exception, errors.InvalidInput), done.output
    assert "qd_secret" not in str(done.exception)
    assert done.exception.__cause__ is None


@pytest.mark.parametrize(
    "answer",
    [b"\x00\x00\x06\x04", b"HTTP/1.1 200 OK\r\n\r\n<html>", b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"runs": ['],
    ids=["no HTTP", "a page", "cut"],
)
def test_what_is_no_answer_of_a_server_is_told_as_such(answer: bytes) -> None:
    class Server(BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65_536)
            self.request.sendall(answer)

    with beside(TCPServer(("127.0.0.1", 0), Server)) as server:
        done = CliRunner().invoke(app, ["runs", "list", "--url", f"http://127.0.0.1:{server.server_address[1]}"])

    assert isinstance(done.exception, errors.Unavailable), done.output


def test_a_key_goes_nowhere_a_server_sends_on_to() -> None:
    keys: list[str | None] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys.append(self.headers["Authorization"])
            self.send_error(404)

        def log_message(self, format: str, *args: Any) -> None: ...

    class Server(Elsewhere):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{elsewhere.server_port}/")
            self.end_headers()

    with (
        beside(HTTPServer(("127.0.0.1", 0), Elsewhere)) as elsewhere,
        beside(HTTPServer(("127.0.0.1", 0), Server)) as server,
    ):
        url = f"http://127.0.0.1:{server.server_port}"
        done = CliRunner().invoke(app, ["runs", "list", "--key", "qd_secret", "--url", url])

    assert keys == []
    assert isinstance(done.exception, errors.InvalidInput), done.output
    assert str(elsewhere.server_port) in str(done.exception)


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ('event: text\ndata: {"text": "Hel"}\n\n', errors.Unavailable),
        (
            (
                'event: run_failed\ndata: {"code": "model_unavailable", "error": "nobody answers"}\n\n'
                'event: done\ndata: {"session_id": "s"}\n\ndata: [DONE]\n\n'
            ),
            errors.ModelUnavailable,
        ),
    ],
    ids=["cut", "failed"],
)
def test_a_question_that_got_no_answer_is_no_success(told: str, kind: type[errors.QuarterdeckError]) -> None:
    class Server(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(told.encode())

        def log_message(self, format: str, *args: Any) -> None: ...

    with beside(HTTPServer(("127.0.0.1", 0), Server)) as server:
        done = CliRunner().invoke(app, ["chat", "Hello", "--url", f"http://127.0.0.1:{server.server_port}"])

    assert type(done.exception) is kind, done.output


def test_all_runs_of_a_request_are_shown_however_many_are_told_at_once() -> None:
    pages = {"": (["c", "d"], "c"), "?before=c": (["b"], "b"), "?before=b": (["a"], None)}

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            runs, before = pages[f"?{query}" if query else ""]
            told = path == "/api/v1/requests/Req.1"  # which is no id of a run
            body = {"request_id": "Req.1", "runs": [{"run_id": run} for run in runs], "before": before}
            problem = {"error": {"code": "invalid_input", "message": "path.run_id", "request_id": "r"}}
            data = json.dumps(body if told else problem).encode()
            self.send_response(200 if told else 422)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None: ...

    with beside(HTTPServer(("127.0.0.1", 0), Server)) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        done = CliRunner().invoke(app, ["runs", "show", "Req.1", "--json", "--url", url])

    assert [run["run_id"] for run in json.loads(done.stdout)["runs"]] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(("verdict", "code"), [("delivered", 0), ("failed", 1), ("refused", 1)])
@pytest.mark.parametrize("more", [(), ("--json",)], ids=["text", "json"])
def test_a_webhook_that_could_not_be_told_is_an_exit_code(verdict: str, code: int, more: tuple[str, ...]) -> None:
    class Server(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps({"verdict": verdict, "detail": "it said 410"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None: ...

    with beside(HTTPServer(("127.0.0.1", 0), Server)) as server:
        done = CliRunner().invoke(app, ["webhooks", "test", "crm", "--url", f"http://127.0.0.1:{server.server_port}", *more])

    assert done.exit_code == code
    assert verdict in done.stdout
