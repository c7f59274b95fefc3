"""The embedded dispatcher: one process wakes its own runs, and the store says what it has missed."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import TaskGroup

from quarterdeck.core.errors import StoreUnavailable
from quarterdeck.store.base import Journal
from quarterdeck.workflow.base import Advance
from quarterdeck.workflow.queue import Place, WaitingRuns

__all__ = ["LocalDispatcher"]

_SCAN_S = 0.5  # how often the store is asked what is due: the resolution of timers
_LONGEST_BACKOFF_S = 30.0
_LATELY_S = 5.0  # for a tenant that woke no run for so long no place is kept
_KEPT = 4  # of so many places one
_ANY_RUNNING = 1e-9  # at the start every running run has lost its worker: there is only this process


class LocalDispatcher:
    """One task per run that is being advanced, none for those that wait.

    A wake-up for a run that is being advanced is remembered and advances it once more: it may bring news that the running
    advance has already looked past. Where more runs want to be advanced than may be at once, those of a smaller priority go
    first, and among equals tenants take turns: one that wakes many runs does not keep those of another waiting. While
    several tenants had runs lately, a quarter of the places is kept from those that have their fair part of them already.
    Of the runs of one tenant and priority the newest go first once the oldest has waited for longer than `longest_wait_s`.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        scan_s: float = _SCAN_S,
        longest_wait_s: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
        on_error: Callable[[str, Exception], Awaitable[None]] | None = None,
    ) -> None:
        """`on_error` hears of advances that raised (run id, error); the run stays due and is tried again."""
        self._journal = journal
        self._scan_s = scan_s
        self._longest_wait_s = longest_wait_s
        self._clock = clock
        self._on_error = on_error
        self._active: dict[tuple[str, str], bool] = {}  # run -> woken again meanwhile
        self._failures: dict[tuple[str, str], int] = {}  # run -> advances that raised in a row
        self._queues: dict[str, WaitingRuns] = {}  # by tenant
        self._queued: set[tuple[str, str]] = set()
        self._seen: dict[str, float] = {}  # tenant -> when it last woke a run
        self._running: Counter[str] = Counter()  # tenant -> its runs that are being advanced
        self._order = 0
        self._round = 0  # of the run that was started last; in each, every tenant has one
        self._rounds: dict[str, int] = {}  # tenant -> that of its run which was queued last
        self._news = anyio.Event()
        self._stopping = False
        self._stop = anyio.Event()
        self._done = anyio.Event()
        self._tasks: TaskGroup | None = None

    async def wake(self, tenant: str, run_id: str, *, priority: int = 0) -> None:
        """Ask for an advance. A smaller `priority` goes first where more runs want one than may run at once."""
        run = (tenant, run_id)
        if run in self._active:
            self._active[run] = True
        elif run not in self._queued:
            self._order += 1
            self._queued.add(run)
            self._seen[tenant] = self._clock()
            self._rounds[tenant] = max(self._round, self._rounds.get(tenant, 0)) + 1
            place = Place(priority, self._rounds[tenant], self._order)
            self._queues.setdefault(tenant, WaitingRuns()).push(place, run_id, self._seen[tenant])
            self._news.set()

    @property
    def busy(self) -> int:
        """How many runs are being advanced."""
        return len(self._active)

    async def serve(self, advance: Advance, *, concurrency: int = 50) -> None:
        """Advance what is woken and what the store says is due, at most `concurrency` at once, until `stop`."""
        orphans = await self._journal.due(limit=100_000, stalled_s=_ANY_RUNNING)
        for tenant, run_id in orphans:
            await self.wake(tenant, run_id)
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            scan_at = anyio.current_time() + self._scan_s
            while not self._stopping:
                self._start_queued(tasks, advance, concurrency)
                with anyio.CancelScope(deadline=scan_at):
                    await self._news.wait()
                self._news = anyio.Event()
                if anyio.current_time() >= scan_at:  # however much news there is: timers wait for no silence
                    await self._scan()
                    scan_at = anyio.current_time() + self._scan_s
        self._done.set()

    async def stop(self, grace_s: float) -> None:
        """Take nothing new; give running advances `grace_s` seconds, then cut them: their runs stay due in the store."""
        self._stopping = True
        self._stop.set()
        self._news.set()
        with anyio.move_on_after(grace_s):
            await self._done.wait()
            return
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()

    def _start_queued(self, tasks: TaskGroup, advance: Advance, concurrency: int) -> None:
        while (tenant := self._next(concurrency)) is not None:
            place, run_id = self._queues[tenant].pop(self._longest_wait_s, self._clock())
            self._queued.discard((tenant, run_id))
            self._round = max(self._round, place.round)
            if not self._queues[tenant]:
                del self._queues[tenant]
            if not self._queues:
                self._rounds.clear()
            self._active[tenant, run_id] = False
            self._running[tenant] += 1
            tasks.start_soon(self._advance, tasks, advance, tenant, run_id)

    def _next(self, concurrency: int) -> str | None:
        """The tenant whose run is to be started; None if there is none, or no place for it."""
        left = concurrency - len(self._active)
        if not self._queues or left <= 0:
            return None
        since = self._clock() - _LATELY_S
        self._seen = {tenant: at for tenant, at in self._seen.items() if at >= since or tenant in self._queues}
        tenants = len(self._seen.keys() | self._running.keys())
        kept = concurrency // _KEPT if tenants > 1 else 0
        fair = concurrency / tenants
        able = [tenant for tenant in self._queues if left > kept or self._running[tenant] < fair]
        return min(able, key=lambda tenant: self._queues[tenant].first, default=None)

    async def _advance(self, tasks: TaskGroup, advance: Advance, tenant: str, run_id: str) -> None:
        run = (tenant, run_id)
        try:
            while True:
                self._active[run] = False
                await advance(tenant, run_id)
                self._failures.pop(run, None)
                if not self._active[run] or self._stopping:
                    break
        except Exception as error:  # noqa: BLE001 - the worker's edge: the run stays due, the others go on
            if self._on_error is not None:
                await self._on_error(run_id, error)
            tasks.start_soon(self._try_again, tenant, run_id)
        finally:
            del self._active[run]
            self._running[tenant] -= 1
            if not self._running[tenant]:
                del self._running[tenant]
            self._news.set()

    async def _try_again(self, tenant: str, run_id: str) -> None:
        """Wake a run whose advance raised, later each time: the store still calls it running, so no scan would find it."""
        failures = self._failures[tenant, run_id] = self._failures.get((tenant, run_id), 0) + 1
        with anyio.move_on_after(min(self._scan_s * 2 ** (failures - 1), _LONGEST_BACKOFF_S)):
            await self._stop.wait()
            return
        await self.wake(tenant, run_id)

    async def _scan(self) -> None:
        try:
            for tenant, run_id in await self._journal.due():
                await self.wake(tenant, run_id)
        except StoreUnavailable as error:
            if self._on_error is not None:
                await self._on_error("", error)
