"""Rate limits: how often something may happen, and the counters of this process."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

__all__ = ["LimitState", "MemoryLimits", "Rate", "Room", "Want"]

_MOST_COUNTERS = 100_000
_NEARLY_ONE = 1 - 1e-9  # what fills by fractions may miss a whole by the last bit


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How often something may happen.

    Attributes:
        amount: Times in any `window_s` seconds, wherever they begin. With a `burst`: what a bucket gains in as many seconds.
        burst: What the bucket holds, and so may happen at once after a rest; None for no bucket.
        limit: What may happen at once when nothing has happened for long.
    """

    amount: int
    window_s: float
    burst: int | None = None
    limit: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "limit", self.amount if self.burst is None else self.burst)

    def share(self, parts: int) -> Rate:
        """What one of so many may do where they cannot count together: at least once."""
        burst = None if self.burst is None else max(1, self.burst // parts)
        return replace(self, amount=max(1, self.amount // parts), burst=burst)


class Want(NamedTuple):
    """One more on the counter `name`, which may be counted at this rate."""

    name: str
    rate: Rate


class Room(NamedTuple):
    """How a counter stands.

    Attributes:
        limit: See `Rate.limit`.
        remaining: How often it may happen yet, at this moment.
        reset_s: Seconds until all of it may happen again, if nothing does meanwhile.
        retry_after_s: Seconds until it may happen once; 0 if it was not this counter that refused.
    """

    limit: int
    remaining: int
    reset_s: float
    retry_after_s: float = 0.0


class LimitState(Protocol):
    """Counters by name. Never fails: what cannot be reached is replaced by what this process counts itself."""

    async def take(self, group: str, wants: Sequence[Want]) -> Sequence[Room]:
        """Count one on each of the counters, or on none if one of them has no room; in the order of `wants`.

        Args:
            group: Whom the counters belong to: names are of this group, and their counters lie together.
        """
        ...


class MemoryLimits:
    """Counters of this process; exact, as nothing else happens while they are looked at.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, most: int = _MOST_COUNTERS) -> None:
        self._clock = clock
        self._most = most
        self._counters: OrderedDict[tuple[str, str], _Bucket | _Window] = OrderedDict()

    async def take(self, group: str, wants: Sequence[Want]) -> Sequence[Room]:
        now, asked, room_for_all = self._clock(), [], True
        for want in wants:
            counter = self._counter(group, want, now)
            wait_s = counter.wait_s(want.rate, now)
            room_for_all = room_for_all and not wait_s
            asked.append((counter, want.rate, wait_s))
        return [counter.count(rate, now, wait_s, taking=room_for_all) for counter, rate, wait_s in asked]

    def _counter(self, group: str, want: Want, now: float) -> _Bucket | _Window:
        kind, key = _Window if want.rate.burst is None else _Bucket, (group, want.name)
        counter = self._counters.get(key)
        if not isinstance(counter, kind):
            counter = self._counters[key] = kind(want.rate, now)
            if len(self._counters) > self._most:
                self._counters.popitem(last=False)  # that was asked for longest ago
        self._counters.move_to_end(key)
        return counter


class _Bucket:
    """Fills evenly, and is emptied by what happens."""

    def __init__(self, rate: Rate, now: float) -> None:
        self._level = float(rate.limit)
        self._at = now

    def wait_s(self, rate: Rate, now: float) -> float:
        """Seconds until it holds one; 0 if it does."""
        gained = max(0.0, now - self._at) * rate.amount / rate.window_s
        self._level, self._at = min(float(rate.limit), self._level + gained), now
        return 0.0 if self._level >= _NEARLY_ONE else (1 - self._level) * rate.window_s / rate.amount

    def count(self, rate: Rate, now: float, wait_s: float, *, taking: bool) -> Room:
        self._level -= taking
        missing_s = (rate.limit - self._level) * rate.window_s / rate.amount
        left = max(0, int(self._level + 1 - _NEARLY_ONE))
        return Room(limit=rate.limit, remaining=left, reset_s=missing_s, retry_after_s=wait_s)


class _Window:
    """Remembers when each of the last times was: no window, wherever it begins, holds more than the rate allows."""

    def __init__(self, rate: Rate, now: float) -> None:
        self._times: deque[float] = deque()

    def wait_s(self, rate: Rate, now: float) -> float:
        while self._times and self._times[0] <= now - rate.window_s:
            self._times.popleft()
        surplus = len(self._times) - rate.amount
        return 0.0 if surplus < 0 else self._times[surplus] + rate.window_s - now

    def count(self, rate: Rate, now: float, wait_s: float, *, taking: bool) -> Room:
        if taking:
            self._times.append(now)
        reset_s = self._times[-1] + rate.window_s - now if self._times else 0.0
        left = max(0, rate.amount - len(self._times))
        return Room(limit=rate.limit, remaining=left, reset_s=reset_s, retry_after_s=wait_s)
