"""A process that only advances runs: as many of them as wanted may work on one database."""

from __future__ import annotations

import signal
from collections.abc import Callable

import anyio

from quarterdeck.app.runtime import Runtime, opened
from quarterdeck.app.stores import shared
from quarterdeck.core.errors import Misconfigured
from quarterdeck.settings import Configuration

__all__ = ["work"]


async def work(configuration: Configuration, *, on_ready: Callable[[Runtime], None]) -> None:
    """Advance runs until SIGTERM or SIGINT. Then running turns end, within `worker.stop_s`, and others take the runs.

    Raises:
        Misconfigured: Something in the folder is wrong, or its database is for one process.
    """
    if not shared(configuration):
        raise Misconfigured(
            f"{configuration.folder / 'quarterdeck.yaml'}: store.database_url: workers share a database with servers, and "
            "SQLite is for one process: give a postgresql:// URL, or let `quarterdeck serve` advance the runs"
        )
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with opened(configuration, serving=False) as runtime:
            on_ready(runtime)
            async for _ in signals:
                break
