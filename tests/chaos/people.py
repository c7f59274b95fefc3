"""The people of a campaign: they begin runs, decide, say what became of started writes, and see how all of it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from pathlib import Path
from typing import Any

from quarterdeck.core.decisions import DraftStatus
from quarterdeck.core.errors import Conflict, StoreUnavailable
from quarterdeck.core.events import RunStarted
from quarterdeck.core.ids import new_id
from quarterdeck.core.labels import Integrity, Label, Readers
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.store.base import Entry
from quarterdeck.tools.registry import Registry
from quarterdeck.workflow.approvals import Approvals
from quarterdeck.workflow.effects import Effects
from tests.chaos.plan import APPROVER, ASKER, CONFIG_HASH, SPEC, TENANT

__all__ = ["People"]

OPEN_RUNS = 6  # how many are kept going while there is killing


class People:
    """Those outside. Of their decisions three in ten are sent twice.

    Attributes:
        begun: Runs they asked for.
        unsure: Those of them that nobody was told of: they may have begun, and must end if they have.
    """

    def __init__(self, store: Any, ledger: Path, chance: random.Random) -> None:
        self._store = store
        self._ledger = ledger
        self._chance = chance
        self._begin_more = True
        self._unended: list[str] = []
        self.begun: list[str] = []
        self.unsure: set[str] = set()
        self._approvals = Approvals(
            journal=store.journal, records=store.records, dispatcher=_Unattended(), toolbox=Registry([])
        )
        self._effects = Effects(journal=store.journal, records=store.records, dispatcher=_Unattended())

    def no_more_runs(self) -> None:
        self._begin_more = False

    async def keep_busy(self) -> None:
        while True:
            with contextlib.suppress(StoreUnavailable):  # people come again
                if self._begin_more and len(await self.open()) < OPEN_RUNS:
                    await self.begin()
                await self._decide()
                await self._resolve()
            await asyncio.sleep(0.03)

    async def open(self) -> dict[str, int]:
        """Runs that have not ended, with the seq of their last event; 0 for one that is being begun.

        One look tells the whole of a run. Asked for status by status, a run that is decided between two questions is found
        under none, and a campaign whose last run it is would end before the worker could take it.
        """
        stands = await self._store.journal.heads([(TENANT, run_id) for run_id in self._unended])
        ended = {run_id for (_, run_id), (_, status) in stands.items() if status.ended}
        self._unended = [run_id for run_id in self._unended if run_id not in ended]
        heads = {run_id: head for (_, run_id), (head, _) in stands.items()}
        return {run_id: heads.get(run_id, 0) for run_id in self._unended if run_id in heads or run_id not in self.unsure}

    async def wait_for_the_end(self, patience_s: float, at_most_s: float = 600.0) -> float:
        """Wait until no run is open, or nothing has been stored in any for `patience_s` seconds.

        What is slow gets on, what is lost does not; `at_most_s` stops what gets on for ever.

        Returns:
            The longest time in which nothing was stored, in seconds.
        """
        last: dict[str, int] = {}
        began = moved = time.monotonic()
        longest = 0.0
        while longest < patience_s:
            now = time.monotonic()
            if now - began > at_most_s:
                break
            with contextlib.suppress(StoreUnavailable):
                stand = await self.open()
                if not stand:
                    break
                if stand != last:
                    last, moved = stand, now
            longest = max(longest, now - moved)
            await asyncio.sleep(0.05)
        return longest

    async def begin(self, words: str = "Do your work.") -> str:
        """Ask for a run; its id."""
        run_id = new_id()
        label = Label(integrity=Integrity.TRUSTED, readers=Readers.of(f"user:{ASKER.user}"))
        event = RunStarted(
            input=Message(role=Role.USER, parts=(Text(text=words, label=label),)),
            agent=SPEC.name,
            config_hash=CONFIG_HASH,
            tenant=TENANT,
            principal=ASKER,
        )
        self.begun.append(run_id)
        self._unended.append(run_id)
        try:
            await self._store.journal.create(TENANT, run_id, Entry(event=event))
        except StoreUnavailable:
            self.unsure.add(run_id)
            raise
        return run_id

    async def _decide(self) -> None:
        drafts = list(await self._approvals.list(APPROVER, status=DraftStatus.WAITING))
        self._chance.shuffle(drafts)
        for draft in drafts:
            if self._chance.random() < 0.4:
                continue  # this one waits a little longer
            for _ in range(2 if self._chance.random() < 0.3 else 1):
                with contextlib.suppress(Conflict):
                    await self._approvals.decide(APPROVER, draft.id, approved=True)

    async def _resolve(self) -> None:
        """A person looks at the outside world and says what happened there."""
        for doubt in await self._effects.doubts(APPROVER):
            happened = any(
                line["what"] == "applied" and line["run"] == doubt.run_id and line["call"] == doubt.call_id
                for line in map(json.loads, self._ledger.read_text().splitlines())
            )
            with contextlib.suppress(Conflict):  # the worker that started it may still be at it
                await self._effects.resolve(APPROVER, doubt.run_id, doubt.call_id, "done" if happened else "repeat")


class _Unattended:
    """A dispatcher in another process than the worker: the worker's own scan finds what is due."""

    async def wake(self, tenant: str, run_id: str, *, priority: int = 0) -> None: ...

    async def serve(self, advance: object, *, concurrency: int = 50) -> None: ...

    async def stop(self, grace_s: float) -> None: ...
