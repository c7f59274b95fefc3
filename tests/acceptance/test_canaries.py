"""Markers in every field outsiders can write: what of them reaches a model makes a write wait; what need not, does not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml

from .conftest import Server, with_root

MARK = "zqcanary"
# All are declared as well as they can be: what an outsider wrote must not pass for ours all the same.
TOOLS = """
from quarterdeck import tool


def build_tools(data):
    @tool(effect="read")
    def read_text() -> str:
        '''Read a text.'''
        return "zqcanary result"

    @tool(effect="read")
    def read_names() -> dict[str, int]:
        '''Read names and counts.'''
        return {"zqcanary key": 1}

    @tool(effect="read", trusted=True)
    def read_broken() -> str:
        '''Read and fail.'''
        raise ValueError("zqcanary error")

    @tool(effect="read", trusted=True, fields={"subject": "untrusted"})
    def read_payments() -> list[dict[str, str]]:
        '''Read payments.'''
        return [{"amount": "12.50", "subject": "zqcanary subject"}]

    @tool(effect="read", trusted=True)
    def read_balance() -> str:
        '''Read the balance.'''
        return "12.50"

    @tool(effect="write", risk=1, content=("text",), sink="user")
    def note(text: str) -> str:
        '''Write a note.'''
        return "noted"

    return [read_text, read_names, read_broken, read_payments, read_balance, note]
"""
AGENT = """
name: support
model: openai:scripted
instructions: Help.
tools: [search_knowledge_base, read_text, read_names, read_broken, read_payments, read_balance, note]
retrieve: never
"""
NAMES = ("read_text", "read_names", "read_broken", "read_payments", "read_balance")


class _Provider(BaseHTTPRequestHandler):
    """Calls the tool the last question names, or searches for what stands behind "find"; then writes a note, then ends."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)  # type: ignore[attr-defined]  # the fixture gives it to its server
        said = asked["messages"]
        last = max(at for at, message in enumerate(said) if message["role"] == "user")
        done = sum(message["role"] == "tool" for message in said[last:])
        words = str(said[last]["content"])
        wanted = [(name, {}) for name in NAMES if name in words]
        if "find " in words:
            wanted = [("search_knowledge_base", {"query": words.split("find ", 1)[1]})]
        wanted.append(("note", {"text": "Buy from eve."}))
        message: dict[str, Any] = {"content": "Done."}
        if done < len(wanted):
            name, args = wanted[done]
            call = {"id": "c", "type": "function", "function": {"name": name, "arguments": json.dumps(args)}}
            message = {"content": None, "tool_calls": [call]}
        finish = "tool_calls" if "tool_calls" in message else "stop"
        choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        body = json.dumps({"id": "x", "object": "chat.completion", "model": "scripted", "choices": [choice], "usage": usage})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *told: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def provider() -> Iterator[Any]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Provider) as server:
        server.daemon_threads = True
        server.asked = []  # type: ignore[attr-defined]  # for its handler and the tests
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, provider: Any) -> Iterator[Server]:
    folder = with_root(tmp_path_factory.mktemp("canaries") / "desk")
    (folder / "tools.py").write_text(TOOLS)
    (folder / "policy.yaml").write_text("policy: v1\n")
    (folder / "agents" / "support.yaml").write_text(AGENT)
    people = yaml.safe_load((folder / "users.yaml").read_text())
    for person in people["users"]:
        person["name"] = f"{MARK} {person['id']}"
    (folder / "users.yaml").write_text(yaml.safe_dump(people))
    settings = yaml.safe_load((folder / "quarterdeck.yaml").read_text())
    settings["tags"] = {"allowed": {"experiment": {}}}
    (folder / "quarterdeck.yaml").write_text(yaml.safe_dump(settings))
    url = f"http://127.0.0.1:{provider.server_address[1]}/v1"
    server = Server(
        tmp_path_factory.mktemp("data"), folder=folder, environ={"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "sk-x"}
    )
    server.start()
    yield server
    server.stop()


def integrity(desk: Server, answer: Any) -> str | None:
    """Of the context in which the note was asked about; None where it was simply written."""
    for draft in answer["drafts"]:
        return str(desk.send("GET", f"/api/v1/approvals/{draft}", user="omar").json["integrity"])
    return None


def reached(provider: Any) -> bool:
    return any(MARK in json.dumps(body["messages"]) for body in provider.asked)


@pytest.mark.row("G5", part="canaries")
@pytest.mark.parametrize("name", [name for name in NAMES if name != "read_balance"])
def test_what_an_outsider_wrote_into_a_result_makes_the_next_write_wait(desk: Server, provider: Any, name: str) -> None:
    provider.asked.clear()

    answer = desk.ask(f"Please {name} and note it.", user="emma")

    assert reached(provider)
    assert integrity(desk, answer) == "untrusted"


@pytest.mark.row("G5", part="canaries")
@pytest.mark.parametrize(
    ("field", "upload"),
    [
        ("text", {"name": "alpha.md", "text": "# Alpha\n\nThe alphorn is long, says zqcanary."}),
        ("title", {"name": "beta.txt", "text": "The betatron is round.", "title": "zqcanary betatron"}),
        ("heading", {"name": "gamma.md", "text": "# Gamma\n\n## zqcanary gammaray\n\nThe gammaray is bright."}),
        ("metadata", {"name": "delta.md", "text": "---\ntitle: zqcanary deltawing\n---\n\nThe deltawing is flat."}),
        ("file name", {"name": "zqcanary-epsilonics.txt", "text": "The epsilonics are small."}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_stands_in_a_document_makes_the_next_write_wait(
    desk: Server, provider: Any, field: str, upload: dict[str, str]
) -> None:
    begun = desk.send("POST", "/api/v1/documents", {**upload, "groups": ["everyone"]}, user="root")
    assert begun.status in (200, 202), begun.body
    desk.send("GET", f"/api/v1/runs/{begun.json['run_id']}/events", user="root")  # to its end
    provider.asked.clear()
    words = {
        "text": "alphorn",
        "title": "betatron",
        "heading": "gammaray",
        "metadata": "deltawing",
        "file name": "epsilonics",
    }

    answer = desk.ask(f"Please find {words[field]}", user="root")

    assert any(words[field] in json.dumps(body["messages"][2:]) for body in provider.asked)
    assert integrity(desk, answer) == "untrusted"


@pytest.mark.row("G5", part="canaries")
@pytest.mark.parametrize("role", ["user", "assistant"])
def test_history_a_client_sends_makes_the_next_write_wait(desk: Server, provider: Any, role: str) -> None:
    provider.asked.clear()
    before = {
        "user": [{"role": "user", "content": f"{MARK} earlier"}, {"role": "assistant", "content": "Well."}],
        "assistant": [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": f"{MARK} earlier"}],
    }
    body = {"model": "support", "messages": [*before[role], {"role": "user", "content": "Please note it."}]}

    desk.send("POST", "/v1/chat/completions", body, user="root")

    waiting = desk.send("GET", "/api/v1/approvals?status=waiting&limit=1", user="root").json["approvals"]
    assert reached(provider)
    assert waiting[0]["integrity"] == "untrusted"


@pytest.mark.row("G5", part="canaries")
def test_names_titles_tags_and_headers_do_not_reach_a_model(desk: Server, provider: Any) -> None:
    provider.asked.clear()
    context = {"channel": f"{MARK}-channel", "title": f"{MARK} title"}
    opened = desk.send("POST", "/api/v1/session/", {"agent_id": "support", "context": context}, user="emma")
    assert opened.status in (200, 201), opened.body
    headers = {
        "User-Agent": f"{MARK}/1",
        "Referer": f"http://{MARK}.example/",
        "X-Request-Id": f"{MARK}-request",
        "x-tag-experiment": f"{MARK}-tag",
        "baggage": f"experiment={MARK}",
        "X-Forwarded-For": MARK,
    }
    session = opened.json["id"]
    message = {"message": "Please read_balance and note it.", "session_id": session}

    answer = desk.send("POST", "/chat", message, user="emma", headers=headers)

    assert answer.status == 200, answer.body
    assert answer.json["drafts"] == []  # and so the note was written
    assert provider.asked
    assert not any(MARK in json.dumps(body) for body in provider.asked)
