"""What a server sends to a provider that fails, refuses or is slow: how often, when, and how soon another one answers."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from bench.measure import Measure, absolute, or_missing
from quarterdeck.app.runtime import Runtime, opened
from quarterdeck.core.context import Context, Principal
from quarterdeck.core.errors import ModelUnavailable
from quarterdeck.devtools.fakes import FakeModel
from quarterdeck.devtools.simulator import Options, RealClock, Simulator
from quarterdeck.models.base import ModelRequest
from quarterdeck.models.retry import Retrying
from quarterdeck.service.desk import Question
from quarterdeck.settings import load

ANNA = Principal(user="anna", tenant="acme")
CONFIGURATION = """
models:
  default: first:m
  retry_base_s: {retry_base_s}
  providers:
    first: {{base_url: {first}, api_key: any}}
    second: {{base_url: {second}, api_key: any}}
  fallbacks: {fallbacks}
  breaker: {{minimum_calls: {minimum_calls}}}
knowledge: {{collections: []}}
log: {{level: error}}
"""
CALLS, RATE = 60, 12.0
CLIENTS, BUCKET_S, WITHIN_S = 1_000, 0.1, 10.0
SLOW_CALLS = 40


async def measure() -> list[Measure]:
    return [
        *await or_missing("retries", _down()),
        *await or_missing("Retry-After", _told_when()),
        *await or_missing("jitter", _jitter()),
        *await or_missing("hedging", _slow()),
        *await or_missing("breaker", _stood_in_for()),
    ]


async def _down() -> list[Measure]:
    """A provider that answers nothing but 503, without a breaker."""
    async with Simulator(Options(clock=RealClock())) as first, _served(first, first, minimum_calls=100_000) as runtime:
        first.trace().fault("503")
        async with asyncio.TaskGroup() as tasks:
            for number in range(CALLS):
                tasks.create_task(_ask(runtime, f"Question {number:03}?"))
                await asyncio.sleep(1 / RATE)
        sent = first.trace().requests()
    questions = Counter(entry.json["messages"][-1]["content"] for entry in sent)
    note = f"{CALLS} calls in {CALLS / RATE:.0f} s, all of them 503"
    return [
        absolute("retries: requests for each call", len(sent) / CALLS, "", budget=1.2, note=note),
        absolute("retries: most attempts of a call", max(questions.values()), "", budget=4),
    ]


async def _told_when() -> list[Measure]:
    """429 with Retry-After, with time for it and without."""
    async with Simulator(Options(clock=RealClock())) as first, _served(first, first) as runtime:
        first.trace().fault("rate_limit", retry_after_s=2.0, times=1)
        await _ask(runtime, "Question?")
        sent = [entry.started_s for entry in first.trace().requests()]
        first.trace().fault("rate_limit", retry_after_s=30.0, times=1)
        began = time.monotonic()
        await _ask(runtime, "Another question?", within_s=5.0)
        took_s = time.monotonic() - began
        late = len(first.trace().requests()) - len(sent) - 1
    gap_s = sent[1] - sent[0]
    return [
        absolute("Retry-After: next attempt, at the latest", gap_s, "s", budget=2.6, note="asked for 2 s"),
        absolute("Retry-After: next attempt too early by", max(0.0, 2.0 - gap_s), "s", budget=0),
        absolute("Retry-After: failed after, where the wait is past the deadline", took_s, "s", budget=1.0),
        absolute("Retry-After: attempts then", late, "", budget=0),
    ]


async def _jitter() -> list[Measure]:
    """A thousand clients with budgets of their own, whose first call fails at the same moment; their waits are noted."""
    chance = random.Random(1)
    retried: list[float] = []

    async def client() -> None:
        waited = 0.0

        async def wait(seconds: float) -> None:
            nonlocal waited
            waited += seconds
            retried.append(waited)

        failing = FakeModel(*[ModelUnavailable("503")] * 4)
        model = Retrying(failing, sleep=wait, rng=chance.random, clock=lambda: time.monotonic())
        try:
            await model.complete(
                ModelRequest(messages=()), Context(principal=ANNA, run_id="r1", deadline=time.monotonic() + 600.0)
            )
        except ModelUnavailable:
            return

    for _ in range(CLIENTS):
        await client()
    within = [at for at in retried if at < WITHIN_S]
    fullest = max(Counter(int(at / BUCKET_S) for at in within).values())
    share = 100 * fullest / len(within)
    note = f"of {len(within)} retries of {CLIENTS} clients in {WITHIN_S:g} s"
    return [absolute("jitter: fullest 100 ms", share, "% of retries", budget=5, note=note)]


async def _slow() -> list[Measure]:
    """A provider of which a tenth of the calls takes long: is a second request sent meanwhile?"""
    async with Simulator(Options(clock=RealClock())) as first, _served(first, first) as runtime:
        first.trace().fault("slow", delay_s=1.0, times=SLOW_CALLS // 10)
        async with asyncio.TaskGroup() as tasks:
            for number in range(SLOW_CALLS):
                tasks.create_task(_ask(runtime, f"Question {number:03}?"))
        more = 100 * (len(first.trace().requests()) / SLOW_CALLS - 1)
    return [
        absolute("hedging: requests beyond calls", more, "%", budget=5, note=f"{SLOW_CALLS} calls, a tenth of them slow")
    ]


async def _stood_in_for() -> list[Measure]:
    """A provider that fails, and another one for when it does."""
    async with (
        Simulator(Options(clock=RealClock())) as first,
        Simulator(Options(clock=RealClock())) as second,
        _served(first, second, fallbacks="{'*': [second:m]}", minimum_calls=20) as runtime,
    ):
        first.trace().fault("503")
        took_s: list[float] = []
        began = time.monotonic()
        while time.monotonic() < began + 13.0:
            asked = time.monotonic()
            await _ask(runtime, f"Question {len(took_s):03}?")
            took_s.append(time.monotonic() - asked)
            await asyncio.sleep(0.05)
        sent = {entry.json["messages"][-1]["content"]: entry.started_s for entry in reversed(first.trace().requests())}
    calls = sorted(sent.values())  # when each was first sent; what is retried of a call is no other one
    pauses = [
        (number, later - earlier) for number, (earlier, later) in enumerate(pairwise(calls), 1) if later - earlier > 2.0
    ]
    opened_at = pauses[0][0] if pauses else len(calls)
    probes = len(calls) - opened_at
    early_s = max([0.0, *(5.0 - pause for _, pause in pauses)])
    return [
        absolute("breaker: open after", opened_at, "calls", budget=20, note="all of them 503"),
        absolute("breaker: slowest answer of the fallback", max(took_s[opened_at:], default=60.0), "s", budget=1.0),
        absolute("breaker: probes", probes, "calls", budget=2, note="in the 13 s after the first call"),
        absolute("breaker: probes too early by", early_s, "s", budget=0.0),
    ]


async def _ask(runtime: Runtime, text: str, *, within_s: float = 30.0) -> None:
    deadline = datetime.now(UTC) + timedelta(seconds=within_s)
    await runtime.desk.ask(ANNA, Question(text=text, deadline=deadline), within_s)


@asynccontextmanager
async def _served(
    first: Simulator, second: Simulator, *, fallbacks: str = "{}", minimum_calls: int = 100
) -> AsyncIterator[Runtime]:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "agents").mkdir()
        (folder / "agents" / "desk.yaml").write_text("instructions: Be brief.\n")
        (folder / "users.yaml").write_text("users: [{id: anna, tenant: acme}]\n")
        (folder / "quarterdeck.yaml").write_text(
            CONFIGURATION.format(
                first=first.base_url,
                second=second.base_url,
                fallbacks=fallbacks,
                minimum_calls=minimum_calls,
                retry_base_s=0.05 if fallbacks != "{}" else 0.5,
            )
        )
        async with opened(load(folder, {})) as runtime:
            yield runtime
