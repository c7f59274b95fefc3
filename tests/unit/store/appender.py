"""Appends to runs until it is killed, and says on standard output what it was promised to be durable."""

from __future__ import annotations

import asyncio
import sys

from quarterdeck.store.base import Put
from quarterdeck.store.sqlite_store import SqliteStore, open_sqlite
from tests.contracts.stores import audit, record, reply, started


async def work(store: SqliteStore, run_id: str) -> None:
    journal = store.journal
    await journal.create("acme", run_id, started())
    claim = await journal.claim("acme", run_id)
    assert claim is not None
    print("claimed", run_id, claim.epoch, flush=True)
    head = claim.head
    while True:
        entries = [reply(head + n, "x" * 700 * n) for n in range(1, 4)]
        beside = [audit(run_id), Put(record=record(f"{run_id}-{head}"))]
        appended = await journal.append(claim, entries, folded=head, beside=beside)
        head = appended.head
        print("appended", run_id, head, flush=True)


async def main(folder: str) -> None:
    store = open_sqlite(folder)
    async with asyncio.TaskGroup() as tasks:
        for n in range(5):
            tasks.create_task(work(store, f"r{n}"))


asyncio.run(main(sys.argv[1]))
