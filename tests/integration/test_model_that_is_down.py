"""What a server sends to a provider that answers nothing but errors: few repetitions, however many ask."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from quarterdeck.app.runtime import Runtime, opened
from quarterdeck.core.context import Principal
from quarterdeck.core.runs import RunStatus
from quarterdeck.devtools.simulator import Entry, Options, RealClock, Simulator
from quarterdeck.service.desk import Question
from quarterdeck.settings import load

ANNA = Principal(user="anna", tenant="acme")
CONFIGURATION = """
models:
  default: down:m
  retry_base_s: 0.01
  providers: {{down: {{base_url: {base_url}, api_key: any}}}}
  breaker: {{minimum_calls: {minimum_calls}, open_s: 600}}
knowledge: {{collections: []}}
"""
USERS = "users: [{id: anna, tenant: acme}]\n"
RETRIES = 3  # by default, after the first attempt
WINDOW_S = 10.0


@asynccontextmanager
async def server(folder: Path, simulator: Simulator, *, minimum_calls: int) -> AsyncIterator[Runtime]:
    (folder / "agents").mkdir()
    (folder / "agents" / "desk.yaml").write_text("instructions: Be brief.\n")
    (folder / "users.yaml").write_text(USERS)
    text = CONFIGURATION.format(base_url=simulator.base_url, minimum_calls=minimum_calls)
    (folder / "quarterdeck.yaml").write_text(text)
    async with opened(load(folder, {})) as runtime:
        yield runtime


async def ask(runtime: Runtime, questions: int, at_once: int) -> Counter[RunStatus]:
    ended: Counter[RunStatus] = Counter()
    turn = anyio.Semaphore(at_once)

    async def one(n: int) -> None:
        async with turn:
            view = await runtime.desk.ask(ANNA, Question(text=f"Question {n:03}."), 30.0)
            ended[view.status] += 1

    async with anyio.create_task_group() as tasks:
        for n in range(questions):
            tasks.start_soon(one, n)
    return ended


def attempts(requests: list[Entry]) -> Counter[str]:
    """How often each question was sent."""
    return Counter(entry.json["messages"][-1]["content"] for entry in requests)


def worst_window(requests: list[Entry]) -> tuple[int, int]:
    """Of all windows of ten seconds: requests in the one with the largest excess over first attempts, and these."""
    seen: set[str] = set()
    first = []
    for entry in requests:
        content = entry.json["messages"][-1]["content"]
        first.append(content not in seen)
        seen.add(content)
    starts = [entry.started_s for entry in requests]
    windows = [(at, bisect_left(starts, starts[at] + WINDOW_S)) for at in range(len(starts))]
    begin, end = max(windows, key=lambda window: first[window[0] : window[1]].count(False))
    return end - begin, first[begin:end].count(True)


@pytest.mark.row("R2", part="whole server")
@pytest.mark.parametrize("at_once", [1, 20])
async def test_a_provider_that_is_down_gets_a_fifth_more_requests_at_most(tmp_path: Path, at_once: int) -> None:
    async with Simulator(Options(clock=RealClock())) as simulator:
        simulator.trace().fault("503")
        async with server(tmp_path, simulator, minimum_calls=1000) as runtime:
            ended = await ask(runtime, 40, at_once)

        requests = simulator.trace().requests()
        assert ended == {RunStatus.FAILED: 40}
        assert len(attempts(requests)) == 40
        assert max(attempts(requests).values()) <= 1 + RETRIES
        total, calls = worst_window(requests)
        assert total - calls <= max(3, calls // 5)


@pytest.mark.row("R2", part="whole server")
async def test_a_few_calls_to_a_provider_that_is_down_are_repeated_three_times_in_all(tmp_path: Path) -> None:
    async with Simulator(Options(clock=RealClock())) as simulator:
        simulator.trace().fault("503")
        async with server(tmp_path, simulator, minimum_calls=1000) as runtime:
            await ask(runtime, 4, 1)

        assert sorted(attempts(simulator.trace().requests()).values()) == [1, 1, 1, 4]


@pytest.mark.row("R4", part="breaker")
async def test_a_provider_that_stays_down_is_left_alone(tmp_path: Path) -> None:
    async with Simulator(Options(clock=RealClock())) as simulator:
        simulator.trace().fault("503")
        async with server(tmp_path, simulator, minimum_calls=20) as runtime:
            ended = await ask(runtime, 40, 1)

        assert ended == {RunStatus.FAILED: 40}
        assert len(attempts(simulator.trace().requests())) == 20
