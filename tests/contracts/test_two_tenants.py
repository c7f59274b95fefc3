"""Two tenants that call everything the same: people, runs, keys, agents. What one uses up, makes or loses is its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from quarterdeck.core.context import Context, Principal
from quarterdeck.core.errors import BudgetExceeded, RateLimited, Unauthenticated
from quarterdeck.core.usage import Usage
from quarterdeck.models.base import Completion, Emit, ModelRequest
from quarterdeck.models.budgeted import Budgeted
from quarterdeck.models.meter import Metered
from quarterdeck.models.prices import Price, Prices
from quarterdeck.service.access import Access, Caller, User
from quarterdeck.service.api_keys import ApiKeys
from quarterdeck.service.budgets import BudgetLimit, Budgets
from quarterdeck.service.limits import LimitRule, RateLimits
from quarterdeck.service.logins import Logins
from quarterdeck.service.stream_tokens import StreamTokens
from quarterdeck.store.base import Put
from quarterdeck.store.limits import LimitState, MemoryLimits, Rate
from quarterdeck.store.limits_redis import RedisLimits
from tests.contracts.stores import Clock, Store
from tests.provider import context, question

pytestmark = pytest.mark.row("G8", part="same names")

SCOPES = ("chat", "keys.write")
ANN, TWIN = (Principal(user="ann", tenant=tenant, scopes=SCOPES) for tenant in ("acme", "globex"))
PRICES = Prices({"test:big": Price(input_usd=1000.0, output_usd=10_000.0)})


class Answers:
    """A model that consumes the same with every call: 0.2 USD."""

    name = "test:big"

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        return Completion(text="ok", usage=Usage(prompt_tokens=100, completion_tokens=10, cost_usd=None), model=self.name)


@pytest.fixture(params=["memory", "redis"])
async def counters(request: pytest.FixtureRequest) -> AsyncIterator[LimitState]:
    if request.param == "memory":
        yield MemoryLimits()
        return
    shared = RedisLimits(request.getfixturevalue("redis_url"), timeout_s=5.0)
    yield shared
    assert (shared.outages, shared.alone) == (0, 0)
    await shared.close()


async def taken(limits: RateLimits, principal: Principal) -> bool:
    try:
        await limits.check(principal, "/chat")
    except RateLimited:
        return False
    return await limits.tool(principal, "send") == 0.0


@pytest.mark.parametrize(
    "rule",
    [
        LimitRule(scope="user", rate=Rate(amount=2, window_s=60.0)),
        LimitRule(scope="user", names=("ann",), rate=Rate(amount=2, window_s=60.0)),
        LimitRule(scope="key", rate=Rate(amount=2, window_s=60.0)),
        LimitRule(scope="tenant", rate=Rate(amount=2, window_s=60.0)),
        LimitRule(scope="route", names=("/chat",), by="tenant", rate=Rate(amount=2, window_s=60.0)),
        LimitRule(scope="tool", names=("send",), by="tenant", rate=Rate(amount=2, window_s=60.0)),
        LimitRule(scope="user", rate=Rate(amount=1, window_s=600.0, burst=2)),
    ],
    ids=["user", "named user", "key", "tenant", "route", "tool", "bucket"],
)
async def test_limit_that_one_has_used_up_is_untouched_for_the_other(counters: LimitState, rule: LimitRule) -> None:
    limits = RateLimits([rule], counters)

    own = [await taken(limits, ANN) for _ in range(3)]
    others = [await taken(limits, TWIN) for _ in range(3)]

    assert own == others == [True, True, False]


@pytest.mark.row("S10", part="keys")
async def test_two_keys_of_one_person_are_counted_apart_and_one_with_a_new_text_is_not(counters: LimitState) -> None:
    limits = RateLimits([LimitRule(scope="key", rate=Rate(amount=1, window_s=60.0))], counters)
    keys = [replace(ANN, credential=f"key:{said}") for said in ("k1:aaaa", "k1:bbbb", "k2:cccc")]

    assert [await taken(limits, who) for who in (*keys, ANN, ANN)] == [True, False, True, True, False]


@pytest.mark.parametrize("scope", ["run", "user", "agent", "tenant"])
async def test_budget_that_one_has_spent_is_untouched_for_the_other(store: Store, clock: Clock, scope: str) -> None:
    limits = [BudgetLimit(scope=scope, max_usd=0.5, period="day")]  # type: ignore[arg-type]  # one of its words

    def replica() -> Budgeted:
        budgets = Budgets(store.records, PRICES, limits, now=lambda: clock.now)
        return Budgeted(Metered(Answers(), PRICES, budgets), budgets, lambda name: Answers())

    calls = {who.tenant: replace(context(), principal=who, agent="desk", run_id="run-1") for who in (ANN, TWIN)}
    models = [replica(), replica()]
    for _ in range(3):
        await models[0].complete(question(max_tokens=10), calls["acme"])
    with pytest.raises(BudgetExceeded):
        await models[0].complete(question(max_tokens=10), calls["acme"])

    for model in models:
        await model.complete(question(max_tokens=10), calls["globex"])

    told = Budgets(store.records, PRICES, limits, now=lambda: clock.now)
    spent = {who: [cost.tally.calls for cost in await told.costs(who, "user", name="ann")] for who in calls}
    assert spent == {"acme": [3], "globex": [2]}


async def test_key_of_one_is_none_of_the_other_though_both_have_one_of_that_id(store: Store, clock: Clock) -> None:
    keys = ApiKeys(store.records, Everybody(), now=lambda: clock.now, clock=lambda: clock.now.timestamp())
    made, text = await keys.make(ANN, name="report", scopes=["chat"])
    record = await store.records.get("acme", "api_key", made.id)
    assert record is not None
    other = replace(record, data={**record.data, "digest": "0" * 64}, version=0)
    await store.records.write("globex", [Put(record=other, expect=0)])

    with pytest.raises(Unauthenticated):
        await keys.holder(text.replace("qk_acme.", "qk_globex."))
    await keys.revoke(TWIN, made.id)
    holder = await keys.holder(text)

    assert (holder.tenant, holder.user) == ("acme", "ann")
    assert [key.revoked for key in await keys.list(ANN)] == [False]
    assert [key.revoked for key in await keys.list(TWIN)] == [True]


async def test_stream_token_of_one_opens_nothing_of_the_other(store: Store, clock: Clock) -> None:
    tokens = StreamTokens(store.records, Everybody(), lambda: clock.now)
    own, twins = await tokens.make(ANN), await tokens.make(TWIN)

    with pytest.raises(Unauthenticated):
        await tokens.redeem(own.token.replace("qs_acme.", "qs_globex."))

    assert [(await tokens.redeem(each.token)).principal.tenant for each in (own, twins)] == ["acme", "globex"]


async def test_what_one_does_stands_in_its_own_audit_log_alone_and_both_hold(store: Store) -> None:
    users = [User(id="ann", tenant="acme", key="sha256:" + "0" * 64)]
    logins = Logins(store.records, clock=lambda: 0.0)
    access = Access(users, {}, keyless=False, logins=logins)
    with pytest.raises(Unauthenticated):
        await access.admit(Caller(key="ann", forwarded=False, known_origin=True, loopback=True))

    for who in (ANN, TWIN, ANN, TWIN):
        await logins.allowed(who, "key")
    await logins.allowed(TWIN, "token:corp")
    logs = {who.tenant: list(await store.records.audit_rows(who.tenant)) for who in (ANN, TWIN)}

    assert {tenant: [row["object"] for row in rows] for tenant, rows in logs.items()} == {
        "acme": ["key"],
        "globex": ["key", "token:corp"],
    }
    assert logs["acme"][0]["hash"] != logs["globex"][0]["hash"]  # the same deed of the same name in another chain


class Everybody:
    """A directory in which everybody is as he says."""

    async def current(self, principal: Principal) -> Principal | None:
        return replace(principal, scopes=principal.scopes or SCOPES)
