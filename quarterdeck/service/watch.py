"""Looking at the journal for what other processes did to the runs that are read or advanced in this one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import anyio

from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.core.events import CancelRequested, RetryRequested
from quarterdeck.core.runs import RunStatus
from quarterdeck.service.relay import Relay
from quarterdeck.service.streams import Advanced, Hub, Key
from quarterdeck.store.base import Journal

__all__ = ["Watch"]

log = logging.getLogger(__name__)

_AT_ONCE = 500  # runs of one look


class Watch:
    """One look at the journal for all runs that concern this process, again and again; a relay only makes it rarer.

    Where one process has the journal for itself it need not be served: `interrupt` works without.

    Args:
        interrupt: Makes an advance in this process look at its journal at once.
        alone_s: Seconds between looks without a relay, or while it is not up.
        relayed_s: With one.
    """

    def __init__(
        self,
        journal: Journal,
        hub: Hub,
        interrupt: Callable[[str], None],
        relay: Relay | None = None,
        *,
        alone_s: float = 0.25,
        relayed_s: float = 2.0,
    ) -> None:
        self._journal = journal
        self._hub = hub
        self._interrupt = interrupt
        self._relay = relay
        self._alone_s = alone_s
        self._relayed_s = relayed_s
        self._joined: set[Key] = set()
        self._hurry = anyio.Event()

    def interrupt(self, tenant: str, run_id: str) -> None:
        """Make whichever process advances the run look at its journal, soon."""
        self._interrupted((tenant, run_id))
        if self._relay is not None:
            self._relay.interrupt(tenant, run_id)

    async def serve(self) -> None:
        """Watch until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._look_regularly)
            if self._relay is not None:
                tasks.start_soon(self._look_where_joined)
                await self._relay.serve(interrupted=self._interrupted, joined=self._missed)

    async def look(self, keys: Sequence[Key]) -> None:
        """Tell the readers of these runs how they stand, and interrupt those advanced here that were asked to end."""
        for start in range(0, len(keys), _AT_ONCE):
            try:
                found = await self._journal.heads(keys[start : start + _AT_ONCE])
                for key, (head, status) in found.items():
                    self._hub.stands(key, head, rests=_rests(status))
                    advanced = self._hub.advanced(key)
                    if advanced is not None and advanced.head < head:
                        await self._look_for_cancel(key, advanced)
            except QuarterdeckError as error:
                # Whoever needs the store says so itself; the next look is near.
                log.debug("the journal could not be looked at", extra={"error_type": type(error).__name__})

    async def _look_for_cancel(self, key: Key, advanced: Advanced) -> None:
        asked = False
        head = advanced.head
        async for entry in self._journal.read(*key, head):
            match entry.event:
                case CancelRequested():
                    asked = True
                case RetryRequested():
                    asked = False
            head = entry.seq
        advanced.head = max(advanced.head, head)
        if asked:
            self._interrupted(key)

    def _interrupted(self, key: Key) -> None:
        if self._hub.advanced(key) is not None:
            self._interrupt(key[1])

    def _missed(self, key: Key) -> None:
        self._joined.add(key)
        self._hurry.set()

    async def _look_regularly(self) -> None:
        looked = time.monotonic()
        while True:
            await anyio.sleep(self._alone_s)
            relayed = self._relay is not None and self._relay.up
            if relayed and time.monotonic() - looked < self._relayed_s:
                continue
            looked = time.monotonic()
            await self.look(self._hub.keys())

    async def _look_where_joined(self) -> None:
        while True:
            await self._hurry.wait()
            self._hurry = anyio.Event()
            joined, self._joined = self._joined, set()
            await self.look(list(joined))


def _rests(status: RunStatus) -> bool:
    return status.ended or status in (RunStatus.WAITING, RunStatus.PAUSED)
