"""What a campaign runs on: a database, and how the product's store and dispatcher are opened on it.

`sqlite:FOLDER` has one worker process. `postgresql://...` may have several; they find each other's orphans by heartbeat.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from quarterdeck.store.base import Journal
from quarterdeck.store.sqlite_store import open_sqlite
from quarterdeck.workflow.base import Dispatcher
from quarterdeck.workflow.dispatch import LocalDispatcher

__all__ = ["HEARTBEAT_S", "STALLED_S", "dispatcher", "store"]

HEARTBEAT_S = 0.5
STALLED_S = 2.0  # so long a worker of Postgres may be silent; small, or a campaign would mostly wait


@contextlib.asynccontextmanager
async def store(where: str) -> AsyncIterator[Any]:
    """The product's store at an address, with `journal` and `records`."""
    if where.startswith("postgresql://"):
        from quarterdeck.store.postgres_store import open_postgres

        opened: Any = await open_postgres(where, wait_s=5.0)
    else:
        opened = open_sqlite(Path(where.removeprefix("sqlite:")))
    try:
        yield opened
    finally:
        await opened.close()


@contextlib.asynccontextmanager
async def dispatcher(where: str, journal: Journal) -> AsyncIterator[Dispatcher]:
    """The dispatcher that belongs to it."""
    if where.startswith("postgresql://"):
        from quarterdeck.workflow.dispatch_procrastinate import ProcrastinateDispatcher

        async with ProcrastinateDispatcher.opened(
            where, journal, heartbeat_s=HEARTBEAT_S, stalled_s=STALLED_S
        ) as between_processes:
            yield between_processes
    else:
        yield LocalDispatcher(journal, scan_s=0.02)
