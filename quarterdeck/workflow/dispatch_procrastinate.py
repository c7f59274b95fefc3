"""The dispatcher between processes: wake-ups are jobs of Procrastinate in the database that holds the runs.

Every job is for now, never for later: a job with a date would hold back those of the same run that come after it. Timers
are the store's, and whatever gets lost on the way is found there.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, LiteralString

import anyio
import psycopg
from procrastinate import App, PsycopgConnector
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from quarterdeck.core.errors import Misconfigured, StoreUnavailable
from quarterdeck.store.base import Journal
from quarterdeck.store.postgres import KEEP_SCHEMA
from quarterdeck.workflow.base import Advance
from quarterdeck.workflow.dispatch_jobs import Jobs, OnError, Outages, Pool, WorkerSeen
from quarterdeck.workflow.dispatch_schema import apply_schema
from quarterdeck.workflow.dispatch_serving import Serving, Timing
from quarterdeck.workflow.dispatch_wakes import Wakes

__all__ = ["OnError", "ProcrastinateDispatcher", "WorkerSeen"]

_START_S = 10  # to reach the database at the start
_ANSWER_S = 0.8  # for what somebody waits for
_CONNECTION_S = 5.0  # to get a connection of the pool
# A host that is gone says nothing, not even that it is.
_CONNECT: Mapping[str, int] = {
    "connect_timeout": 2,  # seconds, the least there is
    "tcp_user_timeout": 10_000,  # milliseconds until what was sent must be acknowledged
    "keepalives_idle": 5,  # seconds of silence before the listening connection is tried
    "keepalives_interval": 2,
}
# Every statement here looks up a few rows by an index, and what is known of a table that was empty a moment ago leads the
# planner to sort all of it instead: with 10,000 jobs waiting, a fetch takes 0.6 ms in this order, 12 ms in that.
_SETTINGS: Sequence[LiteralString] = (
    KEEP_SCHEMA,
    "SET ROLE quarterdeck_dispatch",  # it needs no right to what is a tenant's
    "SET statement_timeout = '5s'",
    "SET jit = off",
    "SET enable_sort = off",
    "SET enable_seqscan = off",
    "SET enable_bitmapscan = off",
    "SET enable_hashjoin = off",
    "SET enable_mergejoin = off",
)
_RECONNECT_S = 2.0  # after that the pool tries anew whenever it is asked, so that it finds the end of an outage soon


class ProcrastinateDispatcher:
    """Wakes runs in any process that serves, by way of Postgres."""

    def __init__(self, jobs: Jobs, wakes: Wakes, serving: Serving, *, stalled_s: float) -> None:
        """Made by `opened`."""
        self._jobs = jobs
        self._wakes = wakes
        self._serving = serving
        self._stalled_s = stalled_s

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(
        cls,
        url: str,
        journal: Journal,
        *,
        heartbeat_s: float = 2.0,
        stalled_s: float = 10.0,
        scan_s: float = 1.0,
        max_connections: int = 4,
        on_error: OnError | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> AsyncIterator[ProcrastinateDispatcher]:
        """A dispatcher that can `wake` while the block lasts; within it, `serve` for a process that advances runs too.

        Args:
            url: Of the journal's database, whose own tables are there. Serving opens one more connection than the pool has:
                it listens, so it must not go through a pooler that lends connections for one transaction.
            heartbeat_s: Seconds between two signs of life.
            stalled_s: Seconds without one after which a worker's runs are given to others.
            scan_s: Seconds between two looks for lost wake-ups and for runs whose time has come: the resolution of timers.
            on_error: Hears of advances that raised (run id, error), and once in a while of an outage ("", error).
            clock: Gives monotonic seconds.

        Raises:
            StoreUnavailable: The database cannot be reached.
            SchemaMismatch: It has a queue of another program.
            Misconfigured: The login may not bring the queue's tables up to date, and they are not.
        """
        connector, outages = PsycopgConnector(), Outages(on_error, clock)
        async with _connected(url, max_connections) as pool:
            app = App(connector=connector)
            app.job_manager = jobs = Jobs(connector, pool, outages)
            await app.open_async(pool)
            wakes = Wakes(jobs, outages)
            timing = Timing(heartbeat_s=heartbeat_s, stalled_s=stalled_s, scan_s=scan_s)
            serving = Serving(
                app, jobs, journal, timing=timing, wake=wakes.note, on_error=on_error, outages=outages, clock=clock
            )
            async with wakes.sent():
                yield cls(jobs, wakes, serving, stalled_s=stalled_s)

    async def wake(self, tenant: str, run_id: str, *, priority: int = 0) -> None:
        """Ask for an advance. A smaller `priority` goes first where more runs want one than may run at once."""
        await self._wakes.note(tenant, run_id, priority=priority)

    @property
    def busy(self) -> int:
        """How many runs this process is advancing."""
        return self._serving.busy

    async def workers(self) -> Sequence[WorkerSeen]:
        """Those that serve the queue, and those that died and were not missed yet. Answers within a second.

        Raises:
            StoreUnavailable: The database does not answer.
        """
        try:
            with anyio.fail_after(_ANSWER_S):
                return await self._jobs.workers(self._stalled_s)
        except (psycopg.Error, TimeoutError, OSError) as error:
            raise StoreUnavailable("the queue's database does not answer") from error

    async def serve(self, advance: Advance, *, concurrency: int = 50) -> None:
        """Advance what is woken and what the store says is due, at most `concurrency` at once, until `stop`.

        Raises:
            Unavailable: The queue's worker ended by itself. An outage of the database is no reason for that.
        """
        await self._serving.serve(advance, concurrency=concurrency)

    async def stop(self, grace_s: float) -> None:
        """Take nothing new; give running advances `grace_s` seconds, then cut them: others take their runs at once."""
        await self._serving.stop(grace_s)


@contextlib.asynccontextmanager
async def _connected(url: str, max_connections: int) -> AsyncIterator[Pool]:
    """A pool of connections to a database that has the queue's tables."""
    given = conninfo_to_dict(url)
    target = make_conninfo(url, **{name: value for name, value in _CONNECT.items() if name not in given})
    pool: Pool = Pool(
        target,
        min_size=1,
        max_size=max_connections,
        open=False,
        configure=_configure,
        timeout=_CONNECTION_S,
        reconnect_timeout=_RECONNECT_S,
        name="dispatcher",
    )
    try:
        await _reach(target, pool)
        yield pool
    finally:
        with anyio.CancelScope(shield=True):
            await pool.close()


async def _reach(target: str, pool: Pool) -> None:
    try:
        async with await psycopg.AsyncConnection.connect(target, autocommit=True) as connection:
            await apply_schema(connection)
        await pool.open(wait=True, timeout=_START_S)
    except psycopg.errors.InsufficientPrivilege as error:
        raise Misconfigured(
            "the database login may not bring the queue's tables up to date: start once with the login that owns the schema"
        ) from error
    except psycopg.OperationalError as error:
        raise StoreUnavailable("the queue's database does not answer") from error


async def _configure(connection: psycopg.AsyncConnection[tuple[Any, ...]]) -> None:
    # As a keyword of the pool this would reach the listening connection a second time, and end it.
    await connection.set_autocommit(True)
    for setting in _SETTINGS:
        await connection.execute(setting)
