"""Fallbacks: who is asked next, and when nobody is."""

from __future__ import annotations

from typing import Any

import pytest

from quarterdeck.core.context import Context
from quarterdeck.core.errors import (
    BudgetExceeded,
    ContextTooLarge,
    DeadlineExceeded,
    Filtered,
    ModelInvalid,
    ModelRefused,
    ModelUnavailable,
    QuarterdeckError,
    Truncated,
)
from quarterdeck.core.events import Delta
from quarterdeck.core.usage import Usage
from quarterdeck.devtools.fakes import FakeModel
from quarterdeck.models.base import Completion, Emit, ModelRequest
from quarterdeck.models.fallback import REASONS, Fallback
from quarterdeck.models.preset import Preset
from tests.provider import context, question

TEN = Usage(prompt_tokens=8, completion_tokens=2, cost_usd=0.5)
DOWN = ModelUnavailable("no answer", status=503)


def says(text: str, model: str) -> FakeModel:
    return FakeModel(Completion(text=text, model=model, usage=TEN), name=model)


class Dies:
    """Says a word to whoever watches and then fails."""

    name = "test:dies"

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        if emit is not None:
            await emit(Delta(kind="text", text="Hel"))
        raise ModelUnavailable("cut")


@pytest.mark.row("R4", part="fallback")
async def test_the_next_model_answers_when_the_first_is_down() -> None:
    model = Fallback([FakeModel(DOWN, name="test:one"), says("Hi.", "test:two")])

    reply = await model.complete(question(), context())

    assert (reply.text, reply.model) == ("Hi.", "test:two")
    assert reply.route == "fallback: test:one model_unavailable -> test:two"
    assert reply.attempts == 2


async def test_a_model_that_answers_leaves_no_trace_of_the_others() -> None:
    spare = FakeModel(name="test:two")

    reply = await Fallback([says("Hi.", "test:one"), spare]).complete(question(), context())

    assert (reply.route, reply.attempts, spare.requests) == ("", 1, [])


@pytest.mark.row("R4", part="fallback")
@pytest.mark.parametrize(
    ("error", "reasons", "asked"),
    [
        (ModelUnavailable("x", status=429), REASONS, True),
        (ModelInvalid("x"), REASONS, True),
        (Truncated("x"), REASONS, False),
        (Truncated("x"), ["truncated"], True),
        (ContextTooLarge("x"), REASONS, False),
        (ContextTooLarge("x"), ["context_too_large"], True),
        (Filtered("x"), ["model_refused"], False),
        (Filtered("x"), ["filtered"], True),
        (ModelRefused("x", status=401), REASONS, False),
        (ModelRefused("x", status=401), ["model_refused"], True),
        (ModelRefused("x", status=401), ["model_refused:401"], True),
        (ModelRefused("x", status=400), ["model_refused:401"], False),
        (DeadlineExceeded("x"), REASONS, False),
        (BudgetExceeded("x"), REASONS, False),
    ],
    ids=lambda value: f"{value.code}-{getattr(value, 'status', '')}" if isinstance(value, QuarterdeckError) else str(value),
)
async def test_what_counts_as_a_reason_is_data(error: QuarterdeckError, reasons: Any, asked: bool) -> None:
    spare = says("Hi.", "test:two")
    model = Fallback([FakeModel(error), spare], reasons=reasons)

    if asked:
        assert (await model.complete(question(), context())).text == "Hi."
    else:
        with pytest.raises(type(error)):
            await model.complete(question(), context())
    assert len(spare.requests) == int(asked)


@pytest.mark.row("R4", part="fallback")
async def test_nobody_is_asked_once_a_piece_was_delivered() -> None:
    spare = says("Hi.", "test:two")
    heard: list[str] = []

    async def hear(delta: Delta) -> None:
        heard.append(delta.text)

    with pytest.raises(ModelUnavailable):
        await Fallback([Dies(), spare]).complete(question(), context(), hear)

    assert (heard, spare.requests) == (["Hel"], [])


async def test_without_a_watcher_a_reply_that_breaks_off_is_made_by_the_next() -> None:
    reply = await Fallback([Dies(), says("Hi.", "test:two")]).complete(question(), context())

    assert reply.text == "Hi."


async def test_what_the_failed_ones_consumed_is_added() -> None:
    wasted = Usage(prompt_tokens=3, completion_tokens=1, cost_usd=0.25)

    reply = await Fallback([FakeModel(ModelInvalid("html", usage=wasted)), says("Hi.", "test:two")]).complete(
        question(), context()
    )

    assert reply.usage == TEN + wasted


async def test_when_all_fail_the_last_error_carries_what_all_consumed() -> None:
    errors = [ModelInvalid("a", usage=TEN), ModelInvalid("b", usage=TEN)]

    with pytest.raises(ModelInvalid, match="b") as caught:
        await Fallback([FakeModel(error) for error in errors]).complete(question(), context())

    assert caught.value.usage == TEN + TEN


@pytest.mark.row("R4", part="preset answer")
async def test_the_last_fallback_may_be_a_preset_answer() -> None:
    heard: list[Delta] = []

    async def hear(delta: Delta) -> None:
        heard.append(delta)

    reply = await Fallback([FakeModel(DOWN, name="test:one"), Preset("Later, please.")]).complete(
        question(), context(), hear
    )

    assert (reply.text, reply.model, reply.usage) == ("Later, please.", "preset", Usage())
    assert [delta.text for delta in heard] == ["Later, please."]
    assert reply.route == "fallback: test:one model_unavailable -> preset"


def test_there_is_at_least_one_model() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Fallback([])
