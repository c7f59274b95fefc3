"""Wake-ups are noted at once and sent together; what cannot be sent is dropped and reported once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from quarterdeck.core.errors import StoreUnavailable
from quarterdeck.workflow.dispatch_jobs import Outages
from quarterdeck.workflow.dispatch_wakes import Wakes


class Queue:
    """The part of the queue wake-ups are sent to."""

    def __init__(self) -> None:
        self.sent: list[Mapping[tuple[str, str], int]] = []
        self.answers = anyio.Event()
        self.answers.set()
        self.away = False

    async def defer(self, runs: Mapping[tuple[str, str], int]) -> None:
        await self.answers.wait()
        if self.away:
            raise ConnectionRefusedError("nobody there")
        self.sent.append(runs)


class Told:
    """Hears of errors, by a clock that moves when it is told to."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.now = 0.0
        self.outages = Outages(self.hear, lambda: self.now)

    async def hear(self, run_id: str, error: Exception) -> None:
        self.errors.append(error)


async def _rest() -> None:
    for _ in range(5):
        await anyio.lowlevel.checkpoint()


def _wakes(queue: Queue, told: Told) -> Wakes:
    jobs: Any = queue
    return Wakes(jobs, told.outages)


async def test_what_is_noted_while_something_is_sent_goes_together_and_once() -> None:
    queue, told = Queue(), Told()
    wakes = _wakes(queue, told)

    async with wakes.sent():
        queue.answers = anyio.Event()
        await wakes.note("acme", "r1")
        await _rest()
        await wakes.note("acme", "r2")
        await wakes.note("acme", "r3", priority=2)
        await wakes.note("acme", "r3", priority=-1)
        await wakes.note("acme", "r3")
        queue.answers.set()
        await _rest()

        assert queue.sent == [{("acme", "r1"): 0}, {("acme", "r2"): 0, ("acme", "r3"): -1}]


async def test_what_is_left_at_the_end_is_sent() -> None:
    queue = Queue()
    wakes = _wakes(queue, Told())

    async with wakes.sent():
        await wakes.note("acme", "r1")

    assert queue.sent == [{("acme", "r1"): 0}]


async def test_an_outage_fails_nobody_and_is_reported_once_in_a_while() -> None:
    queue, told = Queue(), Told()
    wakes = _wakes(queue, told)
    queue.away = True

    async with wakes.sent():
        for number in range(5):
            await wakes.note("acme", f"r{number}")
            await _rest()
        told.now += 60
        await wakes.note("acme", "later")
        await _rest()
        queue.away = False
        await wakes.note("acme", "back")

    assert [type(error) for error in told.errors] == [StoreUnavailable, StoreUnavailable]
    assert queue.sent == [{("acme", "back"): 0}]


async def test_more_than_ten_thousand_are_left_to_the_scan() -> None:
    queue = Queue()
    wakes = _wakes(queue, Told())

    async with wakes.sent():
        for number in range(10_500):
            await wakes.note("acme", f"r{number}")

    assert sum(len(runs) for runs in queue.sent) == 10_000


async def test_an_error_of_the_block_comes_out_as_it_is() -> None:
    with pytest.raises(LookupError):
        async with _wakes(Queue(), Told()).sent():
            raise LookupError
