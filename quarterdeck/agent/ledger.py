"""What an advance has staged and what is durable of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from quarterdeck.agent.base import Audience
from quarterdeck.agent.fold import fold
from quarterdeck.agent.state import RunState
from quarterdeck.core.errors import Conflict
from quarterdeck.core.events import Event
from quarterdeck.core.runs import RunStatus
from quarterdeck.store.base import Beside, Claim, Entry, Journal

__all__ = ["Ledger"]


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
        self._beside: list[Beside] = []
        self._early: asyncio.Future[bool] | None = None
        self._committing = asyncio.Lock()  # parallel tools commit their results as they come

    def stage(self, *events: Event, beside: Sequence[Beside] = ()) -> None:
        """Fold `events` now; they become durable with the next commit, together with the rows beside them."""
        at = self._now()
        entries = [Entry(event=event, seq=self.state.seq + i, at=at) for i, event in enumerate(events, 1)]
        self.state = fold(entries, self.state)
        self._staged += entries
        self._beside += beside

    async def commit(self, *, status: RunStatus = RunStatus.RUNNING, wake_at: datetime | None = None) -> bool:
        """Make what is staged durable.

        Returns:
            False if somebody else wrote to the run since: `state` now holds that too, and the next step may differ.

        Raises:
            Fenced: Another worker has the run.
        """
        early, self._early = self._early, None
        if early is not None and early is not asyncio.current_task():
            await early
        async with self._committing:
            if not self._staged and status is RunStatus.RUNNING:
                return True
            entries, beside = self._staged, self._beside
            self._staged, self._beside = [], []
            try:
                appended = await self._journal.append(
                    self._claim, entries, folded=self._durable.seq, status=status, wake_at=wake_at, beside=beside
                )
            except Conflict:
                await self._refold()
                return False
            await self._audience.stored(self.tenant, self.run_id, appended.entries)
            if appended.foreign or len(appended.entries) != len(entries):
                await self._refold()
                return False
            self._durable = fold(appended.entries, self._durable) if self._staged else self.state
            return True

    @contextmanager
    def committing_after(self, seconds: float) -> Iterator[None]:
        """Commit what is staged if the block takes longer than `seconds`: for events that may wait a moment for company.

        A timer, not a task group: the block is nearly always over before, and then nothing was started.
        """
        timer = asyncio.get_running_loop().call_later(seconds, self._commit_meanwhile)
        try:
            yield
        finally:
            timer.cancel()

    def _commit_meanwhile(self) -> None:
        self._early = asyncio.ensure_future(self.commit())  # owned here: the next commit waits for it

    async def _refold(self) -> None:
        """Take in what others wrote. Events staged meanwhile stay staged, after it."""
        entries = [entry async for entry in self._journal.read(self.tenant, self.run_id, after=self._durable.seq)]
        self._durable = fold(entries, self._durable)
        waiting, self._staged = self._staged, []
        self.state = self._durable
        if waiting:
            self.stage(*(entry.event for entry in waiting))
