from __future__ import annotations

import json

import anyio
import pytest

from quarterdeck.core.events import RunFailed

from .conftest import Served

ASKED = 100
BAD = (3, 50, 99)


def _items(bad: tuple[int, ...] = BAD, many: int = ASKED) -> list[dict[str, str]]:
    return [{"query": "" if number in bad else f"question {number}"} for number in range(many)]


@pytest.mark.row("S4", part="partial failure")
async def test_of_a_hundred_questions_of_which_three_fail_ninety_seven_are_answered(served: Served) -> None:
    reply = await served.send("POST", "/api/v1/agent/batch", {"items": _items()})

    assert (reply.status, reply.json["succeeded"], reply.json["failed"]) == (200, 97, 3)
    items = reply.json["items"]
    assert [item["index"] for item in items] == list(range(ASKED))
    assert [item["index"] for item in items if item["status"] == "error"] == list(BAD)
    assert {items[number]["error"]["code"] for number in BAD} == {"invalid_input"}
    assert items[7]["answer"]["answer"] == "You asked: question 7"


@pytest.mark.row("S4", part="bound")
async def test_no_more_questions_are_under_way_than_allowed(served: Served) -> None:
    served.worker.gate = anyio.Event()
    body = {"items": _items(bad=(), many=9), "concurrency": 4}
    under_way: list[int] = []

    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            for _ in range(200):
                await anyio.lowlevel.checkpoint()
            under_way.append(len(await served.store.journal.runs("acme", limit=50)))
            served.worker.gate.set()

        tasks.start_soon(watch)
        reply = await served.send("POST", "/api/v1/agent/batch", body)

    assert under_way == [4]
    assert reply.json["succeeded"] == 9


@pytest.mark.row("S12", part="batch")
async def test_batch_repeated_under_its_key_gets_the_same_runs(served: Served) -> None:
    body, key = {"items": _items(bad=(), many=3)}, {"idempotency-key": "b-1"}

    first = await served.send("POST", "/api/v1/agent/batch", body, headers=key)
    again = await served.send("POST", "/api/v1/agent/batch", body, headers=key)

    ids = [item["answer"]["id"] for item in first.json["items"]]
    assert len(set(ids)) == 3
    assert [item["answer"]["id"] for item in again.json["items"]] == ids


async def test_another_batch_under_the_key_is_refused_whole(served: Served) -> None:
    key = {"idempotency-key": "b-1"}
    await served.send("POST", "/api/v1/agent/batch", {"items": _items(bad=(), many=2)}, headers=key)

    other = await served.send("POST", "/api/v1/agent/batch", {"items": _items(bad=(), many=3)}, headers=key)
    slower = await served.send("POST", "/api/v1/agent/batch", {"items": _items((), 2), "concurrency": 1}, headers=key)

    assert (other.status, other.code, slower.status) == (422, "key_reused", 200)
    assert len(await served.store.journal.runs("acme")) == 2


@pytest.mark.row("S4", part="progress")
async def test_items_are_told_as_they_are_there(served: Served) -> None:
    body = {"items": _items(bad=(1,), many=4)}

    reply = await served.send("POST", "/api/v1/agent/batch", body, headers={"accept": "text/event-stream"})

    frames = [frame.split("\n") for frame in reply.body.decode().strip().split("\n\n")]
    told = [json.loads(frame[1].removeprefix("data: ")) for frame in frames if frame[0] == "event: item"]
    assert {item["index"]: item["status"] for item in told} == {0: "ok", 1: "error", 2: "ok", 3: "ok"}
    assert frames[-2] == ["event: done", 'data: {"succeeded":3,"failed":1}']
    assert frames[-1] == ["data: [DONE]"]


async def test_questions_whose_turn_did_not_come_in_time_are_not_asked(served: Served) -> None:
    served.worker.gate = anyio.Event()
    body = {"items": _items(bad=(), many=3), "concurrency": 1, "options": {"timeout_s": 0.05}}

    reply = await served.send("POST", "/api/v1/agent/batch", body)

    assert {item["error"]["code"] for item in reply.json["items"]} == {"deadline_exceeded"}
    assert len(await served.store.journal.runs("acme")) == 1


async def test_a_question_of_a_batch_is_waited_for_as_long_as_it_says(served: Served) -> None:
    served.worker.gate = anyio.Event()
    items = [{"query": "one", "options": {"timeout_s": 0.05}}, {"query": "two"}]

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_open_late, served.worker.gate)
        reply = await served.send("POST", "/api/v1/agent/batch", {"items": items})

    late, answered = reply.json["items"]
    assert late["error"]["code"] == "deadline_exceeded"
    assert "goes on" in late["error"]["message"]
    assert answered["status"] == "ok"


async def _open_late(gate: anyio.Event) -> None:
    await anyio.sleep(0.3)
    gate.set()


async def test_what_is_wrong_inside_is_told_to_the_log_alone(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    served.worker.failure = RunFailed(code="misconfigured", error="the file /etc/prices is missing")

    reply = await served.send("POST", "/api/v1/agent/batch", {"items": _items(bad=(), many=1)})

    (item,) = reply.json["items"]
    assert (item["error"]["code"], item["error"]["request_id"]) == ("misconfigured", reply.headers["x-request-id"])
    assert "/etc/prices" not in reply.body.decode()
    assert "/etc/prices" in caplog.text


@pytest.mark.parametrize(
    "body",
    [{}, {"items": []}, {"items": [{"query": 1}]}, {"items": [{"query": "a"}], "concurrency": 65}, {"items": [{}] * 1001}],
    ids=["nothing", "no items", "no text", "too many at once", "too many"],
)
async def test_what_is_no_batch_is_refused_whole(served: Served, body: object) -> None:
    reply = await served.send("POST", "/api/v1/agent/batch", body)

    assert reply.status == 422
    assert not await served.store.journal.runs("acme")
