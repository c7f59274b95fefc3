"""Who came in and who was refused, written down without a row for every request."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable

from quarterdeck.core.context import Principal
from quarterdeck.store.base import Audit, Records

__all__ = ["Logins"]

_EVERY_S = 3600.0
_REMEMBERED = 10_000
_TOLD_EVERY_S = 1.0

log = logging.getLogger(__name__)


class Logins:
    """Writes a row of the audit log for the first time in an hour that somebody comes to this process.

    Who is refused has no tenant, and so no audit log: the log of the process tells of him, at most once a second, with how
    many there were.
    """

    def __init__(self, records: Records, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._records = records
        self._clock = clock
        self._seen: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        self._refused = 0
        self._told: float | None = None

    async def allowed(self, principal: Principal, by: str) -> None:
        """Somebody came in. Args: by: What with, such as ``key``. Raises StoreUnavailable: it cannot be written down."""
        place, present = (principal.tenant, principal.user, by), self._clock()
        seen = self._seen.get(place)
        if seen is not None and present - seen < _EVERY_S:
            return
        who = f"user:{principal.user}"
        await self._records.write(
            principal.tenant, [Audit(actor=who, subject=who, action="login", object=by, decision="allowed")]
        )
        self._seen[place] = present
        self._seen.move_to_end(place)
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    def refused(self) -> None:
        """Somebody was not let in."""
        self._refused += 1
        present = self._clock()
        if self._told is None or present - self._told >= _TOLD_EVERY_S:
            log.warning("callers were refused", extra={"refused": self._refused})
            self._told, self._refused = present, 0
