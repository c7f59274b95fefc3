"""What an advance has staged and what is durable of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum, auto

import anyio

from quarterdeck.agent.base import Audience
from quarterdeck.agent.fold import fold
from quarterdeck.agent.state import RunState
from quarterdeck.core.errors import Conflict
from quarterdeck.core.events import Event
from quarterdeck.core.runs import RunStatus
from quarterdeck.store.base import Beside, Claim, Entry, Journal

__all__ = ["Commit", "EarlyCommit", "Ledger"]

# How long replies, decisions and results of reads may wait for others before they are appended. Fewer appends are a third of
# the CPU of a turn; what a crash within this time costs is that a model is asked, and reads are made, once more.
_COMPANY_S = 0.05


class Commit(Enum):
    """What became of staged events.

    ALONE: they are durable, and nobody else has written. AMONG_OTHERS: they are durable, and the state now holds what others
    wrote too, so the next step may be another. DROPPED: a row beside them had moved on; nothing of them is durable.
    """

    ALONE = auto()
    AMONG_OTHERS = auto()
    DROPPED = auto()


class EarlyCommit:
    """A commit that begins by itself after a while. Whoever asked for it says when it is over, and hears how it went."""

    def __init__(self, ledger: Ledger, seconds: float) -> None:
        # A timer, not a task group: often it is over before anything was started.
        self._task: asyncio.Task[Commit] | None = None
        self._ledger = ledger
        self._timer = asyncio.get_running_loop().call_later(seconds, self._begin)

    def _begin(self) -> None:
        self._task = asyncio.ensure_future(self._ledger.commit())  # owned here and awaited in `over`

    async def over(self) -> Commit:
        """No commit any more, or the end of the one that has begun. Raises what it raised."""
        self._timer.cancel()
        if self._task is None:
            return Commit.ALONE
        with anyio.CancelScope(shield=True):  # what left the staging must arrive
            await self._task
        return self._task.result()


class Ledger:
    """One worker's hand in one run. Staged events are folded at once and become durable, in order, with `commit`.

    Attributes:
        state: The fold of everything durable and staged.
    """

    def __init__(self, journal: Journal, audience: Audience, claim: Claim, now: Callable[[], datetime]) -> None:
        self.run_id = claim.run_id
        self.tenant = claim.tenant
        self.state: RunState = fold(claim.entries)
        self._journal = journal
        self._audience = audience
        self._claim = claim
        self._now = now
        self._durable = self.state
        self._staged: list[Entry] = []
        # A run that lost its worker before any append shows at once that it gets on: lost thrice, it would count as poison.
        self._company_s = _COMPANY_S if claim.attempts <= 1 else 0.0
        self._oldest = 0.0  # when the first of them was staged, monotonic
        self._beside: list[Beside] = []
        self._committing = asyncio.Lock()  # parallel tools commit their results as they come

    @property
    def durable(self) -> int:
        """Seq of the last stored event that `state` knows of."""
        return self._durable.seq

    def stage(self, *events: Event, beside: Sequence[Beside] = ()) -> None:
        """Fold `events` now; they become durable with the next commit, together with the rows beside them."""
        if not self._staged:
            self._oldest = time.monotonic()
        at = self._now()
        entries = [Entry(event=event, seq=self.state.seq + i, at=at) for i, event in enumerate(events, 1)]
        self.state = fold(entries, self.state)
        self._staged += entries
        self._beside += beside

    async def commit(self, *, status: RunStatus = RunStatus.RUNNING, wake_at: datetime | None = None) -> Commit:
        """Make what is staged durable.

        Raises:
            Fenced: Another worker has the run.
            StoreUnavailable: What was staged is not durable, and this ledger is of no more use.
        """
        async with self._committing:
            if not self._staged and status is RunStatus.RUNNING:
                return Commit.ALONE
            entries, beside = self._staged, self._beside
            self._staged, self._beside = [], []
            try:
                appended = await self._journal.append(
                    self._claim, entries, folded=self._durable.seq, status=status, wake_at=wake_at, beside=beside
                )
            except Conflict:
                # If only the end came too early, what led to it stays; else all is dropped, with what rests on it.
                self._staged = entries[:-1] if status is RunStatus.DONE else []
                self._beside = list(beside) if self._staged else []
                await self._refold()
                return Commit.DROPPED
            await self._audience.stored(self.tenant, self.run_id, appended.entries)
            if appended.foreign or len(appended.entries) != len(entries):
                await self._refold()
                return Commit.AMONG_OTHERS
            self._durable = fold(appended.entries, self._durable) if self._staged else self.state
            return Commit.ALONE

    def commit_in_time(self) -> EarlyCommit:
        """Commit what is staged before it has waited longer than it may: for events that are harmless to lose and repeat."""
        waited = time.monotonic() - self._oldest if self._staged else 0.0
        return EarlyCommit(self, max(0.0, self._company_s - waited))

    async def _refold(self) -> None:
        """Take in what others wrote. Events staged meanwhile stay staged, after it."""
        entries = [entry async for entry in self._journal.read(self.tenant, self.run_id, after=self._durable.seq)]
        self._durable = fold(entries, self._durable)
        waiting, self._staged = self._staged, []
        self.state = self._durable
        if waiting:
            self.stage(*(entry.event for entry in waiting))
