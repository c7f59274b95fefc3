"""Until when somebody who was let in may stay: a stream outlasts the moment in which its opener was looked at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import anyio

from quarterdeck.agent.base import Directory
from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Unauthenticated, Unavailable

__all__ = ["Entitling", "Stay", "Stays"]


class Entitling(Directory, Protocol):
    """Knows what people may do now, and until when what let them in lasts."""

    async def ends(self, principal: Principal) -> datetime | None:
        """When what he came with is over, as it stands now: an end may have been set since. None if none is known."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """Somebody who was let in.

    Attributes:
        until: When what let him in is over, None if it has no end of its own.
        needs: Scopes of which he needs one to stay; none for nothing but being known.
    """

    principal: Principal
    until: datetime | None = None
    needs: frozenset[str] = frozenset()


class Stays:
    """Looks again, while a stream is open, whether who opened it may still read it."""

    def __init__(
        self,
        directory: Entitling,
        *,
        every_s: float = 15.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        """
        Args:
            directory: Says what people may do now, and whether what let them in was taken back.
            every_s: Seconds between two looks.
        """
        self._directory = directory
        self._every_s = every_s
        self._now = now
        self._sleep = sleep

    def pause_s(self, stay: Stay) -> float:
        """Seconds until the next look."""
        left_s = self._every_s if stay.until is None else (stay.until - self._now()).total_seconds()
        return max(0.0, min(self._every_s, left_s))

    async def confirm(self, stay: Stay) -> None:
        """Look once. Raises Unauthenticated if he may stay no longer; where that cannot be told now, he may."""
        self._hold(stay.until)
        try:
            present = await self._directory.current(stay.principal)
            end = await self._directory.ends(stay.principal)
        except Unavailable:
            return  # a database that is away for a moment ends nobody's stream; the next look tells
        if present is None:
            raise Unauthenticated("whoever opened this may not act any more")
        if lost := stay.principal.names - present.names:
            raise Unauthenticated(f"who opened this is no more one of {', '.join(sorted(lost))}")
        if stay.needs and stay.needs.isdisjoint(present.scopes):
            raise Unauthenticated(f"who opened this has no more the scope {' or '.join(sorted(stay.needs))}")
        self._hold(end)

    def _hold(self, end: datetime | None) -> None:
        if end is not None and end <= self._now():
            raise Unauthenticated("what let you in is over; come back with what counts now")

    async def over(self, stay: Stay) -> str:
        """Wait until he may stay no longer, and say why."""
        while True:
            await self._sleep(self.pause_s(stay))
            try:
                await self.confirm(stay)
            except Unauthenticated as error:
                return str(error)
