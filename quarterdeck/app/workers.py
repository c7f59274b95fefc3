"""Who advances runs: the dispatcher that belongs to the store, and the work that goes on while a process lives."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio

from quarterdeck.agent.loop import Loop
from quarterdeck.app.implementations import BUSES, DISPATCHERS, resolve
from quarterdeck.app.stores import Store, database, shared
from quarterdeck.core.errors import Unavailable
from quarterdeck.service.budgets import Budgets
from quarterdeck.service.relay import Relay
from quarterdeck.service.streams import Hub
from quarterdeck.settings import Configuration
from quarterdeck.telemetry.metrics import Metrics
from quarterdeck.workflow.base import Advance, Dispatcher
from quarterdeck.workflow.dispatch import LocalDispatcher

__all__ = ["Dispatching", "dispatching", "relaying", "working"]

log = logging.getLogger(__name__)

Task = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatching:
    """The dispatcher of a store, open.

    Attributes:
        alive: Raises Unavailable if no process lives that advances runs; None where this process does.
    """

    dispatcher: Dispatcher
    alive: Task | None = None


@contextlib.asynccontextmanager
async def dispatching(configuration: Configuration, store: Store) -> AsyncIterator[Dispatching]:
    """The dispatcher of a store while the block lasts: within this process, or between all that share the database."""
    if not shared(configuration):
        yield Dispatching(
            dispatcher=LocalDispatcher(
                store.journal,
                longest_wait_s=configuration.settings.limits.load.newest_first_s or math.inf,
                on_error=_log_failure,
            )
        )
        return
    worker = configuration.settings.worker
    url = database(configuration)
    kind = resolve(DISPATCHERS, url.partition("://")[0], "dispatcher")
    async with kind.opened(
        url, store.journal, heartbeat_s=worker.heartbeat_s, stalled_s=worker.stalled_s, on_error=_log_failure
    ) as dispatcher:

        async def alive() -> None:
            seen = await dispatcher.workers()
            if not any(worker.alive for worker in seen):
                raise Unavailable("no worker lives; runs are accepted and wait")

        yield Dispatching(dispatcher=dispatcher, alive=alive)


@contextlib.asynccontextmanager
async def relaying(configuration: Configuration, hub: Hub, metrics: Metrics) -> AsyncIterator[Relay | None]:
    """What carries live signals between processes while the block lasts; None for one process, or without a Redis.

    Args:
        metrics: Show how often that Redis did not answer.

    Raises Misconfigured if the URL is none, or the client of Redis is not installed.
    """
    given = configuration.settings.store.redis_url
    if given is None or not shared(configuration):
        yield None
        return
    url = given.get_secret_value()
    scheme, separator, _ = url.partition("://")  # what follows may hold a password
    bus = resolve(BUSES, scheme if separator else "", "place for live signals")(url)
    metrics.watch_redis("streams", bus)
    try:
        yield Relay(hub, bus)
    finally:
        await bus.close()


@contextlib.asynccontextmanager
async def working(
    loop: Loop,
    dispatcher: Dispatcher,
    advance: Advance | None,
    *,
    concurrency: int,
    grace_s: float,
    budgets: Budgets,
    beside: Sequence[Task] = (),
) -> AsyncIterator[None]:
    """Advance runs and do what goes on beside while the block lasts. An error comes out as it is, in no group.

    Args:
        advance: None in a process that advances nothing.
        grace_s: Seconds running turns get at the end; then they are cut and stay checkpointed.
        beside: Run until they are cancelled.
    """
    failure: Exception | None = None
    try:
        async with anyio.create_task_group() as group, anyio.create_task_group() as others:
            group.start_soon(budgets.serve)
            for task in beside:
                others.start_soon(task)
            if advance is not None:
                group.start_soon(partial(dispatcher.serve, advance, concurrency=concurrency))
            try:
                yield
            except Exception as error:  # noqa: BLE001 - raised again below, outside the group
                failure = error
            if advance is not None:
                loop.drain()
                await dispatcher.stop(grace_s)
            loop.let_go()
            budgets.stop()
            others.cancel_scope.cancel()
    except BaseExceptionGroup as errors:
        if len(errors.exceptions) == 1:
            raise errors.exceptions[0] from None
        raise
    if failure is not None:
        raise failure


async def _log_failure(run_id: str, error: Exception) -> None:
    log.error("a run could not be advanced; it stays due", extra={"run_id": run_id}, exc_info=error)
