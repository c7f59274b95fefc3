"""A process that takes jobs of the queue: it advances runs, shows that it lives, and finds what others left behind."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup
from procrastinate import App
from procrastinate.exceptions import JobAborted
from procrastinate.worker import Worker

from quarterdeck.core.errors import Unavailable
from quarterdeck.store.base import Journal
from quarterdeck.workflow.base import Advance
from quarterdeck.workflow.dispatch_jobs import QUEUE, TASK, Jobs, OnError, Outages, Run

__all__ = ["Serving", "Timing"]

_AGAIN_S = 0.5  # after a beat or a scan that failed
_RENEWED_S = 2.0  # what a pool needs at most to find a database again
_SCANNED = 1000  # runs looked at in one scan
_LONGEST_BACKOFF_S = 30.0
_NEVER_S = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds between signs of life, seconds without one that mean death, seconds between looks for what is due."""

    heartbeat_s: float
    stalled_s: float
    scan_s: float


@dataclass(slots=True)
class _Advance:
    """An advance, for the job that waits for it."""

    ended: anyio.Event = field(default_factory=anyio.Event)
    cut: bool = False


class Serving:
    """One worker.

    The queue's worker takes the jobs; the advances run in a task group of ours, so that they have an owner. Its heartbeat
    is ours as well: its own would end when it is told to stop, and the runs it still works on would be given to others.
    """

    def __init__(
        self,
        app: App,
        jobs: Jobs,
        journal: Journal,
        *,
        timing: Timing,
        wake: Callable[[str, str], Awaitable[None]],
        on_error: OnError | None,
        outages: Outages,
        clock: Callable[[], float],
    ) -> None:
        """`clock` gives monotonic seconds."""
        self._app = app
        self._jobs = jobs
        self._journal = journal
        # Who looks more rarely could not tell being frozen itself from looking as usual, and would bury nobody.
        self._scan_s = min(timing.scan_s, timing.stalled_s / 4)
        self._timing = timing
        self._wake = wake
        self._on_error = on_error
        self._outages = outages
        self._clock = clock
        self._active = 0
        self._failures: dict[Run, int] = {}  # advances that raised in a row
        self._resting: set[Run] = set()  # runs that wait to be tried again
        self._orphans: set[int] = set()
        self._scanned_at = -math.inf
        self._doubtful_until = -math.inf
        self._worker: Worker | None = None
        self._advances: TaskGroup | None = None
        self._enrolling = anyio.CancelScope()
        self._stopping = anyio.Event()
        self._done = anyio.Event()

    @property
    def busy(self) -> int:
        """How many runs are being advanced."""
        return self._active

    async def serve(self, advance: Advance, *, concurrency: int) -> None:
        """Advance what is woken and what the store says is due, at most `concurrency` at once, until `stop`.

        Raises:
            Unavailable: The queue's worker ended by itself.
        """
        self._scanned_at = self._clock()
        try:
            with self._enrolling:
                worker_id = await self._jobs.enrol()
            if self._enrolling.cancelled_caught or self._stopping.is_set():
                return
            self._offer(advance)
            self._worker = Worker(
                self._app,
                queues=[QUEUE],
                concurrency=concurrency,
                delete_jobs="always",
                install_signal_handlers=False,
                fetch_job_polling_interval=self._timing.scan_s,
                abort_job_polling_interval=_NEVER_S,
                update_heartbeat_interval=_NEVER_S,
            )
            try:
                await self._work(self._worker, worker_id)
            finally:
                await self._jobs.retire(worker_id)
        finally:
            self._done.set()

    async def stop(self, grace_s: float) -> None:
        """Take nothing new; give running advances `grace_s` seconds, then cut them: others take their runs at once."""
        self._take_nothing_new()
        with anyio.move_on_after(grace_s):
            await self._done.wait()
            return
        if self._advances is not None:
            self._advances.cancel_scope.cancel()

    def _offer(self, advance: Advance) -> None:
        """Say what a job does: start an advance in our task group, and wait for it."""

        async def job(tenant: str, run_id: str) -> None:
            assert self._advances is not None
            this = _Advance()
            self._advances.start_soon(self._advance, advance, tenant, run_id, this)
            await this.ended.wait()
            if this.cut:
                raise JobAborted  # the job is given on, not ended

        self._app.task(name=TASK, queue=QUEUE)(job)

    async def _work(self, worker: Worker, worker_id: int) -> None:
        async with anyio.create_task_group() as beside:
            beside.start_soon(self._every, self._timing.heartbeat_s, lambda: self._jobs.update_heartbeat(worker_id))
            beside.start_soon(self._every, self._scan_s, lambda: self._scan(worker_id))
            beside.start_soon(self._stop_when_cancelled)
            async with anyio.create_task_group() as advances:
                self._advances = advances
                # It ends when its jobs have, and they end with the advances. Cut short, it would leave them lying.
                with anyio.CancelScope(shield=True):
                    await worker.run()  # type: ignore[no-untyped-call]  # as the package has it
                asked = self._stopping.is_set()
                advances.cancel_scope.cancel()  # those that rest to be tried again
            beside.cancel_scope.cancel()
        if not asked:
            raise Unavailable("the worker of the queue ended by itself: start the process again, and see the log for why")

    async def _stop_when_cancelled(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            self._take_nothing_new()

    def _take_nothing_new(self) -> None:
        self._stopping.set()
        self._enrolling.cancel()
        self._jobs.take_no_more()
        if self._worker is not None:
            self._worker.stop()  # type: ignore[no-untyped-call]  # as the package has it

    async def _advance(self, advance: Advance, tenant: str, run_id: str, this: _Advance) -> None:
        run = (tenant, run_id)
        self._active += 1
        try:
            await advance(tenant, run_id)
            self._failures.pop(run, None)
        except anyio.get_cancelled_exc_class():
            this.cut = True
            raise
        except Exception as error:  # noqa: BLE001 - the worker's edge: the run stays due, the others go on
            self._resting.add(run)
            assert self._advances is not None
            self._advances.start_soon(self._try_again, run)
            if self._on_error is not None:
                await self._on_error(run_id, error)
        finally:
            self._active -= 1
            this.ended.set()

    async def _try_again(self, run: Run) -> None:
        """Wake a run whose advance raised, later each time. A job with a date is no way to do that."""
        failures = self._failures[run] = self._failures.get(run, 0) + 1
        with anyio.move_on_after(min(self._timing.scan_s * 2 ** (failures - 1), _LONGEST_BACKOFF_S)):
            await self._stopping.wait()
        self._resting.discard(run)
        await self._wake(*run)

    async def _every(self, seconds: float, step: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                # Longer, and what it looked at is old when it acts.
                with anyio.fail_after(self._timing.stalled_s / 2):
                    await step()
            except Exception as error:  # noqa: BLE001 - the worker's edge: what is missed now is found the next time
                await self._outages.tell(error)
                await anyio.sleep(min(seconds, _AGAIN_S))
            else:
                await anyio.sleep(seconds)

    async def _scan(self, worker_id: int) -> None:
        """Find what nobody works on: jobs of dead workers, jobs of ours that got lost, due runs without a job."""
        stalled_s = self._timing.stalled_s
        began = self._clock()
        # Whoever could not look for so long was frozen, or the database was away. The heartbeats of all are old then, and
        # the living need a moment to renew them.
        late = began - self._scanned_at > stalled_s / 2
        if not late and began >= self._doubtful_until:
            await self._jobs.bury(stalled_s)
        orphans = await self._jobs.orphans(worker_id)
        lost = orphans & self._orphans  # seen twice: it is not just about to be taken
        if lost:
            await self._jobs.give_up(lost, worker_id)
        self._orphans = orphans
        due = await self._journal.due(_SCANNED, stalled_s=stalled_s)
        wanting = [run for run in due if run not in self._resting]
        if wanting:
            await self._jobs.defer_missing(wanting)
        self._scanned_at = self._clock()
        if late:
            self._doubtful_until = self._scanned_at + stalled_s / 2 + _RENEWED_S
