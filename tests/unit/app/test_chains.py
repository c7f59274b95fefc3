"""What is put around models, as configured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from quarterdeck.app.budgets import open_budgets
from quarterdeck.app.chains import Chains
from quarterdeck.core.errors import BudgetExceeded, Misconfigured, ModelRefused, ModelUnavailable
from quarterdeck.core.usage import Usage
from quarterdeck.devtools.fakes import FakeModel, Step
from quarterdeck.models.base import Completion, Model
from quarterdeck.models.prices import Price, Prices
from quarterdeck.service.budgets import BudgetLimit, Budgets
from quarterdeck.settings import Settings
from quarterdeck.settings.schema import ModelSettings
from quarterdeck.store.memory import MemoryStore
from tests.provider import WEATHER, context, question


class Providers:
    """Makes models that play a script, each under its name; one without a script says its name."""

    def __init__(self, **scripts: Step) -> None:
        self.made: list[str] = []
        self._scripts = scripts

    def __call__(self, name: str) -> Model:
        if name == "unknown:m":
            raise Misconfigured("unknown")
        self.made.append(name)
        step = self._scripts.get(name.partition(":")[0], Completion(text=f"I am {name}.", model=name))
        return FakeModel(*[step] * 20, name=name)


def chains(providers: Providers, *, budget: Budgets | None = None, **models: Any) -> Chains:
    return Chains(ModelSettings(**{"retries": 0, **models}), providers, folder=Path(), budget=budget)


@pytest.mark.row("R4", part="configuration")
@pytest.mark.parametrize(
    ("name", "given", "model"),
    [
        ("a:m", {"a:m": ["b:m"], "*": ["c:m"]}, "b:m"),
        ("a:m", {"*": ["a:m", "c:m"]}, "c:m"),
        ("a:m", {"*": ["preset"]}, "preset"),
        ("a:m", {"*": ["generation_model"]}, "g:m"),
    ],
    ids=["by name", "for all", "preset", "role"],
)
async def test_fallbacks_are_named_by_model_or_for_all(name: str, given: Any, model: str) -> None:
    made = chains(Providers(a=ModelUnavailable("down")), fallbacks=given, generation_model="g:m")

    assert (await made.whole(name).complete(question(), context())).model == model


async def test_a_refused_key_is_a_reason_where_it_is_configured() -> None:
    made = chains(Providers(a=ModelRefused("key", status=401)), fallbacks={"*": ["b:m"]}, fallback_on=["model_refused:401"])

    assert (await made.whole("a:m").complete(question(), context())).model == "b:m"


@pytest.mark.row("R4", part="configuration")
@pytest.mark.parametrize(
    ("role", "model"), [("router_model", "r:m"), ("retrieval_model", "d:m"), ("generation_model", "g:m")]
)
async def test_roles_name_models_and_stand_for_the_default_otherwise(role: str, model: str) -> None:
    made = chains(Providers(), default="d:m", router_model="r:m", generation_model="g:m")

    assert made.whole(role).name == model


@pytest.mark.row("R4", part="configuration")
async def test_rules_and_classes_route() -> None:
    router = {
        "rules": [{"name": "tools", "risk": 0, "use": "big:m"}],
        "classes": {"easy": {"meaning": "greetings", "use": "tiny:m"}, "hard": {"meaning": "the rest", "use": "big:m"}},
        "default_class": "hard",
    }
    providers = Providers(small=Completion(text="easy"))
    made = chains(providers, router=router, router_model="small:m")

    easy = await made.whole("a:m").complete(question(), context())
    tools = await made.whole("a:m").complete(question(tools=(WEATHER,)), context())

    assert (easy.route, tools.route) == ("router: class easy -> tiny:m", "router: rule tools -> big:m")


def test_a_route_to_a_model_there_is_not_is_a_mistake_at_start() -> None:
    made = chains(Providers(), router={"rules": [{"name": "x", "risk": 3, "use": "unknown:m"}]})

    with pytest.raises(Misconfigured):
        made.whole("a:m")


async def test_answers_are_kept_only_if_asked_for() -> None:
    for enabled in (False, True):
        model = chains(Providers(), cache={"enabled": enabled}).whole("a:m")

        await model.complete(question(), context())
        again = await model.complete(question(), context())

        assert (again.route == "cache: hit") is enabled


async def test_each_model_is_made_once_whoever_asks_for_it() -> None:
    providers = Providers()
    made = chains(providers, fallbacks={"*": ["b:m"]})

    for name in ("a:m", "b:m", "a:m"):
        made.whole(name)

    assert providers.made == ["a:m", "b:m"]


async def test_a_budget_sends_a_call_to_the_cheaper_model_whatever_the_router_chose() -> None:
    limit = BudgetLimit(scope="user", max_tokens=100, downgrade_at=0.0, downgrade_to="tiny:m")
    budgets = Budgets(MemoryStore().records, Prices.bundled(), [limit])
    made = chains(Providers(), budget=budgets, router={"rules": [{"name": "all", "use": "big:m"}]})

    reply = await made.whole("a:m").complete(question(), context())

    assert (reply.model, reply.route) == (
        "tiny:m",
        "router: rule all -> big:m; budget: user ann this day at 0% -> tiny:m",
    )


@pytest.mark.row("G9", part="budget exact to one call")
async def test_the_budget_of_a_model_holds_for_calls_the_router_sends_there() -> None:
    limit = BudgetLimit(scope="model", names=("big:m",), max_tokens=1)
    budgets = Budgets(MemoryStore().records, Prices.bundled(), [limit])
    big = Completion(text="ok", usage=Usage(prompt_tokens=5, cost_usd=None), model="big:m")
    made = chains(Providers(big=big), budget=budgets, router={"rules": [{"name": "all", "use": "big:m"}]})
    await made.whole("a:m").complete(question(), context())

    with pytest.raises(BudgetExceeded, match="model big:m"):
        await made.whole("a:m").complete(question(), context())


@pytest.mark.row("G9", part="budget exact to one call")
async def test_a_router_does_not_lead_to_a_model_without_a_price_past_a_limit_in_money() -> None:
    budgets = Budgets(
        MemoryStore().records, Prices({"a:m": Price(input_usd=1, output_usd=1)}), [BudgetLimit(scope="user", max_usd=1.0)]
    )
    made = chains(Providers(), budget=budgets, router={"rules": [{"name": "all", "use": "big:m"}]})

    with pytest.raises(Misconfigured, match="big:m has no known price"):
        await made.whole("a:m").complete(question(), context())


async def test_a_spent_budget_stops_the_classifier_too() -> None:
    budgets = Budgets(MemoryStore().records, Prices.bundled(), [BudgetLimit(scope="user", max_tokens=1)])
    providers = Providers(small=Completion(text="easy", usage=Usage(prompt_tokens=5, cost_usd=None), model="small:m"))
    router = {"classes": {"easy": {"meaning": "greetings", "use": "tiny:m"}}}
    made = chains(providers, budget=budgets, router=router, router_model="small:m")
    with pytest.raises(BudgetExceeded):
        await made.whole("a:m").complete(question("one"), context())

    with pytest.raises(BudgetExceeded):
        await made.whole("a:m").complete(question("two"), context())

    [cost] = await budgets.costs("acme", "user")
    assert (cost.model, cost.tally.calls) == ("small:m", 1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"models": {"fallback_on": ["timeout"]}}, "'timeout' is no code of an error"),
        ({"models": {"fallback_on": ["model_refused:abc"]}}, "is no code of an error"),
        ({"models": {"router": {"default_class": "x"}}}, "there is no class 'x'"),
        ({"budgets": [{"scope": "user"}]}, "needs max_usd or max_tokens"),
        ({"budgets": [{"scope": "user", "max_usd": 1, "downgrade_at": 0.5}]}, "go together"),
        ({"budgets": [{"scope": "day", "max_usd": 1}]}, "scope"),
    ],
)
def test_mistakes_in_the_configuration_are_told(given: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Settings.model_validate(given)


async def test_a_budget_may_name_the_cheaper_model_by_its_role() -> None:
    limit = {"scope": "user", "max_usd": 1, "downgrade_at": 0.0, "downgrade_to": "router_model"}
    settings = Settings(
        models=ModelSettings(retries=0, router_model="tiny:m", prices={"tiny:m": {"input_usd": 1, "output_usd": 1}}),
        budgets=[limit],
    )
    budgets = open_budgets(settings, MemoryStore().records)
    made = Chains(settings.models, Providers(), folder=Path(), budget=budgets)

    reply = await made.whole("a:m").complete(question(), context())

    assert reply.model == "tiny:m"


@pytest.mark.row("G9", part="savings")
async def test_what_the_router_and_the_cache_saved_is_booked_at_the_price_of_what_was_not_asked() -> None:
    usage = Usage(prompt_tokens=1000, completion_tokens=100, cost_usd=None)
    sorting = Usage(prompt_tokens=100, completion_tokens=0, cost_usd=None)
    providers = Providers(
        tiny=Completion(text="Hi.", usage=usage, model="tiny:m"),
        small=Completion(text="easy", usage=sorting, model="small:m"),
    )
    settings = Settings.model_validate(
        {
            "models": {
                "retries": 0,
                "router_model": "small:m",
                "router": {"classes": {"easy": {"meaning": "greetings", "use": "tiny:m"}}},
                "cache": {"enabled": True},
                "prices": {
                    "big:m": {"input_usd": 1000.0, "output_usd": 1000.0},
                    "tiny:m": {"input_usd": 10.0, "output_usd": 10.0},
                    "small:m": {"input_usd": 10.0, "output_usd": 10.0},
                },
            }
        }
    )
    budgets = open_budgets(settings, MemoryStore().records)
    model = Chains(settings.models, providers, folder=Path(), budget=budgets).whole("big:m")

    await model.complete(question(), context())
    await model.complete(question(), replace(context(), run_id="run-2"))

    saved = {(cost.name, cost.model): cost.tally for cost in await budgets.costs("acme", "saving")}
    spent = sum((cost.tally.cost_usd for cost in await budgets.costs("acme", "tenant")), 0.0)
    assert spent == pytest.approx(0.011 + 0.001)  # an answer and its classification; the second time both were known
    assert (saved["cache", "tiny:m"].tokens, saved["cache", "small:m"].tokens) == (1100, 100)
    assert saved["cache", "tiny:m"].cost_usd == pytest.approx(0.011)
    assert saved["router", "tiny:m"].cost_usd == pytest.approx(1.1 - 0.011 - 0.001)
