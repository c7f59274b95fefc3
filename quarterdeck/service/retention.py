"""Deleting what is old, by policy: ended runs with all they hold, and later the business operations they did.

Proof of what was done stays in the audit log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import anyio

from quarterdeck.agent.operations import KIND, SETTLED
from quarterdeck.core.errors import StoreUnavailable
from quarterdeck.store.base import Journal, Records

__all__ = ["Retention"]

_PAUSE_S = 3600.0

log = logging.getLogger(__name__)


class Retention:
    """Deletes ended runs that nobody touched for `keep_days`. Several processes may do so at once.

    Args:
        operations_days: How long a finished business operation is known, and so not done again.
    """

    def __init__(
        self,
        journal: Journal,
        records: Records,
        *,
        keep_days: float,
        operations_days: float,
        pause_s: float = _PAUSE_S,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._journal = journal
        self._records = records
        self._operations = timedelta(days=operations_days)
        self._keep = timedelta(days=keep_days)
        self._pause_s = pause_s
        self._now = now

    async def once(self) -> int:
        """Delete what is due now; returns the number of runs. Raises StoreUnavailable."""
        count = await self._journal.purge(self._now() - self._keep)
        await self._records.forget(KIND, SETTLED, self._now() - self._operations)
        return count

    async def serve(self) -> None:
        """Delete once an hour until cancelled. A store that does not answer is asked again next time."""
        while True:
            try:
                if count := await self.once():
                    log.info("ended runs were deleted", extra={"runs": count, "keep_days": self._keep / timedelta(days=1)})
            except StoreUnavailable as error:
                log.warning("old runs could not be deleted now", exc_info=error)
            await anyio.sleep(self._pause_s)
