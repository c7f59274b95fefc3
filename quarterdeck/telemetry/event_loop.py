"""How late the event loop is: whatever computes on it keeps everybody else waiting, and is seen here."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import anyio

from quarterdeck.telemetry.metrics import Metrics

__all__ = ["LoopLag"]

# Whatever holds the loop for longer is met by at least one look; twenty looks a second cost a thousandth of a processor.
EVERY_S = 0.05


class LoopLag:
    """Asks to be called again and again, and counts by how much each call comes too late."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        """
        Args:
            every_s: Seconds between two looks.
            clock: Monotonic seconds.
            sleep: Waits some seconds.
        """
        self._metrics = metrics
        self._every_s = every_s
        self._clock = clock
        self._sleep = sleep

    async def serve(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            due = self._clock() + self._every_s
            await self._sleep(self._every_s)
            self._metrics.loop_lag(max(0.0, self._clock() - due))
