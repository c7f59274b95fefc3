"""How things stand at this moment, for whoever reads the metrics: what waits for people, and what waits for a worker."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import anyio

from quarterdeck.agent.drafts import KIND
from quarterdeck.core.decisions import DraftStatus
from quarterdeck.core.errors import StoreUnavailable
from quarterdeck.store.base import Journal, Records

if TYPE_CHECKING:  # its package is one of the server's
    from quarterdeck.telemetry.metrics import Metrics

__all__ = ["Standing"]

FRESH_S = 10.0  # who asks more often gets the same answer: looking costs a query for each tenant
MOST = 2_000  # drafts of a tenant, and runs, that are counted; it is said so in the reference
_PAGE = 500

log = logging.getLogger(__name__)


class Standing:
    """Looks at the store when metrics are read, not more often than every ten seconds."""

    def __init__(
        self,
        metrics: Metrics,
        journal: Journal,
        records: Records,
        tenants: Collection[str],
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.metrics = metrics
        self._journal = journal
        self._records = records
        self._tenants = tenants
        self._clock = clock
        self._now = now
        self._looked_at = float("-inf")
        self._lock = anyio.Lock()

    async def rendered(self, accept: str = "", *, within_s: float = 5.0) -> tuple[bytes, str]:
        """All metrics and their media type. Without an answer of the store how things stand is left unknown."""
        async with self._lock:
            if self._clock() - self._looked_at >= FRESH_S:
                self._looked_at = self._clock()
                try:
                    with anyio.fail_after(within_s):
                        await self._look()
                except (StoreUnavailable, TimeoutError) as error:
                    log.warning("the metrics do not say how things stand: %s", error or "the store took too long")
                    self.metrics.unknown_standing()
        return self.metrics.rendered(accept)

    async def _look(self) -> None:
        pending, oldest = 0, self._now()
        for tenant in self._tenants:
            before: str | None = None
            for _ in range(MOST // _PAGE):
                rows = await self._records.find(tenant, KIND, status=DraftStatus.WAITING, before=before, limit=_PAGE)
                pending += len(rows)
                oldest = min((oldest, *(row.created_at for row in rows if row.created_at)))
                if len(rows) < _PAGE:
                    break
                before = rows[-1].id
        queued = await self._journal.due(MOST)
        age = max(timedelta(), self._now() - oldest)
        self.metrics.standing(pending=pending, oldest_s=age.total_seconds() if pending else 0.0, queued=len(queued))
