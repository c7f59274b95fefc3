"""Wake-ups on their way to the queue: noted at once, sent together."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator

import anyio

from quarterdeck.workflow.dispatch_jobs import Jobs, Outages, Run

__all__ = ["Wakes"]

_SEND_S = 0.8  # what one sending may take, and the last one at the end of a process
_TOGETHER = 500  # sent in one statement, about 80 ms
_KEPT = 10_000  # that are not sent yet; what is beyond is left to the scan


class Wakes:
    """What this process wants to be advanced.

    To note a run down costs a request nothing, and a database that is away fails none: what cannot be sent is dropped, and
    found by the scan of a process that serves.
    """

    def __init__(self, jobs: Jobs, outages: Outages) -> None:
        self._jobs = jobs
        self._outages = outages
        self._unsent: dict[Run, int] = {}  # with its priority
        self._news = anyio.Event()
        self._closing = False
        self._closed = anyio.Event()

    async def note(self, tenant: str, run_id: str, *, priority: int = 0) -> None:
        """Send a wake-up soon, at the smallest priority it is asked for until then."""
        run = (tenant, run_id)
        if run in self._unsent or len(self._unsent) < _KEPT:
            self._unsent[run] = min(priority, self._unsent.get(run, priority))
        self._news.set()

    @contextlib.asynccontextmanager
    async def sent(self) -> AsyncIterator[None]:
        """Send while the block lasts, and what is left at its end. An error comes out as it is, in no group."""
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._send)
            try:
                yield
            except Exception as error:  # noqa: BLE001 - raised again below, outside the group
                failure = error
            self._closing = True
            self._news.set()
            with anyio.move_on_after(_SEND_S):
                await self._closed.wait()
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _send(self) -> None:
        while self._unsent or not self._closing:
            if not self._unsent:
                await self._news.wait()
                self._news = anyio.Event()
                continue
            runs = dict(itertools.islice(self._unsent.items(), _TOGETHER))
            for run in runs:
                del self._unsent[run]
            try:
                with anyio.fail_after(_SEND_S):
                    await self._jobs.defer(runs)
            except Exception as error:  # noqa: BLE001 - a wake-up is a hint: whatever becomes of it, the others go on
                await self._outages.tell(error)
        self._closed.set()
