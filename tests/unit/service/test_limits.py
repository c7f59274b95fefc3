from __future__ import annotations

import pytest

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import RateLimited
from quarterdeck.service.limits import LimitRule, RateLimits
from quarterdeck.store.limits import MemoryLimits, Rate

EMMA = Principal(user="emma", tenant="acme")
OMAR = Principal(user="omar", tenant="acme")
GIL = Principal(user="gil", tenant="globex")
# What `ApiKeys` knows of who came with a key: its id, and the digits of its text.
SCRIPT = Principal(user="emma", tenant="acme", credential="key:k1:aaaa")
ROTATED = Principal(user="emma", tenant="acme", credential="key:k1:bbbb")
OTHER = Principal(user="emma", tenant="acme", credential="key:k2:cccc")
ONCE, TWICE = Rate(amount=1, window_s=60.0), Rate(amount=2, window_s=60.0)


def limits(*rules: LimitRule) -> RateLimits:
    return RateLimits(rules, MemoryLimits(clock=lambda: 100.0))


async def taken(limits: RateLimits, principal: Principal, route: str = "/chat") -> bool:
    try:
        await limits.check(principal, route)
    except RateLimited:
        return False
    return True


@pytest.mark.row("S10", part="scopes")
async def test_each_user_has_a_counter() -> None:
    each = limits(LimitRule(scope="user", rate=ONCE))

    assert [await taken(each, who) for who in (EMMA, EMMA, OMAR, GIL)] == [True, False, True, True]


@pytest.mark.row("S10", part="scopes")
async def test_the_users_of_a_tenant_share_its_counter_and_no_other() -> None:
    each = limits(LimitRule(scope="tenant", rate=ONCE))

    assert [await taken(each, who) for who in (EMMA, OMAR, GIL)] == [True, False, True]


@pytest.mark.row("S10", part="scopes")
async def test_a_route_is_counted_apart_from_others_and_for_each_user() -> None:
    one = limits(LimitRule(scope="route", names=("/chat",), rate=ONCE))

    assert [await taken(one, who) for who in (EMMA, EMMA, OMAR)] == [True, False, True]
    assert await taken(one, EMMA, "/api/v1/runs")


@pytest.mark.row("S10", part="scopes")
async def test_a_route_may_be_counted_for_all_of_a_tenant() -> None:
    one = limits(LimitRule(scope="route", names=("/chat",), by="tenant", rate=ONCE))

    assert [await taken(one, who) for who in (EMMA, OMAR, GIL)] == [True, False, True]


@pytest.mark.row("S10", part="keys")
async def test_each_key_has_a_counter_whatever_its_text_is_and_who_came_otherwise_counts_as_a_user() -> None:
    each = limits(LimitRule(scope="key", rate=ONCE))

    said = [await taken(each, who) for who in (SCRIPT, ROTATED, OTHER, EMMA, EMMA, OMAR)]

    assert said == [True, False, True, True, False, True]


@pytest.mark.row("S10", part="keys")
async def test_a_user_counts_with_all_of_his_keys() -> None:
    each = limits(LimitRule(scope="user", rate=TWICE))

    assert [await taken(each, who) for who in (SCRIPT, OTHER, EMMA)] == [True, True, False]


@pytest.mark.row("S10", part="keys")
async def test_a_key_may_have_a_rule_of_its_own() -> None:
    both = limits(LimitRule(scope="key", rate=ONCE), LimitRule(scope="key", names=("k2",), rate=TWICE))

    assert [await taken(both, who) for who in (OTHER, OTHER, OTHER, SCRIPT, SCRIPT)] == [True, True, False, True, False]


@pytest.mark.row("S10", part="keys")
async def test_a_route_and_a_tool_may_be_counted_by_key() -> None:
    one = limits(
        LimitRule(scope="route", names=("/chat",), by="key", rate=ONCE),
        LimitRule(scope="tool", names=("send",), by="key", rate=ONCE),
    )

    assert [await taken(one, who) for who in (SCRIPT, ROTATED, OTHER, EMMA)] == [True, False, True, True]
    assert [await one.tool(who, "send") for who in (SCRIPT, SCRIPT, OTHER, EMMA)] == [0.0, 60.0, 0.0, 0.0]


async def test_a_key_that_is_called_as_a_user_is_counts_apart_from_him() -> None:
    each = limits(LimitRule(scope="key", rate=ONCE))
    called = Principal(user="omar", tenant="acme", credential="key:emma:dddd")

    assert [await taken(each, who) for who in (EMMA, called)] == [True, True]


@pytest.mark.row("S10", part="tools")
async def test_a_tool_is_counted_and_requests_are_not() -> None:
    one = limits(LimitRule(scope="tool", names=("send",), rate=ONCE))

    waits = [await one.tool(EMMA, name) for name in ("send", "send", "read")]

    assert waits == [0.0, 60.0, 0.0]
    assert await taken(one, EMMA)


async def test_a_rule_that_names_somebody_stands_in_for_the_one_of_all() -> None:
    both = limits(LimitRule(scope="user", rate=ONCE), LimitRule(scope="user", names=("omar",), rate=TWICE))

    assert [await taken(both, who) for who in (OMAR, OMAR, OMAR, EMMA, EMMA)] == [True, True, False, True, False]


async def test_several_windows_hold_together_and_the_tightest_is_told() -> None:
    both = limits(LimitRule(scope="user", rate=TWICE), LimitRule(scope="user", rate=Rate(amount=9, window_s=3600.0)))

    rooms = [await both.count(EMMA, "/chat") for _ in range(3)]

    assert [(room.limit, room.remaining, room.retry_after_s) for room in rooms if room] == [
        (2, 1, 0.0),
        (2, 0, 0.0),
        (2, 0, 60.0),
    ]


async def test_a_window_and_buckets_of_the_same_rate_are_counted_apart() -> None:
    rules = [LimitRule(scope="user", rate=Rate(amount=3, window_s=60.0, burst=burst)) for burst in (None, 2, 6)]
    window, tight, wide = rules

    window_last = limits(wide, window)
    bucket_last = limits(window, tight, wide)

    assert [await taken(window_last, EMMA) for _ in range(4)] == [True, True, True, False]
    assert [await taken(bucket_last, EMMA) for _ in range(3)] == [True, True, False]


async def test_without_a_rule_nothing_is_counted() -> None:
    assert await limits().count(EMMA, "/chat") is None


async def test_what_stands_twice_is_counted_once() -> None:
    rule = LimitRule(scope="route", names=("/chat", "/chat"), rate=Rate(amount=2, window_s=60.0))
    twice = limits(rule, rule)

    assert [await taken(twice, EMMA) for _ in range(3)] == [True, True, False]
