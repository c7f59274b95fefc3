"""Several processes that count what is spent on one Postgres: nothing twice, nothing lost, and limits that hold for all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import anyio
import pytest

from quarterdeck.core.context import Context, Principal
from quarterdeck.core.errors import BudgetExceeded
from quarterdeck.core.usage import Usage
from quarterdeck.models.base import Completion, Emit, ModelRequest
from quarterdeck.models.meter import Metered
from quarterdeck.models.prices import Price, Prices
from quarterdeck.service.budgets import BudgetLimit, Budgets
from quarterdeck.service.tallies import Tally
from quarterdeck.store.postgres_store import PostgresStore, open_postgres
from tests.provider import context, question

PRICES = Prices({"test:big": Price(input_usd=1000.0, output_usd=10_000.0)})
CALL = Usage(prompt_tokens=100, completion_tokens=10, cost_usd=None)  # 0.2 USD
PATIENT = 20.0  # the machine is shared by several test processes


@pytest.fixture
async def processes(migrated_postgres_url: str) -> AsyncIterator[list[PostgresStore]]:
    """The same database three times, as three processes see it."""
    stores = [await open_postgres(migrated_postgres_url, wait_s=PATIENT, max_connections=5) for _ in range(3)]
    yield stores
    for store in stores:
        await store.close()


class Answers:
    """A model that consumes the same with every call."""

    name = "test:big"

    def __init__(self) -> None:
        self.calls = 0

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        self.calls += 1
        await anyio.lowlevel.checkpoint()
        return Completion(text="ok", usage=CALL, model=self.name)


def by(user: str, run: str) -> Context:
    return replace(context(within_s=60.0), principal=Principal(user=user, tenant="acme"), agent="desk", run_id=run)


def sums(costs: Any) -> Tally:
    return sum((cost.tally for cost in costs), Tally())


@pytest.mark.row("G9", part="metering")
async def test_what_processes_book_side_by_side_adds_up_in_every_account(processes: list[PostgresStore]) -> None:
    limits = [BudgetLimit(scope="tenant", max_tokens=10**9)]  # so that each reply waits until it is booked
    budgets = [Budgets(store.records, PRICES, limits) for store in processes]
    models = [Metered(Answers(), PRICES, each) for each in budgets]

    async def ask(process: int, n: int) -> None:
        await models[process].complete(question(max_tokens=10), by(f"u{n % 3}", f"r{n % 4}"))

    async with anyio.create_task_group() as tasks:
        for process in range(3):
            for n in range(24):
                tasks.start_soon(ask, process, n)

    for each in budgets:
        for scope in ("run", "user", "agent", "tenant"):
            total = sums(await each.costs("acme", scope))  # type: ignore[arg-type]  # one of its literals
            assert (total.calls, total.prompt_tokens, total.completion_tokens) == (72, 7200, 720)
            assert total.cost_usd == pytest.approx(72 * 0.2)
        assert [cost.tally.calls for cost in await each.costs("acme", "user", name="u1")] == [24]


@pytest.mark.row("G9", part="metering")
async def test_what_one_process_spent_another_knows_before_its_next_calls(processes: list[PostgresStore]) -> None:
    limits = [BudgetLimit(scope="tenant", max_usd=2.0)]
    models = [Answers() for _ in range(2)]
    first, second = (
        Metered(model, PRICES, Budgets(store.records, PRICES, limits, flush_s=0.0))
        for model, store in zip(models, processes, strict=False)
    )
    request = question(max_tokens=10)
    await first.complete(request, by("ann", "r1"))

    async def ask(asked: Metered) -> None:
        with suppress(BudgetExceeded):
            await asked.complete(request, by("ann", "r1"))

    for asked in (second, first):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(ask, asked)

    assert [model.calls for model in models] == [1, 9]
