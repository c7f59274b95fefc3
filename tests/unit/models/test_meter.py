"""Prices and the budget."""

from __future__ import annotations

import anyio
import pytest

from quarterdeck.core.context import Context
from quarterdeck.core.errors import ModelInvalid
from quarterdeck.core.events import Delta
from quarterdeck.core.messages import ToolCall
from quarterdeck.core.usage import Usage
from quarterdeck.devtools.fakes import FakeModel
from quarterdeck.models.base import Completion, Emit, ModelRequest
from quarterdeck.models.meter import Metered
from quarterdeck.models.prices import Price, Prices
from tests.provider import WEATHER, Books, context, question

USAGE = Usage(prompt_tokens=1000, completion_tokens=100, cached_tokens=400, cost_usd=None)


class Answers:
    def __init__(self, name: str, error: Exception | None = None) -> None:
        self.name = name
        self.calls = 0
        self._error = error

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        self.calls += 1
        if self._error is not None:
            raise self._error
        return Completion(text="ok", usage=USAGE, model=self.name)


PRICES = Prices({"test:m": Price(input_usd=2.0, output_usd=10.0, cached_usd=0.5)})


async def test_a_call_is_priced_by_fresh_cached_and_produced_tokens() -> None:
    reply = await Metered(Answers("test:m"), PRICES).complete(question(), context())

    assert reply.usage.cost_usd == pytest.approx((600 * 2.0 + 400 * 0.5 + 100 * 10.0) / 1e6)


async def test_an_unlisted_model_has_an_unknown_cost() -> None:
    reply = await Metered(Answers("test:other"), PRICES).complete(question(), context())

    assert reply.usage.cost_usd is None


async def test_the_budget_hears_of_every_call_with_its_price() -> None:
    books = Books()

    reply = await Metered(Answers("test:m"), PRICES, books).complete(question(), context())

    assert books.spent == [("test:m", reply.usage)]


async def test_a_billed_call_that_failed_is_counted() -> None:
    books = Books()
    metered = Metered(Answers("test:m", ModelInvalid("html", usage=USAGE)), PRICES, books)

    with pytest.raises(ModelInvalid) as caught:
        await metered.complete(question(), context())

    assert [model for model, _ in books.spent] == ["test:m"]
    assert caught.value.usage is not None
    assert caught.value.usage.cost_usd == pytest.approx(0.0024)


def test_the_bundled_list_knows_dated_names_and_no_look_alikes() -> None:
    prices = Prices.bundled()

    assert (
        prices.of("openai:gpt-4o-2024-11-20")
        == prices.of("openai:gpt-4o")
        == Price(input_usd=2.5, output_usd=10, cached_usd=1.25)
    )
    assert prices.of("openai:gpt-4o-audio-preview") is None
    assert prices.of("ft:gpt-4o") is None
    assert prices.cost_usd("simulated", USAGE) == 0.0


def test_what_is_put_into_a_cache_has_its_own_price() -> None:
    usage = Usage(prompt_tokens=1000, completion_tokens=0, cached_tokens=500, cache_write_tokens=400)

    cost = Prices.bundled().cost_usd("anthropic:claude-haiku-4-5", usage)

    assert cost == pytest.approx((100 * 1 + 500 * 0.1 + 400 * 1.25) / 1e6)


def test_one_provider_spoken_to_in_two_ways_has_one_price() -> None:
    prices = Prices.bundled()

    assert prices.of("openai-responses:gpt-5") == prices.of("openai:gpt-5")


def test_own_prices_stand_in_front() -> None:
    prices = Prices.bundled({"openai:gpt-4o": Price(input_usd=1.0, output_usd=1.0)})

    assert prices.cost_usd("openai:gpt-4o", USAGE) == pytest.approx(0.0011)


class Talking:
    """Says what it has to say, and never comes to an end."""

    name = "test:m"

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        if emit is not None:
            await emit(Delta(kind="text", text="word " * 40))
        await anyio.sleep_forever()
        raise AssertionError


@pytest.mark.row("G9", part="metering")
async def test_a_call_whose_caller_left_is_booked_by_what_was_asked_and_passed_on() -> None:
    books, passed_on = Books(), anyio.Event()

    async def watch(delta: Delta) -> None:
        passed_on.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Metered(Talking(), PRICES, books).complete, question("word " * 100), context(), watch)
        await passed_on.wait()
        tasks.cancel_scope.cancel()

    [(model, usage)] = books.spent
    assert (model, usage.estimated) == ("test:m", True)
    assert 90 <= usage.prompt_tokens <= 130
    assert 35 <= usage.completion_tokens <= 50
    assert usage.cost_usd == pytest.approx((usage.prompt_tokens * 2.0 + usage.completion_tokens * 10.0) / 1e6)


async def test_the_budget_hears_which_tools_a_reply_calls_of_those_there_are() -> None:
    books = Books()
    calls = tuple(ToolCall(id=name, name=name) for name in ("get_weather", "invented", "get_weather"))
    model = FakeModel(Completion(tool_calls=calls, usage=USAGE, model="test:m"))

    await Metered(model, PRICES, books).complete(question(tools=(WEATHER,)), context())

    assert books.tools == ["get_weather"]
