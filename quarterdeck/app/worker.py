"""A process that only advances runs: as many of them as wanted may work on one database."""

from __future__ import annotations

import contextlib
import gc
import signal
from collections.abc import AsyncIterator, Callable

import anyio
from anyio import to_thread

from quarterdeck.app.runtime import Runtime, opened
from quarterdeck.app.stores import shared
from quarterdeck.core.errors import Misconfigured
from quarterdeck.settings import Configuration
from quarterdeck.telemetry.metrics import MetricsPage

__all__ = ["work"]


async def work(configuration: Configuration, *, on_ready: Callable[[Runtime, int | None], None]) -> None:
    """Advance runs until SIGTERM or SIGINT. Then running turns end, within `worker.stop_s`, and others take the runs.

    Args:
        on_ready: Told the runtime and the port of its metrics, None without one, once runs are taken.

    Raises:
        Misconfigured: Something in the folder is wrong, or its database is for one process.
    """
    if not shared(configuration):
        raise Misconfigured(
            f"{configuration.folder / 'quarterdeck.yaml'}: store.database_url: workers share a database with servers, and "
            "SQLite is for one process: give a postgresql:// URL, or let `quarterdeck serve` advance the runs"
        )
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with opened(configuration, serving=False) as runtime, _shown(configuration, runtime) as metrics_port:
            gc.collect()
            gc.freeze()  # what was made so far stays until the end: a full collection would walk through all of it
            on_ready(runtime, metrics_port)
            async for _ in signals:
                break


@contextlib.asynccontextmanager
async def _shown(configuration: Configuration, runtime: Runtime) -> AsyncIterator[int | None]:
    """Show the metrics of this process while the block lasts; gives the port. Raises Misconfigured if it is taken."""
    settings = configuration.settings.worker
    if settings.metrics_port is None:
        yield None
        return
    try:
        page = MetricsPage(runtime.standing.metrics, settings.metrics_host, settings.metrics_port)
    except OSError as error:
        raise Misconfigured(f"worker.metrics_port: cannot listen on {settings.metrics_port}: {error.strerror}") from error
    try:
        yield page.port
    finally:
        await to_thread.run_sync(page.close)
