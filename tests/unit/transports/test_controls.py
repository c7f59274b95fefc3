"""What people do with runs that exist, over HTTP."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from quarterdeck.core.events import RunFailed
from quarterdeck.core.runs import RunStatus
from quarterdeck.store.base import Entry

from .conftest import KEYS, Served


async def begun(served: Served) -> str:
    """A run that nobody has advanced yet."""
    served.worker.gate = anyio.Event()
    body = {"query": "My salary is 50,000. Is that fair?", "options": {"timeout_s": 0.01}}
    return str((await served.send("POST", "/api/v1/query", body, key=KEYS["emma"])).json["id"])


async def failed(served: Served, *, code: str = "poison") -> str:
    """A run that ended without an answer."""
    run = await begun(served)
    claim = await served.store.journal.claim("acme", run)
    assert claim is not None
    event = RunFailed(code=code, error="it stopped its worker", poison=code == "poison")
    await served.store.journal.append(claim, [Entry(event=event)], folded=claim.head, status=RunStatus.FAILED)
    return run


@pytest.mark.row("L2", part="http")
async def test_run_is_paused_steered_resumed_and_answers(served: Served) -> None:
    run = await begun(served)

    paused = await served.send("POST", f"/api/v1/runs/{run}/pause", {"reason": "let me think"}, key=KEYS["emma"])
    steered = await served.send("POST", f"/api/v1/runs/{run}/steer", {"message": "In Berlin."}, key=KEYS["emma"])
    resumed = await served.send("POST", f"/api/v1/runs/{run}/resume", key=KEYS["emma"])
    served.worker.gate.set()

    assert [(reply.status, reply.json["run_id"]) for reply in (paused, steered, resumed)] == [(202, run)] * 3
    assert [reply.json["stop_reason"] for reply in (paused, steered, resumed)] == ["paused", "paused", "running"]
    events = [entry.event.kind async for entry in served.store.journal.read("acme", run)]
    assert events[:4] == ["run_started", "pause_requested", "steer", "resume_requested"]


@pytest.mark.row("L2", part="http")
async def test_what_cannot_be_is_a_conflict(served: Served) -> None:
    run = await begun(served)

    resume = await served.send("POST", f"/api/v1/runs/{run}/resume", key=KEYS["emma"])
    retry = await served.send("POST", f"/api/v1/runs/{run}/retry", {}, key=KEYS["emma"])

    assert [(reply.status, reply.code) for reply in (resume, retry)] == [(409, "conflict")] * 2
    served.worker.gate.set()


async def test_message_with_one_key_is_heard_once(served: Served) -> None:
    run = await begun(served)
    sent = {"key": KEYS["emma"], "headers": {"idempotency-key": "k-1"}}

    for _ in range(3):
        assert (await served.send("POST", f"/api/v1/runs/{run}/steer", {"message": "Be brief."}, **sent)).status == 202
    other = await served.send("POST", f"/api/v1/runs/{run}/steer", {"message": "Be long."}, **sent)

    assert (other.status, other.code) == (422, "key_reused")
    events = [entry.event.kind async for entry in served.store.journal.read("acme", run)]
    assert events.count("steer") == 1
    served.worker.gate.set()


@pytest.mark.parametrize(
    ("command", "body"),
    [
        ("pause", {"why": "x"}),
        ("resume", {"reason": 7}),
        ("retry", {"reason": "x" * 2001}),
        ("steer", {}),
        ("steer", {"message": ""}),
        ("steer", {"message": "\u200b"}),
        ("steer", {"message": 7}),
        ("fork", {}),
        ("fork", {"at": 0}),
        ("fork", {"at": "2"}),
        ("fork", {"at": True}),
    ],
)
async def test_body_that_says_something_else_is_refused(served: Served, command: str, body: Any) -> None:
    run = await begun(served)

    reply = await served.send("POST", f"/api/v1/runs/{run}/{command}", body, key=KEYS["emma"])

    assert (reply.status, reply.code) == (422, "invalid_input")
    served.worker.gate.set()


@pytest.mark.row("L2", part="http")
async def test_operator_commands_a_colleagues_run_without_reading_it(served: Served) -> None:
    run = await begun(served)

    replies = [
        await served.send("POST", f"/api/v1/runs/{run}/{command}", body, key=KEYS["omar"])
        for command, body in (("pause", {}), ("steer", {"message": "Be brief."}), ("resume", {}))
    ]

    assert [reply.status for reply in replies] == [202] * 3
    assert all("salary" not in reply.body.decode() for reply in replies)
    served.worker.gate.set()


@pytest.mark.row("L2", part="dead letters")
async def test_dead_letters_are_listed_and_tried_again(served: Served) -> None:
    dead, other = await failed(served), await failed(served, code="model_unavailable")

    listed = await served.send("GET", "/api/v1/runs?status=failed&code=poison", key=KEYS["omar"])
    both = await served.send("GET", "/api/v1/runs?status=failed", key=KEYS["omar"])
    retried = await served.send("POST", f"/api/v1/runs/{dead}/retry", {"reason": "mended"}, key=KEYS["omar"])

    assert [(row["run_id"], row["code"]) for row in listed.json["runs"]] == [(dead, "poison")]
    assert [row["run_id"] for row in both.json["runs"]] == [other, dead]
    assert (retried.status, retried.json["status"]) == (202, "ready")
    served.worker.gate.set()


async def test_interface_names_the_bodies_of_every_command(served: Served) -> None:
    paths = (await served.send("GET", "/openapi.json")).json["paths"]

    for command in ("cancel", "pause", "resume", "steer", "retry", "fork"):
        described = paths[f"/api/v1/runs/{{run_id}}/{command}"]["post"]
        answer = described["responses"]["201" if command == "fork" else "202"]
        assert answer["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/RunBody"}
    assert paths["/api/v1/runs"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith(
        "/RunList"
    )


@pytest.mark.row("L2", part="http")
async def test_fork_is_a_new_run_of_the_same_person(served: Served) -> None:
    run = (await served.send("POST", "/chat", {"message": "Hello?"}, key=KEYS["emma"])).json["run_id"]

    forked = await served.send("POST", f"/api/v1/runs/{run}/fork", {"at": 1}, key=KEYS["omar"])
    mine = await served.send("GET", "/api/v1/runs", key=KEYS["emma"])
    beyond = await served.send("POST", f"/api/v1/runs/{run}/fork", {"at": 99}, key=KEYS["emma"])

    assert (forked.status, forked.json["user"], forked.json["question"]) == (201, "emma", "")
    assert {row["run_id"] for row in mine.json["runs"]} == {run, forked.json["run_id"]}
    assert (beyond.status, beyond.code) == (422, "invalid_input")


@pytest.mark.row("L3", part="journal of a run")
async def test_the_journal_of_a_run_is_kept_where_snapshots_rest_for_who_may_read_it(served: Served) -> None:
    asked = await served.send("POST", "/chat", {"message": "How long is a session?"}, key=KEYS["emma"])
    path = f"/api/v1/runs/{asked.json['run_id']}/export"

    kept = await served.send("POST", path, {}, key=KEYS["emma"])
    operator = await served.send("POST", path, {}, key=KEYS["omar"])
    stranger = await served.send("POST", path, {}, key=KEYS["gil"])

    assert kept.status == 201
    assert await served.store.keyvalue.load_uri("acme", kept.json["uri"])
    assert (operator.status, stranger.status) == (403, 404)
    rows = await served.store.records.audit_rows("acme")
    assert [(row["action"], row["actor"]) for row in rows if row["action"] == "export"] == [("export", "user:emma")]
