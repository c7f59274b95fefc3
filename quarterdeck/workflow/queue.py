"""Runs of one tenant that wait to be advanced: places in their order, and who takes the next."""

from __future__ import annotations

import heapq
from collections import deque
from typing import NamedTuple

__all__ = ["Place", "WaitingRuns"]

_OLDEST_EVERY = 8  # also in a crowd one place in so many goes to who waits longest: nobody waits for ever


class Place(NamedTuple):
    """A turn: the smaller goes first.

    Attributes:
        round: In each, every tenant has one.
        order: Of arrival, among all tenants.
    """

    priority: int
    round: int
    order: int


class WaitingRuns:
    """A queue for each priority. Its places are for nobody in particular: so whoever takes one, tenants keep their turns.

    Runs are taken in their order, until the first of them has waited longer than it should. From then on the newest go
    first: its caller is still there and has all his time, whereas who waited long would be answered too late in any case,
    and everybody behind him as well.
    """

    def __init__(self) -> None:
        self._places: list[Place] = []
        self._runs: dict[int, deque[tuple[float, str]]] = {}
        self._crowded = 0  # places that were given in a crowd

    def __len__(self) -> int:
        return len(self._places)

    @property
    def first(self) -> Place:
        """The place that is next."""
        return self._places[0]

    def push(self, place: Place, run_id: str, now: float) -> None:
        """Let a run wait."""
        heapq.heappush(self._places, place)
        self._runs.setdefault(place.priority, deque()).append((now, run_id))

    def pop(self, longest_s: float, now: float) -> tuple[Place, str]:
        """The next place, and who takes it.

        Args:
            longest_s: Seconds a run should wait at most.
        """
        place = heapq.heappop(self._places)
        runs = self._runs[place.priority]
        crowd = now - runs[0][0] > longest_s
        self._crowded += crowd
        newest = crowd and self._crowded % _OLDEST_EVERY != 0
        _, run_id = runs.pop() if newest else runs.popleft()
        return place, run_id
