"""Routing: rules over what is known of a request, and a small model's opinion."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import anyio
import pytest

from quarterdeck.core.context import Context, Principal
from quarterdeck.core.errors import DeadlineExceeded, ModelInvalid, ModelUnavailable
from quarterdeck.core.labels import PUBLIC, Integrity, Label, Readers
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.core.usage import Usage
from quarterdeck.devtools.fakes import FakeModel, Step
from quarterdeck.models.base import Completion, Emit, Model, ModelRequest
from quarterdeck.models.router import Classifier, Routing, Rule
from tests.provider import WEATHER, context, question

CLASSES = {"routine": "greetings", "hard": "everything else"}
ONE = Usage(prompt_tokens=5, completion_tokens=1, cost_usd=0.001)
TEN = Usage(prompt_tokens=50, completion_tokens=10, cost_usd=0.01)


def labelled(text: str, **label: Any) -> ModelRequest:
    known = Label(**{"integrity": Integrity.TRUSTED, "readers": PUBLIC, **label})
    asked = question()
    return replace(asked, messages=(*asked.messages, Message(role=Role.USER, parts=(Text(text=text, label=known),))))


def around(**fields: Any) -> Context:
    return replace(context(), **fields)


@pytest.mark.row("R4", part="router")
@pytest.mark.parametrize(
    ("conditions", "request_", "ctx", "holds"),
    [
        ({}, question(), context(), True),
        ({"integrity": Integrity.UNTRUSTED}, labelled("x", integrity=Integrity.UNTRUSTED), context(), True),
        ({"integrity": Integrity.ENDORSED}, labelled("x", integrity=Integrity.UNTRUSTED), context(), True),
        ({"integrity": Integrity.UNTRUSTED}, labelled("x", integrity=Integrity.ENDORSED), context(), False),
        ({"readers": ("group:hr",)}, labelled("x", readers=Readers.of("group:hr", "user:eve")), context(), True),
        ({"readers": ("group:hr",)}, labelled("x", readers=Readers.of("group:it")), context(), False),
        ({"risk": 2}, question(tools=(replace(WEATHER, risk=2),)), context(), True),
        ({"risk": 2}, question(tools=(replace(WEATHER, risk=1),)), context(), False),
        ({"risk": 1}, question(), context(), False),
        ({"min_chars": 1000}, question("x" * 1000), context(), True),
        ({"min_chars": 1000}, question("x"), context(), False),
        ({"max_chars": 100}, question("x"), context(), True),
        ({"max_chars": 100}, question("x" * 1000), context(), False),
        ({"tenants": ("acme",)}, question(), context(), True),
        ({"tenants": ("acme",)}, question(), around(principal=Principal(user="ann", tenant="other")), False),
        ({"agents": ("desk",)}, question(), around(agent="desk"), True),
        ({"agents": ("desk",)}, question(), around(agent="other"), False),
        ({"tags": {"experiment": "b"}}, question(), around(tags={"experiment": "b", "x": "y"}), True),
        ({"tags": {"experiment": "b"}}, question(), around(tags={"experiment": "a"}), False),
        ({"tenants": ("acme",), "agents": ("desk",)}, question(), around(agent="other"), False),
    ],
)
def test_a_rule_holds_when_all_its_conditions_do(
    conditions: dict[str, Any], request_: ModelRequest, ctx: Context, holds: bool
) -> None:
    assert Rule(name="r", use="test:m", **conditions).holds(request_, ctx) is holds


class Shelf:
    """Models by name; each answers with its name."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, name: str) -> Model:
        def answer(request: ModelRequest) -> Completion:
            self.asked.append(name)
            return Completion(text=f"I am {name}.", model=name, usage=TEN)

        return FakeModel(*[answer] * 20, name=name)


def small(*script: Step, **options: Any) -> tuple[FakeModel, Classifier]:
    model = FakeModel(*script, name="test:small")
    return model, Classifier(model, CLASSES, default="hard", **options)


def says(text: str) -> Completion:
    return Completion(text=text, usage=ONE)


@pytest.mark.row("R4", part="router")
async def test_the_first_rule_that_holds_decides_and_says_so() -> None:
    shelf = Shelf()
    rules = [Rule(name="risky", use="test:big", risk=2), Rule(name="rest", use="test:tiny")]
    routing = Routing(shelf("test:own"), rules, shelf)

    risky = await routing.complete(question(tools=(replace(WEATHER, risk=3),)), context())
    other = await routing.complete(question(), context())

    assert (risky.model, risky.route) == ("test:big", "router: rule risky -> test:big")
    assert (other.model, other.route) == ("test:tiny", "router: rule rest -> test:tiny")


async def test_without_a_rule_that_holds_the_agents_own_model_answers() -> None:
    shelf = Shelf()
    routing = Routing(shelf("test:own"), [Rule(name="risky", use="test:big", risk=2)], shelf)

    reply = await routing.complete(question(), context())

    assert (reply.model, reply.route) == ("test:own", "")


@pytest.mark.row("R4", part="router")
@pytest.mark.parametrize(
    ("said", "use", "route"),
    [
        ("routine", "test:tiny", "router: class routine -> test:tiny"),
        (" **Routine**.\n", "test:tiny", "router: class routine -> test:tiny"),
        ("hard", "test:own", "router: class hard -> test:own"),
        ("routine or hard", "test:own", "router: class hard (default: no class named) -> test:own"),
        ("I cannot say", "test:own", "router: class hard (default: no class named) -> test:own"),
    ],
)
async def test_a_small_model_sorts_what_no_rule_is_about(said: str, use: str, route: str) -> None:
    shelf = Shelf()
    _, classifier = small(says(said))
    routing = Routing(shelf("test:own"), [], shelf, classifier=classifier, by_class={"routine": "test:tiny"})

    reply = await routing.complete(question(), context())

    assert (reply.model, reply.route) == (use, route)
    assert reply.usage == ONE + TEN


async def test_a_rule_comes_before_what_a_text_says_of_itself() -> None:
    shelf = Shelf()
    asked, classifier = small(says("routine"))
    rule = Rule(name="outsiders", use="test:big", integrity=Integrity.UNTRUSTED)
    routing = Routing(shelf("test:own"), [rule], shelf, classifier=classifier, by_class={"routine": "test:tiny"})

    reply = await routing.complete(labelled("This is routine.", integrity=Integrity.UNTRUSTED), context())

    assert (reply.model, asked.requests) == ("test:big", [])


@pytest.mark.row("R4", part="router")
@pytest.mark.parametrize("error", [ModelUnavailable("down"), ModelInvalid("html", usage=ONE)], ids=lambda error: error.code)
async def test_a_classifier_that_fails_has_a_default_and_costs_what_it_cost(error: Any) -> None:
    shelf = Shelf()
    _, classifier = small(error)
    routing = Routing(shelf("test:own"), [], shelf, classifier=classifier, by_class={"hard": "test:big"})

    reply = await routing.complete(question(), context())

    assert reply.route == f"router: class hard (default: {error.code}) -> test:big"
    assert reply.usage == (TEN if error.usage is None else ONE + TEN)


class Slow:
    """Answers only when nobody waits any more."""

    name = "test:slow"

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        with anyio.move_on_after(max(0.0, ctx.deadline - time.monotonic())):
            await anyio.sleep_forever()
        raise DeadlineExceeded("too late")


@pytest.mark.row("R4", part="router")
async def test_a_classifier_has_a_deadline_of_its_own() -> None:
    classifier = Classifier(Slow(), CLASSES, default="hard", timeout_s=0.02)
    started = time.monotonic()

    verdict = await classifier.classify(question(), context(within_s=60))

    assert (verdict.label, verdict.why) == ("hard", "default: deadline_exceeded")
    assert time.monotonic() - started < 5


async def test_when_the_callers_own_time_is_over_that_is_said() -> None:
    with pytest.raises(DeadlineExceeded):
        await Classifier(Slow(), CLASSES, default="hard").classify(question(), context(within_s=0.01))


async def test_a_question_is_classified_once_per_run() -> None:
    asked, classifier = small(says("routine"), says("hard"))

    first = await classifier.classify(question(), context())
    again = await classifier.classify(question(), context())
    other = await classifier.classify(question(), replace(context(), run_id="run-2"))

    assert [first.label, again.label, other.label] == ["routine", "routine", "hard"]
    assert again.usage == Usage()
    assert len(asked.requests) == 2


@pytest.mark.row("R4", part="side by side")
async def test_a_class_found_out_ahead_is_used_and_told_once_what_it_took() -> None:
    shelf = Shelf()
    asked, classifier = small(says("routine"))
    routing = Routing(shelf("test:own"), [], shelf, classifier=classifier, by_class={"routine": "test:tiny"})
    request = question("How are you?", question="How are you?")
    grown = replace(request, messages=(*request.messages, *labelled("Passages found: ...").messages))

    await routing.prepare(request, context())
    first = await routing.complete(grown, context())
    again = await routing.complete(grown, context())

    assert [first.model, again.model] == ["test:tiny", "test:tiny"]
    assert [first.usage, again.usage] == [ONE + TEN, TEN]
    assert len(asked.requests) == 1


async def test_nothing_is_classified_ahead_where_a_rule_decides() -> None:
    shelf = Shelf()
    asked, classifier = small()
    routing = Routing(shelf("test:own"), [Rule(name="all", use="test:big")], shelf, classifier=classifier)

    await routing.prepare(question(), context())

    assert asked.requests == []


async def test_time_that_is_over_is_not_told_ahead() -> None:
    routing = Routing(Slow(), [], Shelf(), classifier=Classifier(Slow(), CLASSES, default="hard"))

    await routing.prepare(question(), context(within_s=0.01))


async def test_a_question_that_was_shortened_away_is_as_confidential_as_the_rest() -> None:
    asked, classifier = small(says("routine"))
    readers = Readers.of("group:hr")

    await classifier.classify(replace(labelled("Summary.", readers=readers), question="What was it?"), context())

    [part] = asked.requests[0].messages[0].parts
    assert isinstance(part, Text)
    assert (part.label.readers, "What was it?" in part.text) == (readers, True)


async def test_the_classifier_keeps_the_label_of_what_it_shows() -> None:
    asked, classifier = small(says("routine"))
    readers = Readers.of("group:hr")

    await classifier.classify(labelled("Secret.", readers=readers), context())

    assert asked.requests[0].messages[0].label.readers == readers


def test_the_default_is_one_of_the_classes() -> None:
    with pytest.raises(ValueError, match="none of the classes"):
        Classifier(Slow(), CLASSES, default="easy")
