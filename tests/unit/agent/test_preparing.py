"""The beginning of a run: search and classification side by side, each within its own time."""

from __future__ import annotations

import time
from typing import Any

import anyio
import pytest

from quarterdeck.core.answers import Passage
from quarterdeck.core.context import Context
from quarterdeck.core.errors import DeadlineExceeded, StoreUnavailable
from quarterdeck.core.events import Event, GuardrailFired, ModelReply, Retrieved, RunFailed
from quarterdeck.core.labels import PUBLIC, Integrity, Label
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.core.runs import AgentSpec
from quarterdeck.core.usage import Usage
from quarterdeck.knowledge.base import Finding
from quarterdeck.knowledge.rewrite import CarriedTerms
from quarterdeck.knowledge.tool import search_tool
from quarterdeck.models.base import Completion, Emit, ModelRequest
from quarterdeck.models.router import Classifier, Routing
from quarterdeck.models.simulated import SimulatedModel
from tests.unit.agent.scene import Scene, Scripted, passage, says

LEAVE = passage("leave-1", "Every employee has 30 days of annual leave per year.", title="Annual leave")
ANSWER = says("Every employee has 30 days of annual leave per year. [leave-1]")
READER = AgentSpec(name="reader", model="test:scripted", retrieve="always")
CLASSES = {"easy": "greetings", "hard": "everything else"}


class Shelf:
    """Finds the same for every question, once it may."""

    def __init__(self, *, begun: anyio.Event | None = None, until: anyio.Event | None = None, error: Any = None) -> None:
        self.queries: list[str] = []
        self._begun, self._until, self._error = begun or anyio.Event(), until, error

    async def search(self, query: str, ctx: Context, k: int = 6) -> tuple[list[Passage], str]:
        self.queries.append(query)
        self._begun.set()
        if self._until is not None:
            await self._until.wait()
        if self._error is not None:
            raise self._error
        return [LEAVE], "keyword"


class Small:
    """A model that sorts questions, once it may."""

    name = "test:small"

    def __init__(self, *, begun: anyio.Event | None = None, until: anyio.Event | None = None) -> None:
        self.questions: list[str] = []
        self._begun, self._until = begun or anyio.Event(), until

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        self.questions.append(request.messages[-1].text)
        self._begun.set()
        with anyio.move_on_after(ctx.deadline - time.monotonic()) as scope:
            if self._until is not None:
                await self._until.wait()
        if scope.cancelled_caught:
            raise DeadlineExceeded("too late")
        return Completion(text="easy", usage=Usage(prompt_tokens=7, completion_tokens=1))


def scene(shelf: Shelf, small: Small, *, timeout_s: float = 5.0, search_timeout_s: float = 5.0) -> Scene:
    """An agent whose questions are routed by a small model, and its handbook."""
    made = Scene(ANSWER, spec=READER, retriever=shelf)
    tiny = Scripted(ANSWER)
    classifier = Classifier(small, CLASSES, default="hard", timeout_s=timeout_s)
    routing = Routing(made.model, [], lambda name: tiny, classifier=classifier, by_class={"easy": "test:tiny"})

    class Routed:
        def get(self, name: str) -> Routing:
            return routing

    made.loop.models = Routed()
    made.loop.search_timeout_s = search_timeout_s
    return made


async def events(of: Scene) -> list[Event]:
    return [entry.event for entry in await of.entries()]


def the(kind: type[Any], among: list[Event]) -> Any:
    [found] = [event for event in among if isinstance(event, kind)]
    return found


def told(role: Role, text: str) -> Message:
    return Message(role=role, parts=(Text(text=text, label=Label(integrity=Integrity.TRUSTED, readers=PUBLIC)),))


@pytest.mark.row("R4", part="side by side")
async def test_search_and_classification_run_at_once() -> None:
    searching, sorting = anyio.Event(), anyio.Event()
    shelf, small = Shelf(begun=searching, until=sorting), Small(begun=sorting, until=searching)
    run = scene(shelf, small)

    with anyio.fail_after(5):  # each waits for the other to have begun
        await run.ask("How much leave?")

    told = await events(run)
    assert the(Retrieved, told).mode == "keyword"
    assert the(ModelReply, told).route == "router: class easy -> test:tiny"
    assert len(small.questions) == 1


@pytest.mark.row("R4", part="side by side")
async def test_the_question_is_sorted_and_not_what_was_found_for_it() -> None:
    run = scene(Shelf(), small := Small())

    await run.ask("How much leave?")

    [asked] = small.questions
    assert "How much leave?" in asked
    assert LEAVE.text not in asked


@pytest.mark.row("R4", part="side by side")
async def test_what_was_found_first_spares_the_model_its_own_search() -> None:
    shelf = Shelf()
    run = Scene(ANSWER, spec=READER, retriever=shelf, tools=[search_tool(shelf)])

    class Simulated:
        def get(self, name: str) -> SimulatedModel:
            return SimulatedModel()

    run.loop.models = Simulated()
    await run.ask("How many days of annual leave do employees have?")

    told = await events(run)
    assert len(shelf.queries) == 1
    assert the(ModelReply, told).message.text.endswith("[leave-1]")


async def test_what_the_classification_took_is_told_with_the_reply() -> None:
    run = scene(Shelf(), Small())

    state = await run.ask("How much leave?")

    told = the(ModelReply, await events(run))
    assert told.usage.prompt_tokens == ANSWER.usage.prompt_tokens + 7
    assert state.usage.prompt_tokens == told.usage.prompt_tokens


@pytest.mark.row("R4", part="side by side")
async def test_a_classification_that_hangs_costs_its_own_time_only() -> None:
    run = scene(Shelf(), Small(until=anyio.Event()), timeout_s=0.05)

    with anyio.fail_after(5):
        await run.ask("How much leave?")

    told = await events(run)
    assert the(Retrieved, told).passages == (LEAVE,)
    assert the(ModelReply, told).route == "router: class hard (default: deadline_exceeded) -> test:scripted"


@pytest.mark.row("R4", part="side by side")
async def test_a_search_that_hangs_costs_its_own_time_only_and_the_record_says_so() -> None:
    run = scene(Shelf(until=anyio.Event()), Small(), search_timeout_s=0.05)

    with anyio.fail_after(5):
        await run.ask("How much leave?")

    told = await events(run)
    assert (the(Retrieved, told).mode, the(Retrieved, told).passages) == ("late", ())
    assert the(GuardrailFired, told) == GuardrailFired(
        layer="retrieval", verdict="late", rule="deadline_exceeded", action="answer_without"
    )
    assert the(ModelReply, told).route == "router: class easy -> test:tiny"


async def test_a_search_that_fails_is_left_out_and_the_record_says_so() -> None:
    run = scene(Shelf(error=StoreUnavailable("the index is locked")), Small())

    await run.ask("How much leave?")

    told = await events(run)
    assert the(Retrieved, told).mode == "failed"
    assert the(GuardrailFired, told).rule == "store_unavailable"


@pytest.mark.row("K4", part="follow-up")
async def test_a_follow_up_is_searched_for_with_the_topic_it_leans_on_and_the_record_says_so() -> None:
    run = scene(shelf := Shelf(), Small())
    run.loop.rewriter = CarriedTerms()
    history = (told(Role.USER, "How many days of annual leave?"), told(Role.ASSISTANT, "Thirty."))

    await run.ask("And for contractors?", history=history)

    assert shelf.queries == ["days annual leave And for contractors?"]
    assert the(Retrieved, await events(run)).query == shelf.queries[0]


class Careful(Shelf):
    """Says what went wrong, and what it took."""

    async def find(self, query: str, ctx: Context, k: int = 6) -> Finding:
        return Finding(passages=(LEAVE,), mode="keyword", notes=("vectors came too late",), usage=Usage(prompt_tokens=5))


@pytest.mark.row("O3", part="retrieval")
async def test_the_record_says_what_was_found_how_and_at_what_cost() -> None:
    run = scene(Careful(), Small())

    state = await run.ask("How much leave?")

    found = the(Retrieved, await events(run))
    assert (found.mode, found.notes, found.usage.prompt_tokens) == ("keyword", ("vectors came too late",), 5)
    assert [(passage.id, passage.score) for passage in found.passages] == [(LEAVE.id, LEAVE.score)]
    assert state.usage.prompt_tokens == ANSWER.usage.prompt_tokens + 7 + 5


async def test_a_search_with_a_mistake_in_it_fails_the_run_in_its_own_words() -> None:
    run = scene(Shelf(error=ZeroDivisionError("a mistake")), Small())

    await run.ask("How much leave?")

    assert the(RunFailed, await events(run)).error == "ZeroDivisionError: a mistake"
