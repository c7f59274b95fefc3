from __future__ import annotations

import asyncio
import contextlib

import pytest

from quarterdeck.telemetry.event_loop import LoopLag
from quarterdeck.telemetry.metrics import Metrics


@pytest.mark.row("O2", part="event loop")
async def test_a_timer_that_comes_too_late_is_counted_with_by_how_much() -> None:
    metrics, now = Metrics(), 100.0
    late_s = iter([0.0, 0.25, 0.0078125])

    async def sleep(seconds: float) -> None:
        nonlocal now
        try:
            now += seconds + next(late_s)
        except StopIteration:
            raise asyncio.CancelledError from None

    with contextlib.suppress(asyncio.CancelledError):
        await LoopLag(metrics, every_s=0.0625, clock=lambda: now, sleep=sleep).serve()

    page = metrics.rendered()[0].decode()
    assert "quarterdeck_event_loop_lag_seconds_count 3.0" in page
    assert 'quarterdeck_event_loop_lag_seconds_bucket{le="0.1"} 2.0' in page
    assert "quarterdeck_event_loop_lag_largest_seconds 0.25" in page


async def test_a_clock_that_stands_is_not_late() -> None:
    metrics = Metrics()
    looks = 0

    async def sleep(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks > 3:
            raise asyncio.CancelledError

    with contextlib.suppress(asyncio.CancelledError):
        await LoopLag(metrics, clock=lambda: 5.0, sleep=sleep).serve()

    assert "quarterdeck_event_loop_lag_largest_seconds 0.0" in metrics.rendered()[0].decode()
