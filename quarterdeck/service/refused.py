"""Who was refused, written down so that a flood of attempts fills no audit log."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Awaitable, Callable

import anyio

from quarterdeck.core.errors import StoreUnavailable
from quarterdeck.store.base import Audit, Records

__all__ = ["RefusedLogins"]

_EVERY_S = 60.0
_SOURCES = 8  # of one tenant that are told apart in a minute; the others are one more row
_OTHERS = "others"
_LAST_S = 1.0  # for what is left at the end
_NEIGHBOURHOOD = 64  # bits of an IPv6 address that one household has for itself


class RefusedLogins:
    """Counts credentials that let nobody in, by where they came from, and writes a row a minute for each source.

    A credential that names a tenant's key belongs to its audit log; any other to that of `tenant`. What is counted since the
    last minute a crash loses; the log of the process has a line for each.
    """

    def __init__(
        self, records: Records, *, tenant: str | None, sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    ) -> None:
        """
        Args:
            tenant: Whose audit log tells of credentials that are nobody's; None for none.
        """
        self._records = records
        self._tenant = tenant
        self._sleep = sleep
        self._counts: dict[str, Counter[tuple[str, str]]] = {}

    def note(self, address: str, by: str, tenant: str | None) -> None:
        """Somebody was refused.

        Args:
            address: Where he came from.
            by: What he came with, such as ``key``.
            tenant: To which it belongs, None if to none.
        """
        owner = tenant or self._tenant
        if owner is None:
            return
        counts = self._counts.setdefault(owner, Counter())
        place = (_source(address), by)
        counts[place if place in counts or len(counts) < _SOURCES else (_OTHERS, by)] += 1

    async def serve(self) -> None:
        """Write down once a minute, and when it is cancelled, what was counted."""
        try:
            while True:
                await self._sleep(_EVERY_S)
                await self.write()
        finally:
            with anyio.move_on_after(_LAST_S, shield=True):
                await self.write()

    async def write(self) -> None:
        """Write down what was counted. What cannot be written now is counted on."""
        counted, self._counts = self._counts, {}
        for tenant, counts in counted.items():
            rows = [
                Audit(
                    actor=f"address:{source}",
                    subject=f"address:{source}",
                    action="login",
                    object=by,
                    decision=f"refused:{count}",
                )
                for (source, by), count in counts.items()
            ]
            try:
                await self._records.write(tenant, rows)
            except StoreUnavailable:
                self._counts.setdefault(tenant, Counter()).update(counts)


def _source(address: str) -> str:
    """An address; of IPv6 the network, as one household has more addresses than can be counted."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, _NEIGHBOURHOOD), strict=False))
    return str(found)
