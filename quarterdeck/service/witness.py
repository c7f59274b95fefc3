"""Signing where the audit logs end, and keeping that in a second place."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

import anyio

from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.service.auditing import followed
from quarterdeck.store.audit import Chain
from quarterdeck.store.base import Records
from quarterdeck.store.checkpoints import Checkpoint, CheckpointPlace

__all__ = ["Signs", "Witness"]

_PAUSE_S = 5.0

log = logging.getLogger(__name__)


class Signs(Protocol):
    """Makes checkpoints with a key."""

    def sign(self, tenant: str, seq: int, own: str, at: datetime) -> Checkpoint: ...


class Witness:
    """Signs the end of each tenant's log when it is old enough or long enough past the last one signed.

    It signs nothing that does not follow from what it signed before: a log that was changed in between is told of, and gets
    no new checkpoint, so that the last good one keeps showing it. Several processes may do so at once.

    Args:
        interval_s: Seconds after which a row that was added is covered.
        every_rows: Rows after which that happens earlier.
        now: The present instant, aware UTC.
    """

    def __init__(
        self,
        records: Records,
        signer: Signs,
        place: CheckpointPlace,
        *,
        interval_s: float = 60.0,
        every_rows: int = 1000,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._records = records
        self._signer = signer
        self._place = place
        self._interval_s = interval_s
        self._every_rows = every_rows
        self._now = now
        self._told: dict[str, tuple[int, str]] = {}

    async def once(self, *, all_of_them: bool = False) -> int:
        """Sign what is due; returns how many were. `all_of_them` signs every end that is not signed yet.

        Raises:
            StoreUnavailable: The database or the second place does not answer.
        """
        count = 0
        for tenant, (seq, own) in (await self._records.audit_heads()).items():
            last = await self._place.latest(tenant)
            if last is not None and seq > last.seq and not (all_of_them or self._due(last, seq)):
                continue
            if last is not None and (seq, own) == (last.seq, last.hash):
                continue
            chain = Chain() if last is None else Chain(after=last.seq, prev=last.hash)
            chain = await followed(self._records, tenant, chain)
            if chain.bad is None and chain.seq < seq:
                chain.end((seq, own))
            if chain.bad is not None or (last is not None and chain.seq <= last.seq):
                self._tell(tenant, (seq, own), chain.bad if chain.bad is not None else seq + 1)
                continue
            await self._place.keep(self._signer.sign(tenant, chain.seq, chain.hash, self._now()))
            count += 1
        return count

    async def serve(self) -> None:
        """Sign until cancelled, and once more then. What cannot be kept now is tried again."""
        try:
            while True:
                await self._try()
                await anyio.sleep(min(self._interval_s, _PAUSE_S))
        finally:
            with anyio.move_on_after(2.0, shield=True):
                await self._try(all_of_them=True)

    async def _try(self, *, all_of_them: bool = False) -> None:
        try:
            await self.once(all_of_them=all_of_them)
        except QuarterdeckError as error:
            log.warning("no checkpoint of the audit log could be kept now", exc_info=error)

    def _tell(self, tenant: str, head: tuple[int, str], bad: int) -> None:
        """Tell once for each head."""
        if self._told.get(tenant) != head:
            self._told[tenant] = head
            log.error("the audit log was changed: it gets no new checkpoint", extra={"tenant": tenant, "seq": bad})

    def _due(self, last: Checkpoint, seq: int) -> bool:
        age_s = (self._now() - datetime.fromisoformat(last.at)).total_seconds()
        return seq - last.seq >= self._every_rows or age_s >= self._interval_s
