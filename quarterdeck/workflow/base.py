"""Many steps, many people, many crashes: who wakes runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

__all__ = ["Advance", "Dispatcher"]

Advance = Callable[[str, str], Awaitable[object]]  # (tenant, run id): take the run as far as it goes


class Dispatcher(Protocol):
    """Delivers `advance(tenant, run_id)` at least once, or never: a wake-up is a hint, the store says what is due."""

    async def wake(self, tenant: str, run_id: str, *, priority: int = 0) -> None:
        """Ask for the run to be advanced soon. Lost and doubled wake-ups are harmless."""
        ...

    async def serve(self, advance: Advance, *, concurrency: int = 50) -> None:
        """Advance what is due until `stop`."""
        ...

    async def stop(self, grace_s: float) -> None:
        """Take no new work, give running advances `grace_s` seconds, then let go of them; the store keeps them due."""
        ...
