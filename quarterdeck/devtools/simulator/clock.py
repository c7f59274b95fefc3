"""The simulator's time: real, or virtual, where waiting costs nothing."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

__all__ = ["Clock", "RealClock", "VirtualClock"]


class Clock(Protocol):
    """Seconds since some moment, and waiting in them."""

    @property
    def is_virtual(self) -> bool: ...

    def now(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class RealClock:
    """Time as it passes."""

    is_virtual = False

    def now(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class VirtualClock:
    """Time that jumps: a sleep ends at once and has taken as long as it says. Answers one after another add up."""

    is_virtual = True

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self._now += max(0.0, seconds)
