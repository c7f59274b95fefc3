"""What every state of circuits has in common, and the model that goes by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest

from quarterdeck.core.context import Context
from quarterdeck.core.errors import DeadlineExceeded, ModelInvalid, ModelRefused, ModelUnavailable, QuarterdeckError
from quarterdeck.devtools.fakes import FakeModel
from quarterdeck.models.base import Completion, Emit, ModelRequest
from quarterdeck.models.breaker import Breaking
from quarterdeck.models.fallback import Fallback
from quarterdeck.store.breaker import BreakerRule, BreakerState, Circuit, MemoryBreaker, Outcome
from quarterdeck.store.breaker_redis import RedisBreaker
from tests.provider import context, question

RULE = BreakerRule(share=0.5, minimum=4, window_s=10.0, open_s=5.0, probe_s=60.0)
DOWN = ModelUnavailable("down")


class Time:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


Opening = Callable[[pytest.FixtureRequest, Time], AbstractAsyncContextManager[BreakerState]]


@asynccontextmanager
async def memory(request: pytest.FixtureRequest, clock: Time) -> AsyncIterator[BreakerState]:
    yield MemoryBreaker(RULE, clock=clock)


@asynccontextmanager
async def redis(request: pytest.FixtureRequest, clock: Time) -> AsyncIterator[BreakerState]:
    state = RedisBreaker(request.getfixturevalue("redis_url"), RULE, timeout_s=5.0, clock=clock)
    yield state
    assert (state.outages, state.alone) == (0, 0)
    await state.close()


STATES: Mapping[str, Opening] = {"memory": memory, "redis": redis}


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture(params=STATES)
async def state(request: pytest.FixtureRequest, clock: Time) -> AsyncIterator[BreakerState]:
    async with STATES[request.param](request, clock) as opened:
        yield opened


async def end(state: BreakerState, *outcomes: Outcome, name: str = "x") -> None:
    """Calls side by side, which end one after the other."""
    admissions = [await state.admit(name) for _ in outcomes]
    for admission, outcome in zip(admissions, outcomes, strict=True):
        await state.report(name, admission, outcome)


async def circuit(state: BreakerState, name: str = "x") -> Circuit:
    return (await state.admit(name)).circuit


GOOD, BAD, VOID = Outcome.SUCCEEDED, Outcome.FAILED, Outcome.VOID


@pytest.mark.row("R4", part="breaker")
@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([BAD] * 3, Circuit.CLOSED),
        ([BAD] * 4, Circuit.OPEN),
        ([BAD, GOOD, BAD, GOOD], Circuit.OPEN),
        ([BAD, GOOD, GOOD, GOOD], Circuit.CLOSED),
        ([GOOD] * 10 + [BAD] * 9, Circuit.CLOSED),
        ([GOOD] * 10 + [BAD] * 10, Circuit.OPEN),
        ([BAD] * 3 + [VOID] * 10, Circuit.CLOSED),
    ],
    ids=lambda value: "".join(outcome[0] for outcome in value) if isinstance(value, list) else value,
)
async def test_it_opens_at_a_share_of_failures_among_enough_calls(
    state: BreakerState, outcomes: list[Outcome], expected: Circuit
) -> None:
    await end(state, *outcomes)

    assert await circuit(state) is expected


async def test_failures_are_forgotten_with_the_window(state: BreakerState, clock: Time) -> None:
    await end(state, BAD, BAD, BAD)
    clock.now += RULE.window_s + 1

    await end(state, BAD)

    assert await circuit(state) is Circuit.CLOSED


async def test_an_open_circuit_says_when_to_come_back(state: BreakerState, clock: Time) -> None:
    await end(state, *[BAD] * 4)
    clock.now += 2

    admission = await state.admit("x")

    assert admission.circuit is Circuit.OPEN
    assert admission.retry_after_s == pytest.approx(3.0)


async def test_circuits_are_apart(state: BreakerState) -> None:
    await end(state, *[BAD] * 4, name="x")

    assert await circuit(state, "y") is Circuit.CLOSED


@pytest.mark.row("R4", part="breaker")
async def test_half_open_lets_exactly_one_of_fifty_through(state: BreakerState, clock: Time) -> None:
    await end(state, *[BAD] * 4)
    clock.now += RULE.open_s

    admissions = await asyncio.gather(*(state.admit("x") for _ in range(50)))

    assert sorted(admission.circuit for admission in admissions) == [Circuit.OPEN] * 49 + [Circuit.PROBE]


@pytest.mark.row("R4", part="breaker")
@pytest.mark.parametrize(
    ("outcome", "now", "later"),
    [
        (GOOD, Circuit.CLOSED, Circuit.CLOSED),
        (BAD, Circuit.OPEN, Circuit.PROBE),
        (VOID, Circuit.PROBE, Circuit.OPEN),  # the first look takes the probe that was given back
    ],
)
async def test_the_probe_decides(state: BreakerState, clock: Time, outcome: Outcome, now: Circuit, later: Circuit) -> None:
    await end(state, *[BAD] * 4)
    clock.now += RULE.open_s
    probe = await state.admit("x")

    await state.report("x", probe, outcome)

    assert await circuit(state) is now
    clock.now += RULE.open_s
    assert await circuit(state) is later


async def test_a_closed_circuit_begins_with_a_clean_slate(state: BreakerState, clock: Time) -> None:
    await end(state, *[BAD] * 4)
    clock.now += RULE.open_s
    await state.report("x", await state.admit("x"), GOOD)

    await end(state, BAD, BAD, BAD)

    assert await circuit(state) is Circuit.CLOSED


async def test_a_probe_nobody_reports_on_is_given_up(state: BreakerState, clock: Time) -> None:
    await end(state, *[BAD] * 4)
    clock.now += RULE.open_s
    lost = await state.admit("x")
    clock.now += RULE.probe_s

    second = await state.admit("x")
    await state.report("x", lost, GOOD)

    assert second.circuit is Circuit.PROBE
    assert await circuit(state) is Circuit.OPEN


async def test_a_clock_of_redis_that_is_set_back_keeps_nobody_out_for_longer(redis_url: str, clock: Time) -> None:
    state = RedisBreaker(redis_url, RULE, timeout_s=5.0, clock=clock)
    await end(state, *[BAD] * 4)
    clock.now -= 3600

    before = await circuit(state)
    clock.now += RULE.open_s + 0.001
    probe = await circuit(state)
    clock.now -= 3600
    waiting = await circuit(state)
    clock.now += RULE.probe_s + 0.001
    other = await circuit(state)
    await state.close()

    assert (before, probe, waiting, other) == (Circuit.OPEN, Circuit.PROBE, Circuit.OPEN, Circuit.PROBE)


async def test_calls_from_before_it_opened_count_no_more(state: BreakerState, clock: Time) -> None:
    old = await state.admit("x")
    await end(state, *[BAD] * 4)
    clock.now += RULE.open_s
    await state.report("x", await state.admit("x"), GOOD)

    await end(state, BAD, BAD, BAD)
    await state.report("x", old, BAD)

    assert await circuit(state) is Circuit.CLOSED


class Switched:
    """A model that answers or fails as it is told, after giving others a turn, or when it is let go."""

    name = "test:m"

    def __init__(self) -> None:
        self.error: QuarterdeckError | None = None
        self.held: anyio.Event | None = None
        self.calls = 0

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        self.calls += 1
        await (anyio.sleep(0) if self.held is None else self.held.wait())
        if self.error is not None:
            raise self.error
        return Completion(text="Hi.", model=self.name)


async def ask(model: Any, times: int = 1) -> list[Completion | BaseException]:
    asking = (model.complete(question(), context()) for _ in range(times))
    return await asyncio.gather(*asking, return_exceptions=True)


@pytest.mark.row("R4", part="breaker")
async def test_of_fifty_callers_of_a_model_one_is_the_probe(state: BreakerState, clock: Time) -> None:
    model = Switched()
    breaking = Breaking(model, state)
    model.error = DOWN
    await ask(breaking, 4)
    clock.now += RULE.open_s
    model.error, model.calls, model.held = None, 0, anyio.Event()

    asking = [asyncio.ensure_future(breaking.complete(question(), context())) for _ in range(50)]
    with anyio.fail_after(30):
        while sum(each.done() for each in asking) < 49:
            await anyio.sleep(0)
    model.held.set()
    replies = await asyncio.gather(*asking, return_exceptions=True)

    assert model.calls == 1
    answered = [reply for reply in replies if isinstance(reply, Completion)]
    assert [reply.route for reply in answered] == ["breaker: probe"]
    assert sum(isinstance(reply, ModelUnavailable) for reply in replies) == 49
    assert all(isinstance(reply, Completion) for reply in await ask(breaking, 50))


@pytest.mark.row("R4", part="breaker")
async def test_an_open_circuit_is_a_reason_for_the_fallback(state: BreakerState) -> None:
    model = Switched()
    model.error = DOWN
    spare = FakeModel(*[Completion(text="Spare.", model="spare:m")] * 20, name="spare:m")
    both = Fallback([Breaking(model, state), spare])

    replies = [await both.complete(question(), context()) for _ in range(20)]

    assert [reply.text for reply in replies] == ["Spare."] * 20
    assert model.calls == 4


@pytest.mark.parametrize(
    ("error", "opens"),
    [
        (ModelUnavailable("x", status=500), True),
        (ModelInvalid("x"), True),
        (ModelRefused("x", status=400), False),
        (QuarterdeckError("x"), False),
    ],
    ids=lambda value: getattr(value, "code", value),
)
async def test_only_a_sick_provider_opens_the_circuit(state: BreakerState, error: QuarterdeckError, opens: bool) -> None:
    model = Switched()
    model.error = error

    await ask(Breaking(model, state), 10)

    assert (await circuit(state, "test") is Circuit.OPEN) is opens


@pytest.mark.parametrize(("waited_s", "opens"), [(0.0, False), (9.9, False), (10.0, True), (60.0, True)])
async def test_a_caller_whose_time_is_over_counts_against_a_provider_that_was_slow(
    state: BreakerState, waited_s: float, opens: bool
) -> None:
    model = Switched()
    model.error = DeadlineExceeded("over")
    model.error.waited_s = waited_s

    await ask(Breaking(model, state), 10)

    assert (await circuit(state, "test") is Circuit.OPEN) is opens


async def test_a_probe_whose_caller_leaves_is_given_back(state: BreakerState, clock: Time) -> None:
    class Stalls(Switched):
        async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
            await anyio.sleep_forever()
            raise AssertionError

    await end(state, *[BAD] * 4, name="test")
    clock.now += RULE.open_s

    with anyio.move_on_after(0):
        await Breaking(Stalls(), state).complete(question(), context())

    assert await circuit(state, "test") is Circuit.PROBE
