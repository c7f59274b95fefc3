"""The story of a request, before those who may see its runs."""

from __future__ import annotations

from typing import Any

import pytest

from quarterdeck.core.labels import Integrity, Label, Readers
from tests.unit.transports.conftest import KEYS, PASSAGE, Served

WORD = "xylophone"


async def ask(served: Served, request_id: str, **more: Any) -> str:
    body = {"message": f"Where is the {WORD}?"}
    reply = await served.send("POST", "/chat", body, headers={"x-request-id": request_id}, **more)
    return str(reply.json["run_id"])


def steps(run: dict[str, Any]) -> dict[str, Any]:
    return {step["kind"]: step for step in run["steps"]}


@pytest.mark.row("O3", part="story")
async def test_a_request_is_told_from_its_question_to_its_answer(served: Served) -> None:
    run_id = await ask(served, "Req.1")

    story = (await served.send("GET", "/api/v1/requests/Req.1")).json

    (run,) = story["runs"]
    told = steps(run)
    assert (story["request_id"], run["run_id"], run["withheld"]) == ("Req.1", run_id, False)
    assert list(told) == ["input", "retrieval", "model", "answer"]
    assert told["retrieval"]["told"]["passages"][0]["score"] == PASSAGE.score
    given = told["model"]["told"]["prompt"]["messages"]
    assert [message["role"] for message in given] == ["user", "user"]
    assert (given[0]["integrity"], given[0]["readers"]) == ("trusted", [["user:emma"]])
    assert PASSAGE.text in given[1]["text"]
    assert (told["model"]["tokens"], told["model"]["cost_usd"]) == (10, 0.0)
    assert told["answer"]["told"]["citations"][0]["passage"]["id"] == PASSAGE.id


@pytest.mark.row("O3", part="story")
async def test_all_runs_of_a_batch_are_told_in_their_order(served: Served) -> None:
    items = [{"query": "one"}, {"query": "two"}]
    await served.send("POST", "/api/v1/agent/batch", {"items": items, "concurrency": 1}, headers={"x-request-id": "b-1"})

    story = (await served.send("GET", "/api/v1/requests/b-1")).json

    assert [run["question"] for run in story["runs"]] == ["one", "two"]


@pytest.mark.row("O3", part="story")
async def test_no_run_of_a_large_batch_is_left_out(served: Served) -> None:
    items = [{"query": str(number)} for number in range(203)]
    await served.send("POST", "/api/v1/agent/batch", {"items": items, "concurrency": 1}, headers={"x-request-id": "b-2"})

    last = (await served.send("GET", "/api/v1/requests/b-2")).json
    first = (await served.send("GET", f"/api/v1/requests/b-2?before={last['before']}")).json

    assert [run["question"] for run in first["runs"] + last["runs"]] == [item["query"] for item in items]
    assert (len(first["runs"]), first["before"]) == (3, None)


@pytest.mark.row("O3", part="rights")
async def test_an_operator_is_told_what_happened_and_not_what_was_said(served: Served) -> None:
    run_id = await ask(served, "r-2")

    by_request = await served.send("GET", "/api/v1/requests/r-2", key=KEYS["omar"])
    by_run = await served.send("GET", f"/api/v1/runs/{run_id}/story", key=KEYS["omar"])

    assert by_request.json["runs"] == [by_run.json]
    assert by_run.json["withheld"] is True
    assert [step["kind"] for step in by_run.json["steps"]] == ["input", "retrieval", "model", "answer"]
    assert steps(by_run.json)["retrieval"]["told"]["passages"] == [{"withheld": True, "score": PASSAGE.score}]
    for secret in (WORD, PASSAGE.text, PASSAGE.id, PASSAGE.title):
        assert secret.encode() not in by_run.body


@pytest.mark.row("O3", part="rights")
async def test_the_asker_is_not_told_what_she_may_not_read_any_more(served: Served) -> None:
    served.worker.label = Label(integrity=Integrity.TRUSTED, readers=Readers.of("group:board"))
    await ask(served, "r-3")

    (run,) = (await served.send("GET", "/api/v1/requests/r-3")).json["runs"]

    told = steps(run)
    assert told["input"]["told"]["question"]["text"].endswith(f"{WORD}?")
    assert told["model"]["told"]["reply"] == {"role": "assistant", "withheld": True, "integrity": "trusted"}
    assert told["answer"]["told"]["answer"] == {"withheld": True, "integrity": "trusted"}
    assert run["withheld"] is True


@pytest.mark.row("O3", part="rights")
async def test_requests_of_another_tenant_and_of_nobody_are_not_found(served: Served) -> None:
    run_id = await ask(served, "r-4")

    foreign = await served.send("GET", "/api/v1/requests/r-4", key=KEYS["gil"])
    foreign_run = await served.send("GET", f"/api/v1/runs/{run_id}/story", key=KEYS["gil"])
    unknown = await served.send("GET", "/api/v1/requests/r-5")
    malformed = await served.send("GET", "/api/v1/requests/a%20b")

    assert (foreign.status, foreign_run.status, unknown.status, malformed.status) == (404, 404, 404, 422)


async def test_how_an_agent_is_instructed_is_for_operators(served: Served) -> None:
    await ask(served, "r-6")

    asker = (await served.send("GET", "/api/v1/requests/r-6")).json["runs"][0]
    operator = (await served.send("GET", "/api/v1/requests/r-6", key=KEYS["omar"])).json["runs"][0]

    assert steps(asker)["model"]["told"]["prompt"]["system"] == {"withheld": True}
    assert "text" in steps(operator)["model"]["told"]["prompt"]["system"]
