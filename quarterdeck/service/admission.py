"""Which runs are accepted: as many as can be served in good time, of every tenant its part, the urgent ones first."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from quarterdeck.core.errors import RateLimited
from quarterdeck.service.gradient import Gradient
from quarterdeck.workflow.base import Advance
from quarterdeck.workflow.lanes import Lane

__all__ = ["Admission", "Load"]

_RETRY_S = 1.0  # where nobody knows what runs take


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How many runs a process takes.

    Attributes:
        most: Under way at once.
        least: As few as `adaptive` may make that.
        tolerance: How many times longer than usual runs may take before fewer are accepted.
        shares: Of those places, at which runs of a lane are sent away; 1 for a lane that is not named.
    """

    most: int = 1000
    least: int = 100
    adaptive: bool = True
    tolerance: float = 1.5
    shares: Mapping[Lane, float]


class Admission:
    """Counts the runs that were accepted here and are under way; says no at once where there is no room for one more.

    A tenant below its fair part is let in beyond the limit: what is in its way belongs to others, and will not be renewed.

    Attributes:
        refused: Runs that were not accepted.

    Args:
        asked: True where others advance runs too: a run then counts until its asker has its answer or leaves. Otherwise it
            counts until it rests or ends, whoever waits for it.
        clock: Monotonic seconds.
    """

    def __init__(self, load: Load, *, asked: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._load = load
        self._asked = asked
        self._clock = clock
        self._gradient = Gradient(least=load.least, most=load.most, tolerance=load.tolerance)
        self.refused = 0
        self._held: dict[tuple[str, str], float] = {}  # run -> since when
        self._tenants: Counter[str] = Counter()

    @property
    def limit(self) -> int:
        """Runs that may be under way now."""
        return self._gradient.limit if self._load.adaptive else self._load.most

    @property
    def under_way(self) -> int:
        return len(self._held)

    def enter(self, tenant: str, run_id: str, lane: Lane) -> None:
        """Accept a run, or raise RateLimited."""
        places = self.limit * self._load.shares.get(lane, 1.0)
        tenants = len(self._tenants) + (tenant not in self._tenants)
        below = self._tenants[tenant] < places / tenants and len(self._held) < 2 * self.limit
        if len(self._held) >= places and not below:
            self.refused += 1
            wait_s = self._gradient.usual_s or _RETRY_S
            raise RateLimited(
                "as many runs are under way as can be served in good time; come back", retry_after_s=wait_s, reason="no_room"
            )
        self._held[tenant, run_id] = self._clock()
        self._tenants[tenant] += 1

    def withdraw(self, tenant: str, run_id: str) -> None:
        """Nothing came of a run that entered."""
        self._forget(tenant, run_id)

    def answered(self, tenant: str, run_id: str) -> None:
        """Whoever asked has the answer, or waits for it no more."""
        if self._asked:
            self._end(tenant, run_id)

    def around(self, advance: Advance) -> Advance:
        """`advance`, after which a run rests or has ended. One that raised is taken up again, and is under way till then."""

        async def admitted(tenant: str, run_id: str) -> None:
            await advance(tenant, run_id)
            if not self._asked:
                self._end(tenant, run_id)

        return admitted

    def _end(self, tenant: str, run_id: str) -> None:
        under_way, now = len(self._held), self._clock()
        since = self._forget(tenant, run_id)
        if since is not None:
            self._gradient.sample(now - since, under_way, now)

    def _forget(self, tenant: str, run_id: str) -> float | None:
        """When the run entered; None for one that did not, or is over."""
        since = self._held.pop((tenant, run_id), None)
        if since is not None:
            self._tenants[tenant] -= 1
            if not self._tenants[tenant]:
                del self._tenants[tenant]
        return since
