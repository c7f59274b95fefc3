"""Runs whose worker was lost again and again get their last chance apart, so that none goes down with another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

import anyio

from quarterdeck.core.runs import RunStatus
from quarterdeck.store.around import JournalAround
from quarterdeck.store.base import Appended, Beside, Claim, Entry, Journal
from quarterdeck.store.standing import claimable

__all__ = ["POISON_AFTER", "SuspectsApart"]

POISON_AFTER = 3  # claims without a single append: the run stops whoever takes it
_LAST_CHANCE = POISON_AFTER - 1
_ALONE_S = 5.0  # what stops a worker before a step forward does so soon
_PATIENCE_S = 0.2  # one that gets on soon is waited for: the next time it is asked what is due, half a second is gone


class SuspectsApart(JournalAround):
    """A journal of which this process claims suspects one after the other.

    Runs that were with a worker when it was lost look alike: each was claimed and got no further, and one of them may have
    stopped it. Whichever has only one chance left is claimed when no other such run is under way here, which it is until it
    appends, or for five seconds. What stops a worker later than that may take a suspect along that was claimed since.
    A suspect whose turn does not come soon cannot be claimed yet, and is due once it can: so it keeps no place of a worker.
    """

    def __init__(self, journal: Journal, *, alone_s: float = _ALONE_S, patience_s: float = _PATIENCE_S) -> None:
        super().__init__(journal)
        self._alone_s = alone_s
        self._patience_s = patience_s
        self._turn = asyncio.Lock()
        self._under_way: Claim | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._left: dict[tuple[str, str], datetime] = {}  # suspects whose turn it was not, and when each was touched last

    async def claim(self, tenant: str, run_id: str, *, below: int | None = None) -> Claim | None:
        claim = await super().claim(tenant, run_id, below=_LAST_CHANCE if below is None else below)
        if claim is not None or below is not None:
            return claim
        touched = await self._touched(tenant, run_id)
        if touched is None:
            return None
        with anyio.move_on_after(self._patience_s) as waiting:
            await self._turn.acquire()
        if waiting.cancelled_caught:
            self._left[tenant, run_id] = touched
            return None
        try:
            claim = await super().claim(tenant, run_id)
        finally:
            if claim is None:
                self._turn.release()
        if claim is not None:
            self._left.pop((tenant, run_id), None)
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

    async def due(self, limit: int = 100, *, stalled_s: float = 0.0) -> list[tuple[str, str]]:
        due = await super().due(limit, stalled_s=stalled_s)
        if self._turn.locked():
            return [run for run in due if run not in self._left]
        for run, touched in list(self._left.items()):
            if await self._touched(*run) != touched:  # somebody has it, or had it
                self._left.pop(run, None)
        return [*due, *(run for run in self._left if run not in due)]

    async def _touched(self, tenant: str, run_id: str) -> datetime | None:
        """When a suspect was touched last; None for a run that is none."""
        row = await self._journal.find(tenant, run_id)
        if row is None or row.attempts < _LAST_CHANCE or not claimable(row.status):
            return None
        return row.updated_at

    def _over(self, claim: Claim) -> None:
        if claim is self._under_way:
            assert self._timer is not None  # set with it
            self._timer.cancel()
            self._under_way = None
            self._turn.release()
