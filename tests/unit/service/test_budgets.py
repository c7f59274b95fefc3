"""Budgets: counting to the token, and stopping to the call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from quarterdeck.core.context import Context, Principal
from quarterdeck.core.errors import BudgetExceeded, DeadlineExceeded, Misconfigured, ModelUnavailable, StoreUnavailable
from quarterdeck.core.usage import Usage
from quarterdeck.devtools.fakes import FakeClock
from quarterdeck.models.base import Completion, Emit, ModelRequest
from quarterdeck.models.budgeted import Budgeted
from quarterdeck.models.meter import Metered
from quarterdeck.models.prices import Price, Prices
from quarterdeck.service.budgets import BudgetLimit, Budgets
from quarterdeck.service.tallies import Account, Tallies, Tally
from quarterdeck.store.memory import MemoryStore
from quarterdeck.store.sqlite_store import open_sqlite
from tests.provider import context, question

START = datetime(2026, 3, 30, 23, 0, tzinfo=UTC)
PRICES = Prices(
    {"test:big": Price(input_usd=1000.0, output_usd=10_000.0), "test:small": Price(input_usd=1.0, output_usd=1.0)}
)
CALL = Usage(prompt_tokens=100, completion_tokens=10, cached_tokens=40, reasoning_tokens=3, cost_usd=None)  # 0.2 USD of big
SHORT = question(max_tokens=10)


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    store = MemoryStore() if request.param == "memory" else open_sqlite(tmp_path)
    yield store
    await store.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


def by(
    user: str = "ann", *, tenant: str = "acme", agent: str = "desk", run: str = "run-1", within_s: float = 10.0
) -> Context:
    asked = context(within_s=within_s)
    return replace(asked, principal=Principal(user=user, tenant=tenant), agent=agent, run_id=run)


class Answers:
    """A model that consumes the same with every call."""

    def __init__(self, name: str = "test:big", usage: Usage = CALL) -> None:
        self.name = name
        self.usage = usage
        self.calls = 0
        self.at_once = 0

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        self.calls += 1
        await anyio.lowlevel.checkpoint()
        return Completion(text="ok", usage=self.usage, model=self.name)


def bounded(budgets: Budgets, model: Any = None, cheaper: Any = None) -> Budgeted:
    asked = Metered(model or Answers(), PRICES, budgets)
    small = Metered(cheaper or Answers("test:small"), PRICES, budgets)
    return Budgeted(asked, budgets, lambda name: small)


def sums(costs: Any) -> Tally:
    return sum((cost.tally for cost in costs), Tally())


@pytest.mark.row("G9", part="metering")
async def test_sums_by_run_user_agent_and_tenant_are_what_was_consumed(store: Any, clock: FakeClock) -> None:
    budgets = Budgets(store.records, PRICES, now=clock.now)
    model = bounded(budgets)

    for user, agent, run in (("ann", "desk", "r1"), ("ann", "desk", "r1"), ("ann", "hr", "r2"), ("ben", "desk", "r3")):
        await model.complete(question(), by(user, agent=agent, run=run))

    costs = {
        scope: {cost.name: cost.tally.calls for cost in await budgets.costs("acme", scope)}
        for scope in ("run", "user", "agent", "tenant")
    }
    assert costs == {
        "run": {"r1": 2, "r2": 1, "r3": 1},
        "user": {"ann": 3, "ben": 1},
        "agent": {"desk": 3, "hr": 1},
        "tenant": {"acme": 4},
    }
    [total] = await budgets.costs("acme", "tenant", name="acme")
    assert (total.model, total.day) == ("test:big", "2026-03-30")
    assert total.tally == replace(Tally.of(replace(CALL, cost_usd=0.0)) + Tally(), calls=4, **_times(4))


def _times(n: int) -> dict[str, Any]:
    return {
        "prompt_tokens": 100 * n,
        "completion_tokens": 10 * n,
        "cached_tokens": 40 * n,
        "reasoning_tokens": 3 * n,
        "cost_usd": pytest.approx(0.2 * n),
    }


async def test_tenants_are_apart(store: Any) -> None:
    budgets = Budgets(store.records, PRICES)
    await bounded(budgets).complete(question(), by(tenant="acme"))

    assert await budgets.costs("other", "user") == []


@pytest.mark.row("G9", part="metering")
async def test_what_was_spent_survives_a_restart(store: Any, clock: FakeClock) -> None:
    limits = [BudgetLimit(scope="user", max_usd=0.5)]
    for _ in range(3):
        budgets = Budgets(store.records, PRICES, limits, now=clock.now)
        await bounded(budgets).complete(SHORT, by())

    with pytest.raises(BudgetExceeded, match="user ann this day"):
        await bounded(Budgets(store.records, PRICES, limits, now=clock.now)).complete(SHORT, by())


@pytest.mark.row("G9", part="metering")
@pytest.mark.parametrize(
    ("limit", "other"),
    [
        ({"scope": "run"}, {"run": "run-2"}),
        ({"scope": "user"}, {"user": "ben"}),
        ({"scope": "agent"}, {"agent": "hr"}),
        ({"scope": "tenant"}, {"tenant": "other"}),
        ({"scope": "user", "names": ("ann",)}, {"user": "ben"}),
    ],
    ids=["run", "user", "agent", "tenant", "one user"],
)
async def test_a_limit_stops_whom_it_holds_for_and_nobody_else(
    store: Any, clock: FakeClock, limit: dict[str, Any], other: dict[str, Any]
) -> None:
    budgets = Budgets(store.records, PRICES, [BudgetLimit(**limit, max_usd=0.3)], now=clock.now)
    model = Answers()
    await bounded(budgets, model).complete(SHORT, by())
    await bounded(budgets, model).complete(SHORT, by())

    with pytest.raises(BudgetExceeded):
        await bounded(budgets, model).complete(SHORT, by())
    await bounded(budgets, model).complete(SHORT, by(**other))

    assert model.calls == 3


def told(costs: Any) -> dict[str, tuple[int, int, float]]:
    return {cost.name: (cost.tally.calls, cost.tally.tokens, round(cost.tally.cost_usd, 9)) for cost in costs}


def within(*groups: str) -> Context:
    return replace(by(), principal=Principal(user="ann", tenant="acme", groups=groups))


@pytest.mark.row("G9", part="by department")
async def test_groups_that_are_departments_are_counted_and_others_are_not(store: Any) -> None:
    budgets = Budgets(store.records, PRICES, departments=["it", "hr"])

    for groups in (("staff", "it"), ("it", "hr"), ("staff",)):
        await bounded(budgets).complete(SHORT, within(*groups))

    assert told(await budgets.costs("acme", "group")) == {"it": (2, 220, 0.4), "hr": (1, 110, 0.2)}


@pytest.mark.row("G9", part="by department")
async def test_a_group_may_have_a_budget(store: Any) -> None:
    budgets = Budgets(store.records, PRICES, [BudgetLimit(scope="group", names=("it",), max_usd=0.3)])
    for _ in range(2):
        await bounded(budgets).complete(SHORT, within("staff", "it"))

    with pytest.raises(BudgetExceeded, match="group it this day"):
        await bounded(budgets).complete(SHORT, within("it"))

    assert (await bounded(budgets).complete(SHORT, within("staff"))).text == "ok"


@pytest.mark.row("G9", part="by tool")
async def test_a_reply_that_calls_tools_is_shared_among_them_to_the_token(store: Any) -> None:
    budgets = Budgets(store.records, PRICES)
    usage = replace(CALL, prompt_tokens=101, cost_usd=0.3)

    await budgets.spend(by(), "test:big", usage, tools=["a", "b", "c"])
    await budgets.spend(by(), "test:big", usage, tools=["a"])
    await budgets.spend(by(), "test:big", usage)

    costs = await budgets.costs("acme", "tool")
    assert told(costs) == {"a": (2, 36 + 111, 0.4), "b": (1, 37, 0.1), "c": (1, 38, 0.1)}
    assert sums(costs).prompt_tokens == 202
    assert sums(costs).reasoning_tokens == 6


@pytest.mark.row("G9", part="savings")
async def test_savings_are_counted_apart_and_may_be_below_nothing(store: Any) -> None:
    budgets = Budgets(store.records, PRICES)

    await budgets.save(by(), "cache", "test:big", replace(CALL, cost_usd=0.2))
    await budgets.save(by(), "router", "test:small", Usage(cost_usd=0.05))
    await budgets.save(by(), "router", "test:small", Usage(cost_usd=-0.5))

    assert told(await budgets.costs("acme", "saving")) == {"cache": (1, 110, 0.2), "router": (2, 0, -0.45)}
    assert await budgets.costs("acme", "tenant") == []


async def test_a_limit_on_a_model_counts_only_that_model(store: Any) -> None:
    limit = BudgetLimit(scope="model", names=("test:big",), max_tokens=100)
    budgets = Budgets(store.records, PRICES, [limit])
    await bounded(budgets).complete(SHORT, by())

    with pytest.raises(BudgetExceeded, match="model test:big this day"):
        await bounded(budgets).complete(SHORT, by("ben"))

    assert (await bounded(budgets, Answers("test:small")).complete(SHORT, by())).text == "ok"


@pytest.mark.parametrize(("period", "left"), [("day", True), ("month", False)])
async def test_days_and_months_begin_anew(store: Any, clock: FakeClock, period: Any, left: bool) -> None:
    budgets = Budgets(store.records, PRICES, [BudgetLimit(scope="user", period=period, max_usd=0.2)], now=clock.now)
    await bounded(budgets).complete(SHORT, by())
    clock.advance(3600)  # the 31st

    if left:
        await bounded(budgets).complete(SHORT, by())
    else:
        with pytest.raises(BudgetExceeded):
            await bounded(budgets).complete(SHORT, by())
    clock.advance(24 * 3600)  # the 1st of the next month
    await bounded(budgets).complete(SHORT, by())


@pytest.mark.row("G9", part="budget exact to one call")
@pytest.mark.parametrize("limit_usd", [0.05, 0.2, 0.9, 1.0, 3.0])
async def test_of_fifty_calls_side_by_side_only_one_goes_over_the_limit(store: Any, limit_usd: float) -> None:
    budgets = Budgets(store.records, PRICES, [BudgetLimit(scope="tenant", max_usd=limit_usd)])
    model = Answers()
    bound = bounded(budgets, model)

    ended = await asyncio.gather(
        *(bound.complete(SHORT, by(f"u{n}", run=f"r{n}")) for n in range(50)), return_exceptions=True
    )

    answered = [reply for reply in ended if isinstance(reply, Completion)]
    spent = sums(await budgets.costs("acme", "tenant")).cost_usd
    assert limit_usd <= spent + 1e-9 < limit_usd + 0.2 + 1e-9
    assert len(answered) == model.calls == round(spent / 0.2)
    assert all(isinstance(reply, BudgetExceeded) for reply in ended if reply not in answered)


async def test_far_from_the_limit_calls_run_side_by_side(store: Any) -> None:
    budgets = Budgets(store.records, PRICES, [BudgetLimit(scope="tenant", max_usd=1000.0)])
    everybody = anyio.Event()

    class Together(Answers):
        async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
            self.at_once += 1
            if self.at_once == 20:
                everybody.set()
            await everybody.wait()
            return Completion(text="ok", usage=CALL, model=self.name)

    bound = bounded(budgets, Together())

    with anyio.fail_after(10):
        replies = await asyncio.gather(*(bound.complete(SHORT, by(run=f"r{n}")) for n in range(20)))

    assert len(replies) == 20


async def test_whoever_waits_for_room_waits_no_longer_than_the_deadline(store: Any) -> None:
    budgets = Budgets(store.records, PRICES, [BudgetLimit(scope="user", max_usd=0.1)])

    async with budgets.hold(by(), "test:big", SHORT):
        with pytest.raises(DeadlineExceeded):
            await bounded(budgets).complete(SHORT, by(within_s=0.05))


async def test_a_call_that_fails_gives_back_what_was_held(store: Any) -> None:
    class Fails(Answers):
        async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
            raise ModelUnavailable("down")

    budgets = Budgets(store.records, PRICES, [BudgetLimit(scope="user", max_usd=0.1)])
    with pytest.raises(ModelUnavailable):
        await bounded(budgets, Fails()).complete(SHORT, by())

    assert (await bounded(budgets).complete(SHORT, by())).text == "ok"


@pytest.mark.row("G9", part="downgrade")
async def test_near_the_limit_a_cheaper_model_is_asked_and_the_record_says_so(store: Any) -> None:
    limit = BudgetLimit(scope="user", max_usd=1.0, downgrade_at=0.4, downgrade_to="test:small")
    bound = bounded(Budgets(store.records, PRICES, [limit]))

    replies = [await bound.complete(SHORT, by()) for _ in range(3)]

    assert [reply.model for reply in replies] == ["test:big", "test:big", "test:small"]
    assert [reply.route for reply in replies] == ["", "", "budget: user ann this day at 40% -> test:small"]


async def test_a_model_whose_budget_is_spent_can_be_replaced(store: Any) -> None:
    limit = BudgetLimit(scope="model", names=("test:big",), max_usd=0.2, downgrade_at=1.0, downgrade_to="test:small")
    bound = bounded(Budgets(store.records, PRICES, [limit]))

    replies = [await bound.complete(SHORT, by()) for _ in range(3)]

    assert [reply.model for reply in replies] == ["test:big", "test:small", "test:small"]


@pytest.mark.row("G9", part="warning")
async def test_a_warning_stands_in_every_reply_and_once_in_the_log(store: Any, caplog: pytest.LogCaptureFixture) -> None:
    bound = bounded(Budgets(store.records, PRICES, [BudgetLimit(scope="run", max_usd=0.4, warn_at=0.5, stops=False)]))

    with caplog.at_level(logging.WARNING):
        replies = [await bound.complete(SHORT, by()) for _ in range(4)]

    assert [reply.route for reply in replies] == [
        "",
        "budget: run run-1 at 50%",
        "budget: run run-1 at 100%",
        "budget: run run-1 at 150%",
    ]
    assert caplog.messages == ["run run-1 has spent 50 % of the budget"]


async def test_a_limit_in_money_refuses_a_model_without_a_price(store: Any) -> None:
    budgets = Budgets(store.records, PRICES, [BudgetLimit(scope="user", max_usd=1.0)])

    with pytest.raises(Misconfigured, match="test:new has no known price: add it to models"):
        await bounded(budgets, Answers("test:new")).complete(SHORT, by())


async def test_an_unknown_price_is_counted_as_such(store: Any) -> None:
    budgets = Budgets(store.records, PRICES)

    await bounded(budgets, Answers("test:new")).complete(SHORT, by())

    [cost] = await budgets.costs("acme", "user")
    assert (cost.tally.unpriced, cost.tally.cost_usd, cost.tally.tokens) == (1, 0.0, 110)


async def test_without_limits_spending_is_written_by_and_by(store: Any) -> None:
    budgets = Budgets(store.records, PRICES, flush_s=3600)
    account = Account("user", "ann", datetime.now(UTC).date().isoformat())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(budgets.serve)
        await bounded(budgets).complete(SHORT, by())
        before = await store.records.get("acme", "budget", account.id)
        budgets.stop()

    after = await store.records.get("acme", "budget", account.id)
    assert before is None
    assert after is not None
    assert after.data["models"]["test:big"]["prompt_tokens"] == 100


async def test_costs_of_several_days_are_listed_day_by_day(store: Any, clock: FakeClock) -> None:
    budgets = Budgets(store.records, PRICES, now=clock.now)
    for _ in range(3):
        await bounded(budgets).complete(SHORT, by())
        clock.advance(24 * 3600)

    costs = await budgets.costs("acme", "user", since=date(2026, 3, 31), until=date(2026, 4, 5))

    assert [(cost.day, cost.name, cost.tally.calls) for cost in costs] == [
        ("2026-03-31", "ann", 1),
        ("2026-04-01", "ann", 1),
    ]


@pytest.mark.row("G9", part="metering")
async def test_two_processes_count_on_the_same_rows_without_losing_any(store: Any) -> None:
    workers = [Tallies(store.records) for _ in range(3)]
    account = Account("tenant", "acme", "2026-03-30")

    async def work(tallies: Tallies) -> None:
        for _ in range(20):
            tallies.book("acme", [account], "test:big", Tally.of(CALL))
            await tallies.flush()

    await asyncio.gather(*(work(tallies) for tallies in workers))

    fresh = Tallies(store.records)
    await fresh.load("acme", [account])
    assert fresh.by_model("acme", account)["test:big"].prompt_tokens == 3 * 20 * 100


async def test_a_store_that_is_away_loses_nothing(store: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Away:
        def __init__(self) -> None:
            self.away = True

        def __getattr__(self, name: str) -> Any:
            return getattr(store.records, name)

        async def write(self, tenant: str, rows: Any) -> None:
            if self.away:
                raise StoreUnavailable("disk full")
            await store.records.write(tenant, rows)

    records = Away()
    budgets = Budgets(records, PRICES, [BudgetLimit(scope="user", max_usd=10.0)])  # type: ignore[arg-type]  # by delegation

    reply = await bounded(budgets).complete(SHORT, by())
    records.away = False
    costs = await budgets.costs("acme", "user")

    assert reply.text == "ok"
    assert sums(costs).tokens == 110
    assert "kept for later" in caplog.text


async def test_of_two_hundred_short_calls_side_by_side_only_one_goes_over(store: Any) -> None:
    # More tokens than the question has bytes: what a provider puts around a message is held back too.
    usage = Usage(prompt_tokens=15, completion_tokens=5, cost_usd=None)
    budgets = Budgets(store.records, PRICES, [BudgetLimit(scope="user", max_tokens=390)])
    answers = Answers(usage=usage)
    model = bounded(budgets, answers)

    async def ask() -> None:
        with suppress(BudgetExceeded):
            await model.complete(question("hi", max_tokens=5), by())

    async with anyio.create_task_group() as tasks:
        for _ in range(200):
            tasks.start_soon(ask)

    assert answers.calls == 20


async def test_the_budget_of_the_cheaper_model_is_known_after_a_restart(store: Any) -> None:
    limits = [
        BudgetLimit(scope="run", max_tokens=10**6, downgrade_at=0.0, downgrade_to="test:small"),
        BudgetLimit(scope="model", names=("test:small",), max_tokens=200),
    ]
    for _ in range(2):
        await bounded(Budgets(store.records, PRICES, limits)).complete(SHORT, by())

    with pytest.raises(BudgetExceeded, match="model test:small"):
        await bounded(Budgets(store.records, PRICES, limits)).complete(SHORT, by())


async def test_usage_below_nothing_gives_nothing_back(store: Any) -> None:
    budgets = Budgets(store.records, PRICES, [BudgetLimit(scope="user", max_tokens=100)])
    await bounded(budgets).complete(SHORT, by())

    await budgets.spend(by("ann"), "test:big", Usage(prompt_tokens=-1000, completion_tokens=-1000, cost_usd=-5.0))

    with pytest.raises(BudgetExceeded):
        await bounded(budgets).complete(SHORT, by())
