"""A model decides whether passages bear out what cites them: asked once, counted, and never the last word on numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from quarterdeck.agent.state import RunState
from quarterdeck.core.answers import Answer, Passage
from quarterdeck.core.errors import ModelUnavailable
from quarterdeck.core.events import CitationsChecked, FinalAnswer
from quarterdeck.core.labels import PUBLIC, Integrity, Label
from quarterdeck.core.messages import Role
from quarterdeck.core.runs import AgentSpec
from quarterdeck.core.usage import Usage
from quarterdeck.models.base import Completion, ModelRequest
from tests.unit.agent.scene import Scene, calls, says

CHECKED = AgentSpec(name="helper", model="test:scripted", instructions="Help.", citations="model")
SAUNA = Passage(
    id="sauna-1",
    doc_id="sauna",
    title="Sauna",
    text="The sauna closes at 22:00. Guests bring their own towel.",
    label=Label(integrity=Integrity.TRUSTED, readers=PUBLIC),
    score=1.0,
)
PARAPHRASED = says("Sweating is over by 22:00. [sauna-1]")
COPIED = says("The sauna closes at 22:00. [sauna-1]")


async def search(query: str) -> tuple[Passage, ...]:
    """Search the house rules."""
    return (SAUNA,)


def verdict(*supported: bool, usage: Usage | None = None) -> Completion:
    verdicts = [{"n": n, "supported": one} for n, one in enumerate(supported, start=1)]
    return Completion(text=json.dumps({"verdicts": verdicts}), model="test:judge", usage=usage or Usage())


def scene(*replies: Any, spec: AgentSpec = CHECKED) -> Scene:
    return Scene(calls(("search", {"query": "sauna"})), *replies, tools=[search], spec=spec)


def answer_of(state: RunState) -> Answer:
    assert isinstance(state.ended, FinalAnswer)
    return state.ended.answer


async def checks_of(scene: Scene) -> list[CitationsChecked]:
    return [entry.event for entry in await scene.entries() if isinstance(entry.event, CitationsChecked)]


@pytest.mark.row("K6", part="model-graded")
async def test_what_is_said_in_other_words_stands_if_the_model_says_that_it_is_borne_out() -> None:
    checked = scene(PARAPHRASED, verdict(True))

    state = await checked.ask("When does the sauna close?")

    assert answer_of(state).sources == ("sauna-1",)
    assert (await checks_of(checked))[0].model == "test:judge"


@pytest.mark.row("K6", part="model-graded")
async def test_what_the_model_says_is_not_borne_out_goes_back_and_is_removed_in_the_end() -> None:
    checked = scene(COPIED, verdict(False), COPIED, verdict(False), COPIED, verdict(False))

    state = await checked.ask("When does the sauna close?")

    assert state.rejections == 2
    assert answer_of(state).sources == ()
    assert answer_of(state).needs_human_review


async def test_a_model_cannot_read_another_number_into_a_passage() -> None:
    wrong = says("The sauna closes at 23:00. [sauna-1]")
    checked = scene(wrong, verdict(True), COPIED, verdict(True))

    state = await checked.ask("When does the sauna close?")

    assert state.rejections == 1
    assert "22:00" in answer_of(state).text


@pytest.mark.row("K6", part="model-graded")
@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (ModelUnavailable("away"), "model_unavailable"),
        (Completion(text="Sure!", model="test:judge"), "upstream_invalid"),
        (Completion(text='{"verdicts": [{"n": 1, "supported": "yes"}]}', model="test:judge"), "upstream_invalid"),
        (Completion(text="[" * 100_000, model="test:judge"), "upstream_invalid"),
    ],
    ids=["away", "prose", "no boolean", "deep"],
)
async def test_without_a_verdict_words_decide_and_the_answer_says_so(reply: Any, problem: str) -> None:
    checked = scene(COPIED, reply)

    state = await checked.ask("When does the sauna close?")

    assert (await checks_of(checked))[0].problem == problem
    assert answer_of(state).sources == ("sauna-1",)
    assert "no model checked the citations: words in common decided" in answer_of(state).reasons


async def test_a_sentence_of_which_the_model_says_both_is_left_to_words() -> None:
    both = Completion(text='{"verdicts": [{"n": 1, "supported": true}, {"n": 1, "supported": false}]}', model="test:judge")
    checked = scene(COPIED, both)

    state = await checked.ask("When does the sauna close?")

    assert (await checks_of(checked))[0].verdicts == {}
    assert answer_of(state).sources == ("sauna-1",)


async def test_what_the_check_costs_is_counted() -> None:
    checked = scene(COPIED, verdict(True, usage=Usage(prompt_tokens=40, completion_tokens=2, cost_usd=0.5)))

    state = await checked.ask("When does the sauna close?")

    assert state.usage.prompt_tokens >= 40
    assert (state.usage.cost_usd or 0) >= 0.5


async def test_the_checking_model_is_shown_sentences_and_passages_as_material() -> None:
    checked = scene(COPIED, verdict(True))

    await checked.ask("When does the sauna close?")

    request: ModelRequest = checked.model.requests[-1]
    items: list[Mapping[str, Any]] = json.loads(request.messages[-1].text)
    assert items == [{"n": 1, "sentence": "The sauna closes at 22:00.", "passages": [f"Sauna\n{SAUNA.text}"]}]
    assert [message.role for message in request.messages] == [Role.SYSTEM, Role.USER]
    assert request.tools == ()
    assert request.output_schema is not None


async def test_an_answer_that_cites_nothing_asks_no_model() -> None:
    checked = scene(says("I found nothing about it."))

    state = await checked.ask("When does the sauna close?")

    assert answer_of(state).text == "I found nothing about it."
    assert [check.model for check in await checks_of(checked)] == [""]


async def test_an_agent_that_does_not_ask_for_it_has_no_check() -> None:
    plain = scene(COPIED, spec=AgentSpec(name="helper", model="test:scripted", instructions="Help."))

    await plain.ask("When does the sauna close?")

    assert await checks_of(plain) == []
