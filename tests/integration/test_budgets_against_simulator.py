"""Budgets held against what a provider counted: with repeated calls, stand-ins, and many calls at once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import anyio
import pytest

from quarterdeck.app.budgets import open_budgets
from quarterdeck.app.models import ModelShelf
from quarterdeck.core.context import Context, Principal
from quarterdeck.core.errors import BudgetExceeded, Misconfigured, ModelInvalid
from quarterdeck.devtools.simulator.server import Simulator
from quarterdeck.devtools.simulator.traced import Traced
from quarterdeck.models.base import Completion, Model
from quarterdeck.service.budgets import Budgets
from quarterdeck.service.tallies import Tally
from quarterdeck.settings import Settings
from quarterdeck.store.memory import MemoryStore
from tests.provider import context, question

PRICES = {"first:m": {"input_usd": 1000.0, "output_usd": 10_000.0}, "second:m": {"input_usd": 100.0, "output_usd": 100.0}}
ANSWERS = "steps: [{answer: Yes.}]"
# Billed, no answer, and worth one repetition.
NO_ANSWER = "steps: [{brain: sim-no-choices}]"


@dataclass
class World:
    """Two providers, what they counted, and the models and budgets on our side."""

    first: Traced
    second: Traced
    shelf: ModelShelf
    budgets: Budgets

    @property
    def model(self) -> Model:
        return self.shelf.get("first:m")

    def billed(self) -> dict[str, list[tuple[int, int]]]:
        """(prompt, completion) tokens of each reply a provider counted, by model."""
        found: dict[str, list[tuple[int, int]]] = {}
        for name, provider in (("first:m", self.first), ("second:m", self.second)):
            for entry in provider.requests(status=200):
                usage = json.loads(entry.response_text)["usage"]
                found.setdefault(name, []).append((usage["prompt_tokens"], usage["completion_tokens"]))
        return found

    async def booked(self) -> dict[str, Tally]:
        sums: dict[str, Tally] = {}
        for cost in await self.budgets.costs("acme", "user"):
            sums[cost.model] = sums.get(cost.model, Tally()) + cost.tally
        return sums

    async def agrees(self) -> bool:
        """Whether what is booked is what the providers counted, to the token and the call."""
        booked = {
            model: (tally.calls, tally.prompt_tokens, tally.completion_tokens)
            for model, tally in (await self.booked()).items()
        }
        return booked == {
            model: (len(replies), sum(prompt for prompt, _ in replies), sum(done for _, done in replies))
            for model, replies in self.billed().items()
        }


@asynccontextmanager
async def world(limits: list[dict[str, Any]], **models: Any) -> AsyncIterator[World]:
    async with Simulator() as simulator:
        first, second = simulator.trace("first"), simulator.trace("second")
        settings = Settings.model_validate(
            {
                "models": {
                    "prices": PRICES,
                    "retry_base_s": 0.001,
                    "providers": {
                        "first": {"base_url": first.base_url, "api_key": "any"},
                        "second": {"base_url": second.base_url, "api_key": "any"},
                    },
                    **models,
                },
                "budgets": limits,
            }
        )
        budgets = open_budgets(settings, MemoryStore().records)
        shelf = ModelShelf(settings, budget=budgets)
        try:
            yield World(first, second, shelf, budgets)
        finally:
            await shelf.close()


def by(user: str, run: str = "run-1") -> Context:
    return replace(context(), principal=Principal(user=user, tenant="acme"), run_id=run)


async def until_spent(model: Model, ctx: Context) -> list[Completion]:
    replies: list[Completion] = []
    while True:
        try:
            replies += [await model.complete(question(max_tokens=20), ctx)]
        except BudgetExceeded:
            return replies


def tokens(replies: list[tuple[int, int]]) -> list[int]:
    return [prompt + done for prompt, done in replies]


@pytest.mark.row("G9", part="budget exact to one call")
async def test_a_repeated_call_is_held_to_the_budget_attempt_by_attempt() -> None:
    async with world([{"scope": "user", "max_tokens": 70}]) as it:
        it.first.play(NO_ANSWER)

        for _ in range(2):
            with pytest.raises(ModelInvalid, match="after 2 attempts"):
                await it.model.complete(question(max_tokens=20), by("ann"))
        with pytest.raises(BudgetExceeded, match="user ann this day"):  # between an attempt and its repetition
            await it.model.complete(question(max_tokens=20), by("ann"))

        attempts = tokens(it.billed()["first:m"])
        assert (len(attempts), sum(attempts[:-1]) < 70 <= sum(attempts)) == (5, True)
        assert await it.agrees()


@pytest.mark.row("G9", part="budget exact to one call")
async def test_a_stand_in_is_held_to_the_budget_at_its_own_price() -> None:
    async with world([{"scope": "user", "max_usd": 0.02}], retries=0, fallbacks={"*": ["second:m"]}) as it:
        it.first.fault("503")
        it.second.play(ANSWERS)

        replies = await until_spent(it.model, by("ann"))

        costs = [100 * spent / 1e6 for spent in tokens(it.billed()["second:m"])]
        assert {reply.model for reply in replies} == {"second:m"}
        assert sum(costs[:-1]) < 0.02 <= sum(costs)
        assert (await it.booked())["second:m"].cost_usd == pytest.approx(sum(costs))
        assert await it.agrees()


@pytest.mark.row("G9", part="budget exact to one call")
async def test_the_budget_of_a_model_counts_the_calls_it_stands_in_for() -> None:
    limits = [{"scope": "model", "names": ["second:m"], "max_tokens": 70}]
    async with world(limits, retries=0, fallbacks={"*": ["second:m", "preset"]}, preset_answer="Later.") as it:
        it.first.fault("503")
        it.second.play(ANSWERS)

        replies = [await it.model.complete(question(max_tokens=20), by("ann")) for _ in range(6)]

        asked = tokens(it.billed()["second:m"])
        assert sum(asked[:-1]) < 70 <= sum(asked)
        assert [reply.model for reply in replies] == ["second:m"] * len(asked) + ["preset"] * (6 - len(asked))
        assert replies[-1].route == "fallback: first:m model_unavailable, second:m budget_exceeded -> preset"
        assert await it.agrees()


@pytest.mark.row("G9", part="budget exact to one call")
async def test_a_stand_in_without_a_price_is_passed_over_where_a_limit_is_in_money() -> None:
    limits = [{"scope": "user", "max_usd": 1.0}]
    async with world(limits, retries=0, fallbacks={"*": ["second:new", "second:m"]}) as it:
        it.first.fault("503")
        it.second.play(ANSWERS)

        reply = await it.model.complete(question(max_tokens=20), by("ann"))

        assert reply.route == "fallback: first:m model_unavailable, second:new misconfigured -> second:m"
        assert [entry.model for entry in it.second.requests()] == ["m"]
        assert await it.agrees()


async def test_a_stand_in_without_a_price_is_told_of_at_the_start() -> None:
    async with world([{"scope": "user", "max_usd": 1.0}], fallbacks={"*": ["second:new"]}) as it:
        _ = it.model

        assert it.shelf.warnings == [
            "second:new has no known price and will not be asked where a budget is in money: add it to models.prices"
        ]


async def test_when_nobody_else_is_left_the_reason_of_the_last_is_told() -> None:
    async with world([{"scope": "user", "max_usd": 1.0}], retries=0, fallbacks={"*": ["second:new"]}) as it:
        it.first.fault("503")

        with pytest.raises(Misconfigured, match="second:new has no known price: add it to models"):
            await it.model.complete(question(), by("ann"))


@pytest.mark.row("G9", part="budget exact to one call")
@pytest.mark.parametrize("limit", [1, 50, 400])
async def test_of_fifty_at_once_over_failing_models_only_one_call_goes_over(limit: int) -> None:
    async with world([{"scope": "tenant", "max_tokens": limit}], fallbacks={"*": ["second:m"]}) as it:
        it.first.play(NO_ANSWER)
        it.second.play(ANSWERS)
        ended: Counter[str] = Counter()

        async def ask(n: int) -> None:
            try:
                ended[(await it.model.complete(question(max_tokens=20), by(f"user-{n}", f"run-{n}"))).model] += 1
            except BudgetExceeded as error:
                ended[error.code] += 1

        async with anyio.create_task_group() as tasks:
            for n in range(50):
                tasks.start_soon(ask, n)

        every = [spent for replies in it.billed().values() for spent in tokens(replies)]
        assert limit <= sum(every) < limit + max(every)
        assert ended["budget_exceeded"] == 50 - ended["second:m"]
        assert await it.agrees()
