"""What every model and every wrapper around one has in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from quarterdeck.core.errors import DeadlineExceeded
from quarterdeck.core.events import Delta
from quarterdeck.models.base import Model
from quarterdeck.models.breaker import Breaking
from quarterdeck.models.budgeted import Budgeted
from quarterdeck.models.cached import Cached, CompletionCache
from quarterdeck.models.fallback import Fallback
from quarterdeck.models.meter import Metered
from quarterdeck.models.preset import Preset
from quarterdeck.models.prices import Prices
from quarterdeck.models.retry import Retrying
from quarterdeck.models.router import Routing, Rule
from quarterdeck.models.simulated import SimulatedModel
from quarterdeck.models.structured import Structured
from quarterdeck.net import GuardedClient
from quarterdeck.service.budgets import BudgetLimit, Budgets
from quarterdeck.store.breaker import MemoryBreaker
from quarterdeck.store.memory import MemoryStore
from tests.dialects import DIALECTS, Dialect
from tests.provider import WEATHER, Provider, context, question


def spoken(dialect: Dialect) -> Callable[[], AbstractAsyncContextManager[Model]]:
    """A model behind a server of this dialect that calls the tool it must and otherwise repeats the question."""

    @asynccontextmanager
    async def open_model() -> AsyncIterator[Model]:
        async with Provider() as provider, GuardedClient(allowed_origins=[provider.origin]) as client:
            provider.otherwise = dialect.obliging
            yield dialect.model(provider, client)

    return open_model


openai = spoken(DIALECTS["openai"])


@asynccontextmanager
async def structured() -> AsyncIterator[Model]:
    async with openai() as model:
        yield Structured(model, "tool")


@asynccontextmanager
async def retrying() -> AsyncIterator[Model]:
    async with openai() as model:
        yield Retrying(model)


@asynccontextmanager
async def metered() -> AsyncIterator[Model]:
    async with openai() as model:
        yield Metered(model, Prices.bundled())


def wrapped(wrap: Callable[[Model], Model]) -> Callable[[], AbstractAsyncContextManager[Model]]:
    """A model inside a wrapper that has nothing to do."""

    @asynccontextmanager
    async def open_model() -> AsyncIterator[Model]:
        async with openai() as model:
            yield wrap(model)

    return open_model


@asynccontextmanager
async def simulated() -> AsyncIterator[Model]:
    yield SimulatedModel()


def budgeted(model: Model) -> Model:
    limit = BudgetLimit(scope="user", max_tokens=1_000_000)
    budgets = Budgets(MemoryStore().records, Prices.bundled(), [limit])
    held = Metered(model, Prices.bundled(), budgets)
    return Budgeted(held, budgets, lambda name: held)


MODELS: Mapping[str, Callable[[], AbstractAsyncContextManager[Model]]] = {
    **{name: spoken(dialect) for name, dialect in DIALECTS.items()},
    "structured": structured,
    "retrying": retrying,
    "metered": metered,
    "fallback": wrapped(lambda model: Fallback([model, Preset("Later.")])),
    "breaker": wrapped(lambda model: Breaking(model, MemoryBreaker())),
    "router": wrapped(lambda model: Routing(model, [Rule(name="other", use="x:y", agents=("other",))], lambda name: model)),
    "cached": wrapped(lambda model: Cached(model, CompletionCache(), with_tools=True)),
    "budgeted": wrapped(budgeted),
    "simulated": simulated,
}


@pytest.fixture(params=MODELS)
async def model(request: pytest.FixtureRequest) -> AsyncIterator[Model]:
    async with MODELS[request.param]() as model:
        yield model


@pytest.mark.row("R1", part="contract")
async def test_a_question_is_answered_in_text(model: Model) -> None:
    reply = await model.complete(question("How are you today?"), context())

    assert reply.text
    assert reply.tool_calls == ()
    assert (reply.finish_reason, reply.attempts) == ("stop", 1)


@pytest.mark.row("R1", part="contract")
async def test_the_pieces_are_the_reply(model: Model) -> None:
    deltas: list[Delta] = []

    async def keep(delta: Delta) -> None:
        deltas.append(delta)

    reply = await model.complete(question("How are you today?"), context(), keep)

    assert "".join(delta.text for delta in deltas if delta.kind == "text") == reply.text
    assert [delta.n for delta in deltas] == list(range(len(deltas)))


@pytest.mark.row("R1", part="contract")
@pytest.mark.parametrize("choice", ["required", "get_weather"])
async def test_a_tool_that_must_be_called_is_called(model: Model, choice: str) -> None:
    request = question("What is the weather in Oslo?", tools=(WEATHER,), tool_choice=choice)

    reply = await model.complete(request, context())

    assert reply.finish_reason == "tool_calls"
    assert [call.name for call in reply.tool_calls] == ["get_weather"]
    assert isinstance(reply.tool_calls[0].args.get("city"), str)


@pytest.mark.row("R1", part="contract")
async def test_no_tool_is_called_against_the_callers_choice(model: Model) -> None:
    request = question("What is the weather in Oslo?", tools=(WEATHER,), tool_choice="none")

    reply = await model.complete(request, context())

    assert reply.tool_calls == ()


async def test_the_reply_says_what_it_consumed_and_who_made_it(model: Model) -> None:
    reply = await model.complete(question(), context())

    assert reply.usage.prompt_tokens > 0
    assert reply.usage.completion_tokens > 0
    assert reply.usage.seconds >= 0
    assert reply.model == model.name


@pytest.mark.parametrize("watched", [True, False])
async def test_after_the_deadline_nothing_is_answered(model: Model, watched: bool) -> None:
    async def ignore(delta: Delta) -> None:
        raise AssertionError("nothing may be said after the deadline")

    with pytest.raises(DeadlineExceeded):
        await model.complete(question(), context(within_s=-1.0), ignore if watched else None)


async def test_many_may_ask_at_once(model: Model) -> None:
    replies = await asyncio.gather(*(model.complete(question(f"Say {n}."), context()) for n in range(20)))

    assert all(reply.text for reply in replies)


async def test_a_watcher_that_fails_ends_the_call_with_its_own_error(model: Model) -> None:
    class Gone(Exception):
        """The watcher has left."""

    async def leave(delta: Any) -> None:
        raise Gone

    with pytest.raises(Gone):
        await model.complete(question("How are you today?"), context(), leave)
