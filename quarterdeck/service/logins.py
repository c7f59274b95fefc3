"""Who came in, written down without a row for every request."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from quarterdeck.core.context import Principal
from quarterdeck.store.base import Audit, Records

__all__ = ["Logins"]

_EVERY_S = 3600.0
_REMEMBERED = 10_000


class Logins:
    """Writes a row of the audit log for the first time in an hour that somebody comes to this process.

    `service.refused` tells of who is refused.
    """

    def __init__(self, records: Records, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._records = records
        self._clock = clock
        self._seen: OrderedDict[tuple[str, str, str], float] = OrderedDict()

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
