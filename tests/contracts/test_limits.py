"""What every state of rate limits has in common: exact counters, and none that is charged for what another refused."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from quarterdeck.store.limits import LimitState, MemoryLimits, Rate, Room, Want
from quarterdeck.store.limits_redis import RedisLimits

WINDOW = Rate(amount=5, window_s=10.0)
BUCKET = Rate(amount=10, window_s=10.0, burst=3)


class Time:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


Opening = Callable[[pytest.FixtureRequest, Time], AbstractAsyncContextManager[LimitState]]


@asynccontextmanager
async def memory(request: pytest.FixtureRequest, clock: Time) -> AsyncIterator[LimitState]:
    yield MemoryLimits(clock=clock)


@asynccontextmanager
async def redis(request: pytest.FixtureRequest, clock: Time) -> AsyncIterator[LimitState]:
    state = RedisLimits(request.getfixturevalue("redis_url"), timeout_s=5.0, clock=clock)
    yield state
    assert (state.outages, state.alone) == (0, 0)
    await state.close()


STATES: Mapping[str, Opening] = {"memory": memory, "redis": redis}


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture(params=STATES)
async def state(request: pytest.FixtureRequest, clock: Time) -> AsyncIterator[LimitState]:
    async with STATES[request.param](request, clock) as opened:
        yield opened


async def one(state: LimitState, rate: Rate, name: str = "x", group: str = "acme") -> Room:
    (room,) = await state.take(group, [Want(name, rate)])
    return room


def allowed(room: Room) -> bool:
    return room.retry_after_s == 0


@pytest.mark.row("S10", part="window")
async def test_a_window_takes_its_amount_and_says_when_the_next_one_may_come(state: LimitState, clock: Time) -> None:
    for _ in range(5):
        last = await one(state, WINDOW)
        clock.now += 1

    refused = await one(state, WINDOW)

    assert (last.limit, last.remaining, allowed(last)) == (5, 0, True)
    assert (refused.remaining, round(refused.retry_after_s, 3), round(refused.reset_s, 3)) == (0, 5.0, 9.0)
    clock.now += refused.retry_after_s
    assert allowed(await one(state, WINDOW))
    assert not allowed(await one(state, WINDOW))


@pytest.mark.row("S10", part="window")
async def test_no_window_wherever_it_begins_holds_more_than_its_amount(state: LimitState, clock: Time) -> None:
    rng, taken = random.Random(7), list[float]()

    for _ in range(300):
        clock.now += rng.choice((0.0, 0.1, 0.7, 3.0))
        if allowed(await one(state, WINDOW)):
            taken.append(clock.now)

    crowd = [sum(begin <= at < begin + WINDOW.window_s - 1e-4 for at in taken) for begin in taken]
    assert max(crowd) == WINDOW.amount


@pytest.mark.row("S10", part="bucket")
async def test_a_bucket_gives_its_burst_at_once_and_then_fills_evenly(state: LimitState, clock: Time) -> None:
    burst = [allowed(await one(state, BUCKET)) for _ in range(4)]
    refused = await one(state, BUCKET)
    clock.now += 2

    after = [allowed(await one(state, BUCKET)) for _ in range(3)]

    assert burst == [True, True, True, False]
    assert (refused.limit, refused.remaining, round(refused.retry_after_s, 3)) == (3, 0, 1.0)
    assert after == [True, True, False]


@pytest.mark.row("S10", part="bucket")
async def test_a_bucket_never_holds_more_than_its_burst(state: LimitState, clock: Time) -> None:
    await one(state, BUCKET)
    clock.now += 1_000

    rooms = [await one(state, BUCKET) for _ in range(4)]

    assert [room.remaining for room in rooms] == [2, 1, 0, 0]
    assert not allowed(rooms[3])


@pytest.mark.row("S10", part="exact")
@pytest.mark.parametrize("rate", [WINDOW, BUCKET], ids=["window", "bucket"])
async def test_callers_side_by_side_get_exactly_what_there_is(state: LimitState, rate: Rate) -> None:
    rooms = await asyncio.gather(*(one(state, rate) for _ in range(60)))

    assert sum(map(allowed, rooms)) == rate.limit


@pytest.mark.row("S10", part="exact")
async def test_who_is_refused_by_one_counter_is_not_charged_on_another(state: LimitState) -> None:
    narrow, wide = Want("narrow", Rate(amount=1, window_s=60.0)), Want("wide", WINDOW)
    await state.take("acme", [narrow, wide])
    for _ in range(10):
        rooms = await state.take("acme", [narrow, wide])

    left = await one(state, WINDOW, "wide")

    assert [allowed(room) for room in rooms] == [False, True]
    assert left.remaining == 3


async def test_counters_of_other_names_and_other_groups_are_others(state: LimitState) -> None:
    only = Rate(amount=1, window_s=60.0)

    rooms = [await one(state, only), await one(state, only, "y"), await one(state, only, group="globex")]

    assert all(map(allowed, rooms))
    assert not allowed(await one(state, only))


async def test_a_rule_that_changes_its_kind_begins_anew(state: LimitState) -> None:
    await one(state, Rate(amount=1, window_s=60.0))

    room = await one(state, Rate(amount=1, window_s=60.0, burst=1))

    assert allowed(room)


async def test_counters_that_were_asked_for_longest_ago_make_room_for_others() -> None:
    state, only = MemoryLimits(clock=Time(), most=2), Rate(amount=1, window_s=60.0)

    for name in ("a", "b", "c"):
        await one(state, only, name)

    assert allowed(await one(state, only, "a"))
    assert not allowed(await one(state, only, "c"))


def test_a_share_of_a_rate_is_at_least_one() -> None:
    assert Rate(amount=10, window_s=1.0).share(4) == Rate(amount=2, window_s=1.0)
    assert Rate(amount=2, window_s=1.0, burst=9).share(4) == Rate(amount=1, window_s=1.0, burst=2)


@pytest.mark.row("S10", part="redis")
@pytest.mark.parametrize("rate", [WINDOW, BUCKET], ids=["window", "bucket"])
async def test_a_clock_of_redis_that_is_set_back_refuses_nobody_for_longer(redis_url: str, clock: Time, rate: Rate) -> None:
    state = RedisLimits(redis_url, timeout_s=5.0, clock=clock)
    for _ in range(rate.limit):
        await one(state, rate)
        clock.now += 0.1
    clock.now -= 3600

    refused = await one(state, rate)
    clock.now += refused.retry_after_s + 0.001  # instants are kept to the microsecond
    taken = await one(state, rate)
    await state.close()

    assert 0 < refused.retry_after_s <= rate.window_s
    assert allowed(taken)
