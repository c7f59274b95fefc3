from __future__ import annotations

import json
import time
from collections.abc import Sequence

import anyio
import pytest

from quarterdeck.core.context import Context, Principal
from quarterdeck.core.errors import ModelUnavailable
from quarterdeck.core.labels import Integrity, Label, Readers
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.core.usage import Usage
from quarterdeck.devtools.fakes import FakeModel
from quarterdeck.knowledge.rewrite import CarriedTerms, Rewritten, completed, leans
from quarterdeck.knowledge.rewrite_model import ModelRewriter
from quarterdeck.models.base import Completion, Emit, ModelRequest
from tests.unit.knowledge import desks
from tests.unit.knowledge.follow_ups import ALONE, LEANING

HR = Label(readers=Readers.of("group:hr"))


def said(*texts: str, role: Role = Role.USER) -> list[Message]:
    return [Message(role=role, parts=(Text(text=text, label=HR),)) for text in texts]


def context(seconds: float = 10.0) -> Context:
    return Context(principal=Principal(user="ann", tenant="acme"), run_id="r", deadline=time.monotonic() + seconds)


@pytest.mark.row("K4", part="follow-up")
@pytest.mark.parametrize(("before", "question", "carried"), LEANING)
async def test_a_question_that_leans_on_the_one_before_is_completed(before: str, question: str, carried: str) -> None:
    rewritten = await CarriedTerms().rewrite(question, said(before), context())

    assert rewritten.by == "terms"
    assert carried in rewritten.query
    assert rewritten.query.endswith(question)


@pytest.mark.row("K4", part="follow-up")
async def test_questions_that_stand_alone_are_left_as_they_are() -> None:
    articles = (*desks.ENGLISH_ANSWERED, *desks.ENGLISH_UNANSWERED, *desks.CHINESE_ANSWERED, *desks.CHINESE_UNANSWERED)
    before = said("How high is the referral bonus?")

    changed = [
        question
        for question in (*ALONE, *articles)
        if await CarriedTerms().rewrite(question, before, context()) != Rewritten(query=question)
    ]

    assert changed == []


def test_a_chain_of_follow_ups_reaches_back_to_what_they_are_about() -> None:
    asked = ["What is the limit for hotels in London?", "And in Berlin?"]

    query = completed("Who approves exceptions?", asked)

    assert {"limit", "hotels", "Berlin"} <= set(query.split())


def test_what_was_asked_before_the_last_question_that_stands_alone_is_not_carried() -> None:
    query = completed("How long does it take?", ["How do I connect to the VPN?", "How do I reset my password?"])

    assert query == "reset password How long does it take?"


def test_without_a_conversation_nothing_is_carried() -> None:
    assert leans("And for contractors?")
    assert completed("And for contractors?", []) == "And for contractors?"


def test_only_so_much_is_carried() -> None:
    before = " ".join(f"word{number}" for number in range(500))

    assert len(completed("Why?", [before]).split()) == 13


async def test_answers_are_not_carried() -> None:
    earlier = said("How do I reset my password?") + said("Zebrafish.", role=Role.ASSISTANT)

    rewritten = await CarriedTerms().rewrite("Why?", earlier, context())

    assert "Zebrafish" not in rewritten.query


@pytest.mark.row("K4", part="follow-up")
async def test_a_model_completes_a_question_from_the_labelled_conversation_alone() -> None:
    used = Usage(prompt_tokens=40, completion_tokens=9)
    model = FakeModel(Completion(text='{"query": "annual  leave of\\n contractors"}', usage=used))
    earlier = said("How many days of leave?") + said("Thirty.", role=Role.ASSISTANT) + said("secret result", role=Role.TOOL)

    rewritten = await ModelRewriter(model).rewrite("And for contractors?", earlier, context())

    assert rewritten == Rewritten(query="annual leave of contractors", by="model", usage=used)
    [request] = model.requests
    shown = request.messages[1]
    assert "Thirty." in shown.text
    assert "secret result" not in shown.text
    assert HR in {part.label for part in shown.parts}
    assert all(part.label.integrity is Integrity.UNTRUSTED for part in shown.parts[1:-1])
    assert (request.tools, request.output_schema is None) == ((), False)


async def test_a_first_question_costs_no_model_call() -> None:
    assert await ModelRewriter(FakeModel()).rewrite("How many days?", [], context()) == Rewritten(query="How many days?")


@pytest.mark.row("K4", part="follow-up")
@pytest.mark.parametrize(
    "reply",
    [
        Completion(text="annual leave of contractors"),
        Completion(text="[]"),
        Completion(text='{"query": " "}'),
        Completion(text='{"query": 3}'),
        Completion(text='{"query": "a", "note": "b"}'),
        Completion(text=json.dumps({"query": "x" * 501})),
        ModelUnavailable("away"),
    ],
)
async def test_terms_are_carried_where_a_model_gives_no_query(reply: Completion | Exception) -> None:
    rewritten = await ModelRewriter(FakeModel(reply)).rewrite("Why?", said("How do I reset my password?"), context())

    assert (rewritten.query, rewritten.by) == ("reset password Why?", "terms")


class Silent:
    """A model that never answers."""

    name = "test:silent"

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        await anyio.sleep_forever()
        raise AssertionError


async def test_a_model_has_a_time_of_its_own() -> None:
    rewriter = ModelRewriter(Silent(), timeout_s=0.05)

    with anyio.fail_after(5):
        rewritten = await rewriter.rewrite("Why?", said("How do I reset my password?"), context())

    assert rewritten.by == "terms"


async def test_what_a_model_consumed_for_nothing_is_told() -> None:
    model = FakeModel(Completion(text="no", usage=Usage(prompt_tokens=7)))

    rewritten = await ModelRewriter(model).rewrite("Why?", said("How do I reset my password?"), context())

    assert rewritten.usage.prompt_tokens == 7


@pytest.mark.parametrize("texts", [["？"], [""], ["a"], ["的"], ["那呢？"], ["\u202eand?"]])
def test_strange_questions_are_borne(texts: Sequence[str]) -> None:
    for text in texts:
        assert completed(text, [text, "How do I reset my password?"]).endswith(text)
