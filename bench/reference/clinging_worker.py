"""A worker that takes a run and clings to it, to be killed: ``python -m bench.reference.clinging_worker URL STALLED_S``."""

from __future__ import annotations

import asyncio
import sys

from quarterdeck.store.postgres_store import open_postgres
from quarterdeck.workflow.dispatch_procrastinate import ProcrastinateDispatcher


async def main(url: str, stalled_s: float) -> None:
    store = await open_postgres(url, wait_s=10.0)

    async def advance(tenant: str, run_id: str) -> None:
        await store.journal.claim(tenant, run_id)
        print("at it", flush=True)
        await asyncio.sleep(600)

    async with ProcrastinateDispatcher.opened(
        url, store.journal, heartbeat_s=stalled_s / 4, stalled_s=stalled_s
    ) as dispatcher:
        serving = asyncio.ensure_future(dispatcher.serve(advance))
        await asyncio.sleep(1.0)  # it listens by then
        print("serves", flush=True)
        await serving


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
