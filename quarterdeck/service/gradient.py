"""How many runs may be under way at once, learnt from how long they take."""

from __future__ import annotations

import math

__all__ = ["Gradient"]

_WINDOW_S = 1.0
_SAMPLES = 10  # in a window, or it says nothing
_STEEPEST = 0.5  # a window halves the limit at most
# What is usual is the least that was seen, and it is forgotten slowly, so that another workload is learnt: a window in a
# crowd says little of what runs take without one.
_FORGOTTEN, _FORGOTTEN_IN_A_CROWD = 1.05, 1.001


class Gradient:
    """A limit that falls while runs take longer than `tolerance` times what is usual, and rises again while they do not.

    It begins at `most`. The room it gains in each window is half the square root of the limit: enough to try more, too
    little to overrun what is behind it.

    Attributes:
        limit: Runs that may be under way.
        usual_s: What a run takes without a crowd, None before anybody knows.

    Source: the gradient controller of Envoy's adaptive concurrency filter, with a forgetting minimum in place of its probes.
    """

    def __init__(self, *, least: int, most: int, tolerance: float) -> None:
        self.limit = most
        self.usual_s: float | None = None
        self._least = min(least, most)
        self._most = most
        self._tolerance = tolerance
        self._since: float | None = None
        self._count = 0
        self._sum_s = 0.0
        self._peak = 0

    def sample(self, took_s: float, under_way: int, now: float) -> None:
        """A run ended.

        Args:
            took_s: Seconds from when it was accepted.
            under_way: How many were when it ended, itself included.
            now: Monotonic seconds.
        """
        if self._since is None:
            self._since = now
        self._count += 1
        self._sum_s += took_s
        self._peak = max(self._peak, under_way)
        if now - self._since >= _WINDOW_S and self._count >= _SAMPLES:
            self._learn(max(self._sum_s / self._count, 1e-6))
            self._since, self._count, self._sum_s, self._peak = now, 0, 0.0, 0

    def _learn(self, took_s: float) -> None:
        crowded = 2 * self._peak >= self.limit
        # Where there cannot be fewer, it is not for their number that runs take long.
        forgotten = _FORGOTTEN_IN_A_CROWD if crowded and self.limit > self._least else _FORGOTTEN
        self.usual_s = took_s if self.usual_s is None else min(self.usual_s * forgotten, took_s)
        slope = min(1.0, max(_STEEPEST, self._tolerance * self.usual_s / took_s))
        if crowded or slope < 1:  # else nobody tried what the limit allows
            wanted = slope * self.limit + math.sqrt(self.limit) / 2
            self.limit = round(min(self._most, max(self._least, wanted)))
