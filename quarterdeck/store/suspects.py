"""Runs whose worker was lost again and again get their last chance apart, so that none goes down with another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from quarterdeck.core.runs import RunStatus
from quarterdeck.store.around import JournalAround
from quarterdeck.store.base import Appended, Beside, Claim, Entry, Journal
from quarterdeck.store.standing import claimable

__all__ = ["POISON_AFTER", "SuspectsApart"]

POISON_AFTER = 3  # claims without a single append: the run stops whoever takes it
_LAST_CHANCE = POISON_AFTER - 1
_ALONE_S = 5.0  # what stops a worker before a step forward does so soon


class SuspectsApart(JournalAround):
    """A journal of which this process claims suspects one after the other.

    Runs that were with a worker when it was lost look alike: each was claimed and got no further, and one of them may have
    stopped it. Whichever has only one chance left is claimed when no other such run is under way here, which it is until it
    appends, or for five seconds. What stops a worker later than that may take a suspect along that was claimed since.
    """

    def __init__(self, journal: Journal, *, alone_s: float = _ALONE_S) -> None:
        super().__init__(journal)
        self._alone_s = alone_s
        self._turn = asyncio.Lock()
        self._under_way: Claim | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def claim(self, tenant: str, run_id: str, *, below: int | None = None) -> Claim | None:
        claim = await self._journal.claim(tenant, run_id, below=_LAST_CHANCE if below is None else below)
        if claim is not None or below is not None:
            return claim
        row = await self._journal.find(tenant, run_id)
        if row is None or row.attempts < _LAST_CHANCE or not claimable(row.status):
            return None
        await self._turn.acquire()
        try:
            claim = await self._journal.claim(tenant, run_id)
        finally:
            if claim is None:
                self._turn.release()
        if claim is not None:
            self._under_way = claim
            self._timer = asyncio.get_running_loop().call_later(self._alone_s, self._over, claim)
        return claim

    async def append(
        self,
        claim: Claim,
        entries: Sequence[Entry],
        *,
        folded: int,
        status: RunStatus | None = None,
        wake_at: datetime | None = None,
        beside: Sequence[Beside] = (),
    ) -> Appended:
        try:
            return await super().append(claim, entries, folded=folded, status=status, wake_at=wake_at, beside=beside)
        finally:
            self._over(claim)

    def _over(self, claim: Claim) -> None:
        if claim is self._under_way:
            assert self._timer is not None  # set with it
            self._timer.cancel()
            self._under_way = None
            self._turn.release()
