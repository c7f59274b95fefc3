"""The agents there are, and since when they are as they are."""

from __future__ import annotations

from datetime import date

import pytest

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Forbidden, InvalidInput
from quarterdeck.core.runs import AgentSpec
from quarterdeck.models.prices import Prices
from quarterdeck.service.budgets import Budgets
from quarterdeck.service.catalogue import Catalogue
from quarterdeck.service.spending import Spending
from quarterdeck.store.memory import MemoryStore

EMMA = Principal(user="emma", tenant="acme", scopes=("chat",))
ANNA = Principal(user="anna", tenant="acme", scopes=("costs.read",))


def catalogue(store: MemoryStore, *specs: AgentSpec) -> Catalogue:
    return Catalogue(store.records, {spec.name: spec for spec in specs}, specs[0].name, (), reading=("search",))


@pytest.mark.row("S14", part="agents")
async def test_agent_is_of_a_type_and_keeps_its_instructions_to_itself() -> None:
    reader = AgentSpec(name="reader", model="m", instructions="secret", retrieve="always")
    doer = AgentSpec(name="doer", model="m", tools=("ticket",))
    searcher = AgentSpec(name="searcher", model="m", tools=("search", "ticket"))
    talker = AgentSpec(name="talker", model="m")

    listed = await catalogue(MemoryStore(), reader, doer, searcher, talker).agents(EMMA)

    assert [(agent.id, agent.type, agent.state, agent.default) for agent in listed] == [
        ("reader", "rag", "active", True),
        ("doer", "tool", "active", False),
        ("searcher", "rag", "active", False),
        ("talker", "chat", "active", False),
    ]
    assert "secret" not in str(listed)


@pytest.mark.row("S14", part="agents")
async def test_agent_that_is_declared_anew_keeps_its_beginning_and_one_that_is_gone_is_inactive() -> None:
    store = MemoryStore()
    first = await catalogue(store, AgentSpec(name="a", model="m"), AgentSpec(name="b", model="m")).agents(EMMA)

    later = await catalogue(store, AgentSpec(name="b", model="other")).agents(EMMA)

    assert [(agent.id, agent.state) for agent in later] == [("b", "active"), ("a", "inactive")]
    assert later[0].config["model"] == "other"
    assert later[0].created_at == first[1].created_at
    assert later[0].updated_at > first[1].updated_at
    assert later[1].updated_at == first[0].updated_at


@pytest.mark.row("S14", part="costs")
async def test_everybody_sees_what_he_consumed_and_the_rest_takes_a_scope() -> None:
    spending = Spending(Budgets(MemoryStore().records, Prices({})))

    own = await spending.costs(EMMA, "user")

    assert own == []
    with pytest.raises(Forbidden, match=r"costs\.read"):
        await spending.costs(EMMA, "user", name="omar")
    with pytest.raises(Forbidden, match=r"costs\.read"):
        await spending.costs(EMMA, "tenant")
    assert await spending.costs(ANNA, "tenant") == []
    with pytest.raises(InvalidInput, match="by its id"):
        await spending.costs(ANNA, "run")


def _days(since: str, until: str) -> dict[str, date]:
    return {"since": date.fromisoformat(since), "until": date.fromisoformat(until)}


@pytest.mark.parametrize(("since", "until"), [("2026-03-02", "2026-03-01"), ("0001-01-01", "9999-12-31")])
async def test_days_that_are_none_or_too_many_are_refused(since: str, until: str) -> None:
    spending = Spending(Budgets(MemoryStore().records, Prices({})))

    with pytest.raises(InvalidInput, match="at most 93 days"):
        await spending.costs(ANNA, "tenant", **_days(since, until))  # type: ignore[arg-type]
