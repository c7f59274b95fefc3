"""What 2,000 runs that wait for a person hold of Postgres and of the process that began them."""

from __future__ import annotations

import asyncio
import threading

import psycopg

from bench.host import host
from bench.measure import Measure, absolute, missing
from bench.measures.waiting import order
from bench.reference.scripted import Scripted
from quarterdeck.core.runs import RunStatus
from quarterdeck.store.postgres import migrate_postgres
from quarterdeck.store.postgres_store import open_postgres
from tests.postgres_server import NoPostgres, postgres_server

RUNS, TOGETHER = 2_000, 20
BUSY = """SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'"""


async def measure() -> list[Measure]:
    try:
        with postgres_server() as server:
            return await _held(server.new_database())
    except NoPostgres as error:
        return [missing("held of Postgres by waiting runs", str(error))]


async def _held(url: str) -> list[Measure]:
    await migrate_postgres(url)
    store = await open_postgres(url)
    try:
        ours = await host(store, Scripted(tool_turns=1), [order], instructions="You order parts.")
        first = await ours.ask("Order the first part.")
        tasks, threads = len(asyncio.all_tasks()), threading.active_count()
        for _ in range(RUNS // TOGETHER):
            await asyncio.gather(*(ours.ask("Order the first part.") for _ in range(TOGETHER)))
        tasks, threads = len(asyncio.all_tasks()) - tasks, threading.active_count() - threads
        waiting = await ours.status(first) is RunStatus.WAITING
        async with await psycopg.AsyncConnection.connect(url) as connection:
            row = await (await connection.execute(BUSY)).fetchone()
    finally:
        await store.close()
    assert row is not None
    assert waiting
    note = f"{RUNS} runs that wait for approval"
    return [
        absolute("connections of the database in use", row[0], "", budget=0, note=note),
        absolute("tasks held", max(0, tasks), "", budget=0),
        absolute("threads held", max(0, threads), "", budget=0),
    ]
