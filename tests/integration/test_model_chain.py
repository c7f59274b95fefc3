"""A run over models that die, stand in for each other and run out of money: journal, costs and answer, to the token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.agent.base import Silence
from quarterdeck.agent.fold import fold
from quarterdeck.agent.loop import Loop
from quarterdeck.agent.state import RunState
from quarterdeck.app.chains import prices
from quarterdeck.app.models import ModelShelf
from quarterdeck.core.context import Principal
from quarterdeck.core.errors import NotFound
from quarterdeck.core.events import Delta, FinalAnswer, ModelReply, RunFailed, RunStarted
from quarterdeck.core.ids import content_hash, new_id
from quarterdeck.core.labels import Integrity, Label, Readers
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.core.runs import AgentSpec, StopReason
from quarterdeck.policy.decide import Policy
from quarterdeck.service.budgets import BudgetLimit, Budgets
from quarterdeck.service.tallies import Tally
from quarterdeck.settings import Settings
from quarterdeck.store.base import Entry
from quarterdeck.store.sqlite_store import open_sqlite
from quarterdeck.tools.decorator import as_tool, tool
from quarterdeck.tools.registry import Registry
from tests.provider import DONE, Provider, called, chunk, completion, context, fails, question, streams

ANNA = Principal(user="anna", tenant="acme")
CUT = streams(chunk({"role": "assistant", "content": ""}), chunk({"content": "Hel"}), cut=True)
PRICES = {"first:m": {"input_usd": 10.0, "output_usd": 100.0}, "second:m": {"input_usd": 1.0, "output_usd": 2.0}}


@tool(effect="read", trusted=True)
def balance(account: int) -> float:
    """Tell the balance of an account."""
    return 12.5


def counted(prompt: int, done: int) -> dict[str, Any]:
    return {"usage": {"prompt_tokens": prompt, "completion_tokens": done, "total_tokens": prompt + done}}


CALL = {"calls": [called("balance", '{"account": 7}')], "finish": "tool_calls"}


class Watched(Silence):
    """An audience that wants the pieces."""

    def __init__(self) -> None:
        self.pieces: list[str] = []

    async def watched(self, tenant: str, run_id: str) -> bool:
        return True

    async def delta(self, tenant: str, run_id: str, delta: Delta) -> None:
        self.pieces.append(delta.text)


class Bench:
    """Two providers on the loopback interface, a store on disk, and an agent that may ask for a balance."""

    def __init__(self, folder: Path, first: Provider, second: Provider, models: dict[str, Any], budgets: list[Any]) -> None:
        providers = {"first": {"base_url": first.base_url}, "second": {"base_url": second.base_url}}
        given = {"default": "first:m", "retries": 0, "prices": PRICES, "providers": providers, **models}
        settings = Settings.model_validate({"models": given, "budgets": budgets})
        self.first, self.second = first, second
        self.store = open_sqlite(folder)
        limits = [BudgetLimit(**limit.model_dump()) for limit in settings.budgets]
        self.budgets = Budgets(self.store.records, prices(settings.models), limits)
        self.shelf = ModelShelf(settings, folder=folder, budget=self.budgets)
        self.registry = Registry([as_tool(balance)])
        self.spec = AgentSpec(name="desk", model="first:m", tools=("balance",))
        self.audience: Silence = Silence()

    async def run(self, text: str = "How much is in account 7?") -> RunState:
        label = Label(integrity=Integrity.TRUSTED, readers=Readers.of("user:anna"))
        started = RunStarted(
            input=Message(role=Role.USER, parts=(Text(text=text, label=label),)),
            agent="desk",
            config_hash=content_hash(asdict(self.spec)),
            tenant="acme",
            principal=ANNA,
        )
        run_id = new_id()
        await self.store.journal.create("acme", run_id, Entry(event=started))
        loop = Loop(
            journal=self.store.journal,
            records=self.store.records,
            specs=self,
            models=self.shelf,
            toolbox=self.registry,
            policy=Policy.default(self.registry.tools),
            directory=self,
            audience=self.audience,
        )
        await loop.advance("acme", run_id)
        return fold([entry async for entry in self.store.journal.read("acme", run_id)])

    async def get(self, tenant: str, config_hash: str) -> AgentSpec:
        return self.spec

    async def current(self, principal: Principal) -> Principal:
        return principal

    async def replies(self, state: RunState) -> list[ModelReply]:
        assert state.started is not None
        [row] = await self.store.journal.runs("acme", limit=1)
        entries = [entry.event async for entry in self.store.journal.read("acme", row.run_id)]
        return [event for event in entries if isinstance(event, ModelReply)]

    async def booked(self) -> dict[str, tuple[int, int]]:
        """(prompt, completion) tokens by model, the same whichever way they are summed."""
        ways = []
        for scope in ("run", "user", "agent", "tenant"):
            by_model: dict[str, Tally] = {}
            for cost in await self.budgets.costs("acme", scope):  # type: ignore[arg-type]  # one of the four
                by_model[cost.model] = by_model.get(cost.model, Tally()) + cost.tally
            ways.append({model: (tally.prompt_tokens, tally.completion_tokens) for model, tally in by_model.items()})
        assert ways == [ways[0]] * 4
        return ways[0]


@asynccontextmanager
async def bench(folder: Path, *, models: dict[str, Any] | None = None, budgets: Any = ()) -> AsyncIterator[Bench]:
    async with Provider() as first, Provider() as second:
        made = Bench(folder, first, second, {"fallbacks": {"first:m": ["second:m"]}, **(models or {})}, list(budgets))
        try:
            yield made
        finally:
            await made.shelf.close()
            await made.store.close()


def answer(state: RunState) -> FinalAnswer:
    assert isinstance(state.ended, FinalAnswer), state.ended
    return state.ended


@pytest.mark.row("R4", part="end to end")
@pytest.mark.row("G9", part="metering")
async def test_a_primary_that_dies_in_the_middle_is_replaced_and_every_token_is_booked(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.first.script.extend([completion(**CALL, **counted(101, 7)), CUT])
        it.second.script.append(completion("You have 12.5.", **counted(203, 11)))

        state = await it.run()

        assert answer(state).answer.text == "You have 12.5."
        replies = await it.replies(state)
        assert [(reply.model, reply.route) for reply in replies] == [
            ("first:m", ""),
            ("second:m", "fallback: first:m model_unavailable -> second:m"),
        ]
        assert await it.booked() == {"first:m": (101, 7), "second:m": (203, 11)}
        assert (state.usage.prompt_tokens, state.usage.completion_tokens) == (304, 18)
        assert state.usage.cost_usd == pytest.approx((101 * 10 + 7 * 100 + 203 * 1 + 11 * 2) / 1e6)


async def test_a_reply_somebody_watched_begin_is_not_begun_again_by_another(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.audience = audience = Watched()
        it.first.script.append(CUT)

        state = await it.run()

        assert isinstance(state.ended, RunFailed)
        assert state.ended.stop_reason is StopReason.MODEL_FAILED
        assert (audience.pieces, it.second.requests) == (["Hel"], [])


async def test_a_stream_that_dies_before_its_first_word_is_made_by_another(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.audience = audience = Watched()
        it.first.script.append(streams(chunk({"role": "assistant", "content": ""}), cut=True))
        it.second.script.append(
            streams(
                chunk({"content": "Hello "}), chunk({"content": "there."}), chunk({}, "stop"), chunk(**counted(9, 2)), DONE
            )
        )

        state = await it.run()

        assert answer(state).answer.text == "Hello there."
        assert audience.pieces == ["Hello ", "there."]


@pytest.mark.row("R4", part="end to end")
async def test_killing_the_primary_moves_traffic_with_no_failed_request(tmp_path: Path) -> None:
    async with bench(tmp_path, models={"breaker": {"minimum_calls": 4, "open_s": 600}}) as it:
        it.first.otherwise = completion("From the first.")
        it.second.otherwise = completion("From the second.")
        before = [await it.run() for _ in range(4)]
        await it.first.__aexit__(None, None, None)

        after = [await it.run() for _ in range(10)]

        assert {answer(state).answer.text for state in before} == {"From the first."}
        assert {answer(state).answer.text for state in after} == {"From the second."}


@pytest.mark.row("G9", part="budget exact to one call")
async def test_a_budget_that_runs_out_ends_the_run_with_what_there_is(tmp_path: Path) -> None:
    budgets = [{"scope": "user", "max_tokens": 200, "warn_at": 0.5}]
    async with bench(tmp_path, budgets=budgets) as it:
        it.first.script.extend([fails(503), completion(**CALL, **counted(160, 10))])
        it.second.script.append(completion(**CALL, **counted(150, 10)))

        state = await it.run()

        assert answer(state).stop_reason is StopReason.COST_LIMIT
        assert answer(state).answer.needs_human_review
        assert await it.booked() == {"second:m": (150, 10), "first:m": (160, 10)}
        assert [reply.route for reply in await it.replies(state)] == [
            "fallback: first:m model_unavailable -> second:m",
            "budget: user anna this day at 80%",
        ]
        assert len(it.first.requests) + len(it.second.requests) == 3
        assert state.usage.total_tokens == 150 + 10 + 160 + 10


@pytest.mark.row("G9", part="budget exact to one call")
@pytest.mark.row("R4", part="end to end")
async def test_a_primary_that_dies_a_stand_in_and_a_budget_that_runs_out_in_one_run(tmp_path: Path) -> None:
    budgets = [{"scope": "run", "max_tokens": 260, "warn_at": None}]
    async with bench(tmp_path, budgets=budgets) as it:
        it.first.script.extend([completion(**CALL, **counted(101, 7)), CUT])
        it.second.script.append(completion(**CALL, **counted(150, 10)))

        state = await it.run()

        assert answer(state).stop_reason is StopReason.COST_LIMIT
        assert answer(state).answer.needs_human_review
        assert [(reply.model, reply.route) for reply in await it.replies(state)] == [
            ("first:m", ""),
            ("second:m", "fallback: first:m model_unavailable -> second:m"),
        ]
        assert (len(it.first.requests), len(it.second.requests)) == (2, 1)  # nobody was asked beyond the budget
        assert await it.booked() == {"first:m": (101, 7), "second:m": (150, 10)}
        assert state.usage.total_tokens == 101 + 7 + 150 + 10
        assert state.usage.cost_usd == pytest.approx((101 * 10 + 7 * 100 + 150 * 1 + 10 * 2) / 1e6)
        assert [call.name for call in state.made] == ["balance", "balance"]


@pytest.mark.row("R4", part="router")
async def test_the_routers_decision_stands_in_the_journal(tmp_path: Path) -> None:
    rules = [{"name": "short", "max_chars": 400, "agents": ["desk"], "use": "second:m"}]
    async with bench(tmp_path, models={"router": {"rules": rules}}) as it:
        it.second.script.append(completion("Hi."))

        state = await it.run("Hi.")

        assert [reply.route for reply in await it.replies(state)] == ["router: rule short -> second:m"]
        assert it.first.requests == []


@pytest.mark.row("O4", part="recording")
async def test_a_recorded_run_is_played_again_without_any_provider(tmp_path: Path) -> None:
    cassette = {"path": "calls.jsonl", "mode": "record"}
    async with bench(tmp_path, models={"cassette": cassette}) as it:
        it.first.script.append(fails(503))
        it.second.script.extend([completion(**CALL, **counted(150, 10)), completion("You have 12.5.", **counted(160, 9))])
        it.first.script.append(fails(503))
        recorded = await it.run()
        replies = await it.replies(recorded)

    async with bench(tmp_path, models={"cassette": {**cassette, "mode": "replay", "in_order": True}}) as it:
        played = await it.run()
        again = await it.replies(played)

        assert answer(played).answer == answer(recorded).answer
        assert [(r.message, r.route, r.usage, r.model) for r in again] == [
            (r.message, r.route, r.usage, r.model) for r in replies
        ]
        assert (it.first.requests, it.second.requests) == ([], [])
        with pytest.raises(NotFound):
            await it.shelf.get("first:m").complete(question("Something else."), context())
