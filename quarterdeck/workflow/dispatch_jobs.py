"""The queue's table as one process uses it: nothing it does ends a worker, and what a dead worker held is given on."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import psycopg
from procrastinate import PsycopgConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager, NotificationCallback, get_channel_for_queues
from psycopg_pool import AsyncConnectionPool

from quarterdeck.core.errors import StoreUnavailable

__all__ = ["QUEUE", "TASK", "Jobs", "OnError", "Outages", "Pool", "Run", "WorkerSeen"]

QUEUE = "runs"
TASK = "advance"

Pool = AsyncConnectionPool[psycopg.AsyncConnection[tuple[Any, ...]]]
Run = tuple[str, str]  # (tenant, run id)
OnError = Callable[[str, Exception], Awaitable[None]]  # (run id or "", error)

_PATIENCE_S = 5.0  # for one statement: a database that is frozen keeps its connections and answers nothing
_AGAIN_S = 0.5  # between two attempts to reach a database that is away
_QUIET_S = 30.0  # between two reports of outages
_AWAY = (ConnectorException, psycopg.Error, TimeoutError, OSError)  # what the database's absence looks like
_LOWEST, _HIGHEST = -(2**31), 2**31 - 1

# A job may end only by the worker that holds it: one that was given on belongs to another, whatever this one thinks. The
# next job of the run could not start before; nobody but us would say that it can now.
_END = """WITH ended AS (
  DELETE FROM procrastinate_jobs WHERE id = %(id)s AND status = 'doing' AND worker_id = %(worker)s RETURNING lock)
SELECT pg_notify(%(channel)s, %(notice)s) FROM procrastinate_jobs j JOIN ended USING (lock)
WHERE j.status = 'todo' LIMIT 1"""
_GIVE_UP = """DELETE FROM procrastinate_jobs WHERE id = ANY(%(ids)s) AND status = 'doing' AND worker_id = %(worker)s
RETURNING lock, args, priority"""
_BURY = """WITH dead AS (
  DELETE FROM procrastinate_workers WHERE last_heartbeat < now() - make_interval(secs => %(stalled_s)s) RETURNING id)
DELETE FROM procrastinate_jobs WHERE status = 'doing' AND queue_name = %(queue)s
  AND (worker_id IS NULL OR worker_id IN (SELECT id FROM dead)) RETURNING lock, args, priority"""
# All who scan find the same runs at about the same time. Whoever comes second waits for the first, and adds nothing.
# As NOT EXISTS, the planner would compare each run with each job: 290 ms for 1,000 of them among 10,000, not 10 ms.
_ADD_MISSING = """INSERT INTO procrastinate_jobs (queue_name, task_name, lock, queueing_lock, args)
SELECT %(queue)s, %(task)s, due.lock, due.lock, jsonb_build_object('tenant', due.tenant, 'run_id', due.run_id)
FROM unnest(%(locks)s::text[], %(tenants)s::text[], %(runs)s::text[]) WITH ORDINALITY AS due (lock, tenant, run_id, place)
WHERE due.lock NOT IN (
  SELECT j.lock FROM procrastinate_jobs j WHERE j.lock = ANY(%(locks)s) AND j.status IN ('todo', 'doing'))
ORDER BY due.place ON CONFLICT (queueing_lock) WHERE status = 'todo' DO NOTHING"""
_HELD = "SELECT id FROM procrastinate_jobs WHERE worker_id = %s AND status = 'doing'"
# A worker that was taken for dead and is not has no row any more, and could take no job for want of one.
_BEAT = """INSERT INTO procrastinate_workers (id, last_heartbeat) OVERRIDING SYSTEM VALUE VALUES (%s, now())
ON CONFLICT (id) DO UPDATE SET last_heartbeat = now()"""
_WORKERS = "SELECT id, extract(epoch FROM now() - last_heartbeat)::float8 FROM procrastinate_workers ORDER BY id"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSeen:
    """A worker that serves the queue, or did when it was last heard of.

    Attributes:
        age_s: Seconds since its heartbeat, by the database's clock.
        alive: False once its runs may be given to others.
    """

    id: int
    age_s: float
    alive: bool


class Outages:
    """Reports that the database does not answer: the first time, and then once in a while."""

    def __init__(self, on_error: OnError | None, clock: Callable[[], float]) -> None:
        self._on_error = on_error
        self._clock = clock
        self._quiet_until = -math.inf

    async def tell(self, error: Exception) -> None:
        """Report an error that has to do with the database, within bounds; and any other always."""
        if self._on_error is None:
            return
        if not isinstance(error, (*_AWAY, StoreUnavailable)):
            await self._on_error("", error)
        elif self._clock() >= self._quiet_until:
            self._quiet_until = self._clock() + _QUIET_S
            cause = error.__cause__ or error
            said = StoreUnavailable(f"the queue cannot be used now ({type(cause).__name__}); runs are found when it can")
            said.__cause__ = cause
            await self._on_error("", said)


class Jobs(JobManager):
    """Jobs of the queue, one for each wake-up of a run.

    The worker of Procrastinate ends when the database does not answer one of its questions. Here an outage is an answer:
    there is no job now. What it left behind (a job marked as taken whose taker never heard of it) is found by `orphans`.
    """

    def __init__(self, connector: PsycopgConnector, pool: Pool, outages: Outages) -> None:
        super().__init__(connector)
        self._pool = pool
        self._outages = outages
        self._held: set[int] = set()
        self._worker_id: int | None = None
        self._taking = True

    async def enrol(self) -> int:
        """Become a worker, as soon as the database answers. Returns its id."""
        while True:
            try:
                with anyio.fail_after(_PATIENCE_S):
                    self._worker_id = await super().register_worker()
                    return self._worker_id
            except _AWAY as error:
                await self._outage(error)

    async def retire(self, worker_id: int) -> None:
        """Be a worker no more, if the database answers; otherwise it is missed in time."""
        try:
            with anyio.fail_after(_PATIENCE_S, shield=True):
                await super().unregister_worker(worker_id)
        except _AWAY as error:
            await self._outages.tell(error)

    def take_no_more(self) -> None:
        """Let others have what is asked for at this moment, too."""
        self._taking = False

    async def defer(self, runs: Mapping[Run, int]) -> None:
        """Add a job for each run; its value is a priority, the smaller first."""
        await self.batch_defer_jobs_async([_job(run, -priority) for run, priority in runs.items()])

    async def defer_missing(self, runs: Sequence[Run]) -> int:
        """Add a job for each run that has none, neither waiting nor taken, in this order. Returns how many."""
        values = {
            "queue": QUEUE,
            "task": TASK,
            "locks": [_lock(run) for run in runs],
            "tenants": [tenant for tenant, _ in runs],
            "runs": [run_id for _, run_id in runs],
        }
        async with self._pool.connection() as connection:
            return (await connection.execute(_ADD_MISSING, values)).rowcount

    async def bury(self, stalled_s: float) -> int:
        """Forget workers without a heartbeat for `stalled_s`, and give their jobs on. Returns how many jobs."""
        return await self._give_on(_BURY, {"stalled_s": stalled_s, "queue": QUEUE})

    async def orphans(self, worker_id: int) -> set[int]:
        """Jobs this worker has taken, says the table, and nobody works on. One that is being taken now is among them."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_HELD, (worker_id,))
            return {job_id for (job_id,) in await cursor.fetchall()} - self._held

    async def give_up(self, ids: Iterable[int], worker_id: int) -> int:
        """Give jobs this worker holds to whoever takes them first. Returns how many it did hold."""
        return await self._give_on(_GIVE_UP, {"ids": list(ids), "worker": worker_id})

    async def workers(self, stalled_s: float) -> Sequence[WorkerSeen]:
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_WORKERS)).fetchall()
        return tuple(WorkerSeen(id=worker, age_s=age_s, alive=age_s < stalled_s) for worker, age_s in rows)

    async def _give_on(self, delete: str, values: Mapping[str, Any]) -> int:
        """Replace jobs by new ones in one transaction: to put one back would wake nobody, only what is inserted does."""
        async with self._pool.connection() as connection, connection.transaction():
            rows = await (await connection.execute(delete.encode(), values)).fetchall()
            if rows:
                jobs = [_again(lock, kwargs, priority) for lock, kwargs, priority in rows]
                await self.batch_defer_jobs_async(jobs, connection=connection)
        return len(rows)

    # What the worker of Procrastinate calls.

    async def register_worker(self) -> int:
        """The id `enrol` got."""
        assert self._worker_id is not None
        return self._worker_id

    async def prune_stalled_workers(self, seconds_since_heartbeat: float) -> list[int]:
        """Leave them to `bury`, which knows when heartbeats can be trusted."""
        return []

    async def update_heartbeat(self, worker_id: int) -> None:
        with anyio.fail_after(_PATIENCE_S):
            async with self._pool.connection() as connection:
                await connection.execute(_BEAT, (worker_id,))

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        try:
            with anyio.fail_after(_PATIENCE_S):
                job = await super().fetch_job(queues, worker_id) if self._taking else None
                if job is not None and job.id is not None and not self._taking:
                    await self.give_up([job.id], worker_id)
                    return None
        except _AWAY as error:
            await self._outage(error)
            return None
        if job is not None and job.id is not None:
            self._held.add(job.id)
        return job

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
        """End a job, or give it on if its advance was cut."""
        assert job.id is not None
        assert job.worker_id is not None
        try:
            with anyio.fail_after(_PATIENCE_S):
                if status is Status.ABORTED:
                    await self.give_up([job.id], job.worker_id)
                else:
                    await self._end(job.id, job.worker_id)
        except _AWAY as error:
            await self._outage(error)
        finally:
            self._held.discard(job.id)

    async def listen_for_jobs(self, *, on_notification: NotificationCallback, queues: Iterable[str] | None = None) -> None:
        while True:
            try:
                await super().listen_for_jobs(on_notification=on_notification, queues=queues)
            except _AWAY as error:
                await self._outage(error)

    async def unregister_worker(self, worker_id: int) -> None:
        """Leave it to `retire`: a heartbeat under way would bring the row back."""

    async def _end(self, id: int, worker_id: int) -> None:
        (channel,) = get_channel_for_queues([QUEUE])
        notice = json.dumps({"type": "job_inserted", "job_id": id})
        async with self._pool.connection() as connection:
            await connection.execute(_END, {"id": id, "worker": worker_id, "channel": channel, "notice": notice})

    async def _outage(self, error: Exception) -> None:
        await self._outages.tell(error)
        await anyio.sleep(_AGAIN_S)


def _lock(run: Run) -> str:
    return "/".join(run)  # an id holds no slash; two tenants may have given their runs the same one


def _job(run: Run, priority: int) -> Job:
    tenant, run_id = run
    return _again(_lock(run), {"tenant": tenant, "run_id": run_id}, min(max(priority, _LOWEST), _HIGHEST))


def _again(lock: str, kwargs: dict[str, Any], priority: int) -> Job:
    return Job(queue=QUEUE, task_name=TASK, lock=lock, queueing_lock=None, priority=priority, task_kwargs=kwargs)
