"""The embedded dispatcher: one process wakes its own runs, and the store says what it has missed."""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import TaskGroup

from quarterdeck.core.errors import StoreUnavailable
from quarterdeck.store.base import Journal
from quarterdeck.workflow.base import Advance

__all__ = ["LocalDispatcher"]

_SCAN_S = 0.5  # how often the store is asked what is due: the resolution of timers
_LONGEST_BACKOFF_S = 30.0
_ANY_RUNNING = 1e-9  # at the start every running run has lost its worker: there is only this process


class LocalDispatcher:
    """One task per run that is being advanced, none for those that wait.

    A wake-up for a run that is being advanced is remembered and advances it once more: it may bring news that the running
    advance has already looked past. Where more runs want to be advanced than may be at once, those of a smaller priority go
    first, and among equals tenants take turns: one that wakes many runs does not keep those of another waiting.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        scan_s: float = _SCAN_S,
        on_error: Callable[[str, Exception], Awaitable[None]] | None = None,
    ) -> None:
        """`on_error` hears of advances that raised (run id, error); the run stays due and is tried again."""
        self._journal = journal
        self._scan_s = scan_s
        self._on_error = on_error
        self._active: dict[tuple[str, str], bool] = {}  # run -> woken again meanwhile
        self._failures: dict[tuple[str, str], int] = {}  # run -> advances that raised in a row
        self._queue: list[tuple[int, int, int, str, str]] = []  # a heap: priority, round, order of arrival, run
        self._queued: set[tuple[str, str]] = set()
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
            self._rounds[tenant] = max(self._round, self._rounds.get(tenant, 0)) + 1
            heapq.heappush(self._queue, (priority, self._rounds[tenant], self._order, tenant, run_id))
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
            while not self._stopping:
                self._start_queued(tasks, advance, concurrency)
                with anyio.move_on_after(self._scan_s) as scan:
                    await self._news.wait()
                self._news = anyio.Event()
                if scan.cancelled_caught:
                    await self._scan()
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
        while self._queue and len(self._active) < concurrency:
            _, turn, _, tenant, run_id = heapq.heappop(self._queue)
            self._queued.discard((tenant, run_id))
            self._round = max(self._round, turn)
            if not self._queue:
                self._rounds.clear()
            self._active[tenant, run_id] = False
            tasks.start_soon(self._advance, tasks, advance, tenant, run_id)

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
