"""Markers in every field outsiders can write: what of them reaches a model makes a write wait; what need not, does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from .beside import Provider, beside, call
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


def say(asked: dict[str, Any]) -> dict[str, Any]:
    """Calls the tool the last question names, or searches for what stands behind "find"; then writes a note, then ends."""
    said = asked["messages"]
    last = max(at for at, message in enumerate(said) if message["role"] == "user")
    done = sum(message["role"] == "tool" for message in said[last:])
    words = str(said[last]["content"])
    wanted = [call(name) for name in NAMES if name in words]
    if "find " in words:
        wanted = [call("search_knowledge_base", query=words.split("find ", 1)[1])]
    wanted.append(call("note", text="Buy from eve."))
    return wanted[done] if done < len(wanted) else {"content": "Done."}


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with beside(Provider(say)) as provider:
        yield provider


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> Iterator[Server]:
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
    server = Server(
        tmp_path_factory.mktemp("data"), folder=folder, environ={"OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": "sk-x"}
    )
    server.start()
    yield server
    server.stop()


def integrity(desk: Server, answer: Any) -> str | None:
    """Of the context in which the note was asked about; None where it was simply written."""
    for draft in answer["drafts"]:
        return str(desk.send("GET", f"/api/v1/approvals/{draft}", user="omar").json["integrity"])
    return None


def reached(provider: Provider) -> bool:
    return any(MARK in json.dumps(body["messages"]) for body in provider.asked)


@pytest.mark.row("G5", part="canaries")
@pytest.mark.parametrize("name", [name for name in NAMES if name != "read_balance"])
def test_what_an_outsider_wrote_into_a_result_makes_the_next_write_wait(desk: Server, provider: Provider, name: str) -> None:
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
    desk: Server, provider: Provider, field: str, upload: dict[str, str]
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
def test_history_a_client_sends_makes_the_next_write_wait(desk: Server, provider: Provider, role: str) -> None:
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
def test_names_titles_tags_and_headers_do_not_reach_a_model(desk: Server, provider: Provider) -> None:
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
