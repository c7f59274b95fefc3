"""What 10,000 runs that wait for a person hold: disk, tasks, threads."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from pathlib import Path

from bench.host import host
from bench.measure import Measure, absolute
from bench.reference.scripted import Scripted
from quarterdeck import tool
from quarterdeck.core.runs import RunStatus
from quarterdeck.store.sqlite_store import DATABASE_NAME, open_sqlite

RUNS = 10_000
TOGETHER = 100
BUDGET_MB = 10.0


@tool(effect="write", needs_approval=True, idempotent=True)
async def order(number: int, reason: str) -> str:
    """Order a part by its number."""
    raise AssertionError("nothing is ordered without approval")


async def measure() -> list[Measure]:
    with tempfile.TemporaryDirectory() as folder:
        store = open_sqlite(folder)
        ours = await host(store, Scripted(tool_turns=1), [order], instructions="You order parts.")
        first = await ours.ask("Order the first part.")
        assert await ours.status(first) is RunStatus.WAITING
        await store.close()
        empty_mb = _megabytes(folder)

        store = open_sqlite(folder)
        ours = await host(store, Scripted(tool_turns=1), [order], instructions="You order parts.")
        tasks, threads = len(asyncio.all_tasks()), threading.active_count()
        for _ in range(RUNS // TOGETHER):
            await asyncio.gather(*(ours.ask("Order the first part.") for _ in range(TOGETHER)))
        tasks, threads = len(asyncio.all_tasks()) - tasks, threading.active_count() - threads
        assert await store.journal.due() == []
        await store.close()
        grown_mb = _megabytes(folder) - empty_mb
    return [
        absolute(
            f"{RUNS} runs waiting for approval", grown_mb, "MB disk", budget=BUDGET_MB, note="with drafts and audit rows"
        ),
        absolute(f"{RUNS} runs waiting: tasks and threads held", tasks + threads, "", budget=0),
    ]


def _megabytes(folder: str) -> float:
    return (Path(folder) / DATABASE_NAME).stat().st_size / 1e6
