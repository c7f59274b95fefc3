"""Retries: what, when, how often."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from quarterdeck.core.context import Context
from quarterdeck.core.errors import (
    DeadlineExceeded,
    Filtered,
    ModelInvalid,
    ModelRefused,
    ModelUnavailable,
    QuarterdeckError,
    Truncated,
)
from quarterdeck.core.events import Delta
from quarterdeck.core.usage import Usage
from quarterdeck.models.base import Completion, Emit, ModelRequest
from quarterdeck.models.openai import OpenAIModel
from quarterdeck.models.retry import Backoff, Constant, Exponential, Linear, Retry, RetryBudget, Retrying
from tests.provider import HELLO, Provider, chunk, completion, context, fails, hangs_up, question, streams


class Time:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Failing:
    """Raises its errors one after the other, then answers."""

    name = "test:failing"

    def __init__(self, *errors: QuarterdeckError, says_first: bool = False) -> None:
        self.errors = list(errors)
        self.calls = 0
        self._says_first = says_first

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        self.calls += 1
        if self._says_first and emit is not None:
            await emit(Delta(kind="text", text="Hel"))
        if self.errors:
            raise self.errors.pop(0)
        return Completion(text="Hello.", usage=Usage(prompt_tokens=10, completion_tokens=2))


def retrying(model: Any, time: Time, **options: Any) -> Retrying:
    return Retrying(model, **{"clock": time, "sleep": time.sleep, "rng": lambda: 0.5, **options})


def until(deadline: float) -> Context:
    ctx = context()
    return Context(principal=ctx.principal, run_id=ctx.run_id, deadline=deadline)


async def ignore(delta: Delta) -> None:
    """Nobody watches."""


@pytest.mark.row("R2")
async def test_by_default_there_are_three_retries_with_doubling_waits() -> None:
    clock = Time()
    model = Failing(*[ModelUnavailable(f"down {n}", status=503) for n in range(9)])

    with pytest.raises(ModelUnavailable, match=r"down 3 \(after 4 attempts: no retries are left\)") as caught:
        await retrying(model, clock).complete(question(), until(2000.0))

    assert (model.calls, clock.slept, caught.value.status) == (4, [1.0, 2.0, 4.0], 503)


@pytest.mark.row("R2")
async def test_success_after_failures_counts_the_attempts() -> None:
    clock = Time()
    model = Failing(ModelUnavailable("down"), ModelUnavailable("down"))

    reply = await retrying(model, clock).complete(question(), until(2000.0))

    assert (reply.text, reply.attempts) == ("Hello.", 3)


@pytest.mark.row("R2")
@pytest.mark.parametrize(
    ("backoff", "delays"),
    [
        (Constant(), [1.0, 1.0, 1.0, 1.0]),
        (Constant(base_s=0.2), [0.2, 0.2, 0.2, 0.2]),
        (Linear(), [1.0, 2.0, 3.0, 4.0]),
        (Linear(base_s=2.0, cap_s=5.0), [2.0, 4.0, 5.0, 5.0]),
        (Exponential(), [1.0, 2.0, 4.0, 8.0]),
        (Exponential(factor=1.5), [1.0, 1.5, 2.25, 3.375]),
        (Exponential(cap_s=3.0), [1.0, 2.0, 3.0, 3.0]),
    ],
)
async def test_the_strategies(backoff: Backoff, delays: list[float]) -> None:
    clock = Time()

    await retrying(Failing(*[ModelUnavailable("down")] * 4), clock, retries=4, backoff=backoff).complete(
        question(), until(2000.0)
    )

    assert clock.slept == delays


def test_an_exponential_wait_never_overflows() -> None:
    assert Exponential().delay_s(10_000) == 30.0


@pytest.mark.row("R2")
@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (ModelRefused("bad key", status=401), 1),
        (Filtered("no"), 1),
        (Truncated("cut"), 1),
        (DeadlineExceeded("late"), 1),
        (ModelInvalid("html"), 2),
        (ModelUnavailable("down"), 4),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_only_what_may_pass_is_repeated(error: QuarterdeckError, calls: int) -> None:
    model = Failing(*[type(error)(*error.args) for _ in range(9)])

    with pytest.raises(type(error), match="attempt"):
        await retrying(model, Time()).complete(question(), until(2000.0))

    assert model.calls == calls


@pytest.mark.row("R2")
async def test_the_provider_says_how_long_to_wait() -> None:
    clock = Time()
    rng = random.Random(7).random

    for _ in range(200):
        model = Failing(ModelUnavailable("busy", status=429, retry_after_s=2.0))
        await retrying(model, clock, rng=rng).complete(question(), until(clock.now + 10))

    assert len(clock.slept) == 200
    assert 2.0 <= min(clock.slept) < 2.1
    assert 2.4 < max(clock.slept) <= 2.6


@pytest.mark.row("R2")
@pytest.mark.parametrize("retry_after_s", [None, 30.0])
async def test_a_wait_past_the_deadline_fails_at_once(retry_after_s: float | None) -> None:
    clock = Time()
    model = Failing(ModelUnavailable("busy", status=429, retry_after_s=retry_after_s))

    with pytest.raises(ModelUnavailable, match="would pass the deadline"):
        await retrying(model, clock).complete(question(), until(clock.now + 0.9))

    assert (model.calls, clock.slept) == (1, [])


@pytest.mark.row("R2")
async def test_nothing_is_repeated_after_the_first_delta() -> None:
    clock = Time()
    model = Failing(ModelUnavailable("cut"), says_first=True)

    with pytest.raises(ModelUnavailable, match="delivered already"):
        await retrying(model, clock).complete(question(), until(2000.0), ignore)

    assert model.calls == 1


@pytest.mark.row("R2")
async def test_a_stream_that_failed_before_its_first_delta_is_repeated() -> None:
    model = Failing(ModelUnavailable("down"))

    reply = await retrying(model, Time()).complete(question(), until(2000.0), ignore)

    assert reply.attempts == 2


@pytest.mark.row("R2")
async def test_the_caller_decides_what_is_repeated_and_hears_of_it() -> None:
    heard: list[Retry] = []
    model = Failing(ModelRefused("odd"), ModelUnavailable("down"))

    with pytest.raises(ModelUnavailable):
        await retrying(
            model, Time(), retry_if=lambda error, attempt: isinstance(error, ModelRefused), on_retry=heard.append
        ).complete(question(), until(2000.0))

    assert [(retry.model, retry.attempt, str(retry.error), retry.wait_s) for retry in heard] == [
        ("test:failing", 1, "odd", 1.0)
    ]


async def test_what_failed_attempts_consumed_is_counted() -> None:
    model = Failing(ModelInvalid("html", usage=Usage(prompt_tokens=10, completion_tokens=7)))

    reply = await retrying(model, Time()).complete(question(), until(2000.0))

    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (20, 9)


@pytest.mark.row("R2")
async def test_retries_stay_a_small_share_of_calls() -> None:
    clock = Time()
    budget = RetryBudget(clock=clock)
    total = 0

    for _ in range(500):
        model = Failing(*[ModelUnavailable("down")] * 9)
        with pytest.raises(ModelUnavailable, match="attempt"):
            await retrying(model, clock, retries=2, backoff=Constant(base_s=0.0), budget=budget).complete(
                question(), until(2000.0)
            )
        clock.now += 0.01
        total += model.calls

    assert 1.15 * 500 <= total <= 1.2 * 500 + 3


@pytest.mark.row("R2")
def test_a_quiet_service_may_still_retry_a_little() -> None:
    clock = Time()
    budget = RetryBudget(clock=clock)
    budget.called()

    taken = [budget.take() for _ in range(4)]
    clock.now += 10.0

    assert taken == [True, True, True, False]
    assert budget.take()


@pytest.mark.row("R2")
async def test_a_thousand_clients_that_fail_together_do_not_return_together() -> None:
    rng = random.Random(3).random
    buckets: Counter[int] = Counter()

    for _ in range(1000):
        clock = Time()
        model = Failing(*[ModelUnavailable("down")] * 3)
        start = clock.now
        await retrying(model, clock, rng=rng).complete(question(), until(2000.0))
        for waited in clock.slept:
            start += waited
            if start < 1010.0:
                buckets[int((start - 1000.0) * 10)] += 1

    assert max(buckets.values()) <= 0.05 * sum(buckets.values())


@pytest.mark.row("R2")
@pytest.mark.parametrize("failure", [fails(429), fails(500), fails(503), fails(408), fails(409), hangs_up])
async def test_over_http_what_may_pass_is_repeated(provider: Provider, model: OpenAIModel, failure: Any) -> None:
    provider.script.extend([failure, failure, completion("Hello.")])

    reply = await Retrying(model, backoff=Constant(base_s=0.0)).complete(question(), context())

    assert (reply.text, reply.attempts, len(provider.requests)) == ("Hello.", 3, 3)


@pytest.mark.row("R2")
async def test_over_http_a_wish_to_wait_is_honoured(provider: Provider, model: OpenAIModel) -> None:
    provider.script.extend([fails(429, headers={"retry-after-ms": "150"}), completion("Hello.")])
    started = time.monotonic()

    await Retrying(model, rng=lambda: 0.0).complete(question(), context())

    assert time.monotonic() - started >= 0.15


@pytest.mark.row("R2")
async def test_over_http_a_cut_stream_is_repeated_only_while_nothing_was_shown(
    provider: Provider, make_model: Callable[..., OpenAIModel]
) -> None:
    patient = Retrying(make_model(), backoff=Constant(base_s=0.0))
    provider.script.extend([streams(chunk({"role": "assistant"}), cut=True), streams(HELLO)])
    provider.script.extend([streams(chunk({"content": "Hel"}), cut=True), streams(HELLO)])

    unseen = await patient.complete(question(), context(), ignore)
    with pytest.raises(ModelUnavailable, match="delivered already"):
        await patient.complete(question(), context(), ignore)

    assert unseen.attempts == 2


async def test_a_wish_not_to_wait_is_not_honoured() -> None:
    time = Time()
    model = Failing(*[ModelUnavailable("busy", status=429, retry_after_s=0.0)] * 4)

    with pytest.raises(ModelUnavailable):
        await retrying(model, time).complete(question(), until(2000.0))

    assert time.slept == [1.0, 2.0, 4.0]
