"""What durability costs on both engines, beside LangGraph's checkpointers on the same turns in the same run.

Per turn 1 kB said by a model and 1 kB returned by a tool, each durable before the next begins. CPU is the client's; bytes
are those of tables and indexes, and on Postgres of the write-ahead log too.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from bench.measure import Measure, absolute, relative
from bench.measures.journal import _run as run_turns
from bench.measures.journal import _size as sqlite_bytes
from bench.reference import turns
from bench.reference.langgraph_turns import cost_ms, postgres_saver, sqlite_saver
from quarterdeck.core.ids import new_id
from quarterdeck.store.base import Entry
from quarterdeck.store.postgres_store import PostgresStore, open_postgres
from quarterdeck.store.sqlite_store import DATABASE_NAME, open_sqlite
from quarterdeck.workflow.dispatch_procrastinate import ProcrastinateDispatcher
from tests.postgres_server import PostgresServer, postgres_server

LENGTHS = (20, 200)
RUNS = {20: 5, 200: 2}
WAITING = 10_000
WAKES = 200
STALLED_S = 2.0


async def measure() -> list[Measure]:
    with tempfile.TemporaryDirectory() as folder, postgres_server() as server:
        return [
            *await _sqlite(Path(folder)),
            *await _postgres(server),
            await _waiting(server.new_database()),
            await _latency(server.new_database()),
            await _take_over(server.new_database()),
        ]


async def _sqlite(folder: Path) -> list[Measure]:
    store = open_sqlite(folder)
    await run_turns(store.journal, 1, audited=False)
    found: list[Measure] = []
    with sqlite_saver(folder / "langgraph.db") as saver:
        cost_ms(saver, "warm", 2)
        for length in LENGTHS:
            before = sqlite_bytes(str(folder))
            ours = [await _cpu_ms(store.journal, length) for _ in range(RUNS[length])]
            grown = (sqlite_bytes(str(folder)) - before) / RUNS[length] / length
            theirs_before = (folder / "langgraph.db").stat().st_size
            theirs = [cost_ms(saver, f"{length}-{n}", length) for n in range(RUNS[length])]
            theirs_grown = ((folder / "langgraph.db").stat().st_size - theirs_before) / RUNS[length] / length
            found += _compared("SQLite", length, ours, grown, theirs, theirs_grown)
    await store.close()
    assert (folder / DATABASE_NAME).exists()
    return found


async def _postgres(server: PostgresServer) -> list[Measure]:
    ours_url, theirs_url = server.new_database(), server.new_database()
    store = await open_postgres(ours_url, wait_s=10.0)
    await run_turns(store.journal, 1, audited=False)
    found: list[Measure] = []
    with postgres_saver(theirs_url) as saver:
        cost_ms(saver, "warm", 2)
        for length in LENGTHS:
            with _grown(ours_url) as size:
                ours = [await _cpu_ms(store.journal, length) for _ in range(RUNS[length])]
            with _grown(theirs_url) as their_size:
                theirs = [cost_ms(saver, f"{length}-{n}", length) for n in range(RUNS[length])]
            per = RUNS[length] * length
            found += _compared("Postgres", length, ours, size[0] / per, theirs, their_size[0] / per)
            found.append(
                relative(
                    f"Postgres WAL per turn, {length} turns",
                    size[1] / per / 1000,
                    "kB",
                    reference=their_size[1] / per / 1000,
                )
            )
    await store.close()
    return found


def _compared(
    engine: str, length: int, ours: list[float], size: float, theirs: list[float], their_size: float
) -> list[Measure]:
    note = "reference: LangGraph's checkpointer, durability=sync"
    return [
        relative(
            f"{engine} CPU per turn, {length} turns",
            statistics.median(ours),
            "ms CPU",
            reference=statistics.median(theirs),
            budget=1.0,
            note=note,
        ),
        relative(f"{engine} bytes per turn, {length} turns", size / 1000, "kB", reference=their_size / 1000, budget=1.0),
    ]


async def _cpu_ms(journal, length: int) -> float:
    started = time.process_time()
    await run_turns(journal, length, audited=False)
    return (time.process_time() - started) * 1e3 / length


@contextmanager
def _grown(url: str) -> Iterator[list[float]]:
    """Bytes by which the database and the server's write-ahead log grow."""
    found: list[float] = []
    asked = "SELECT pg_database_size(current_database()), pg_current_wal_lsn() - '0/0'::pg_lsn"
    with psycopg.connect(url, autocommit=True) as connection:
        before = connection.execute(asked).fetchone()
        yield found
        after = connection.execute(asked).fetchone()
    assert before is not None
    assert after is not None
    found += [float(after[0] - before[0]), float(after[1] - before[1])]


async def _waiting(url: str) -> Measure:
    store = await open_postgres(url, wait_s=10.0)
    with _grown(url) as size:
        for first in range(0, WAITING, 50):
            await asyncio.gather(*(_park(store, f"w{first + n}") for n in range(50)))
    with psycopg.connect(url) as connection:
        backends = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle' AND pid <> pg_backend_pid() AND datname IS NOT NULL"
        ).fetchone()
    started = time.perf_counter()
    due = await store.journal.due()
    scan_ms = (time.perf_counter() - started) * 1e3
    await store.close()
    assert due == []
    assert backends is not None
    note = f"a scan for what is due takes {scan_ms:.1f} ms; connections at work: {backends[0]}"
    return absolute(f"Postgres, {WAITING} waiting runs", size[0] / 1e6, "MB disk", note=note)


async def _park(store: PostgresStore, run_id: str) -> None:
    await store.journal.create(turns.TENANT, run_id, Entry(event=turns.started()))
    claim = await store.journal.claim(turns.TENANT, run_id)
    assert claim is not None
    await store.journal.append(claim, [], folded=claim.head, status="waiting")


async def _latency(url: str) -> Measure:
    """From the wake-up in one dispatcher to the advance in another."""
    store = await open_postgres(url, wait_s=10.0)
    began: dict[str, float] = {}
    took: list[float] = []
    done = asyncio.Event()

    async def advance(tenant: str, run_id: str) -> None:
        took.append((time.perf_counter() - began[run_id]) * 1e3)
        claim = await store.journal.claim(tenant, run_id)
        await store.journal.append(claim, [], folded=claim.head, status="waiting")
        if len(took) == WAKES:
            done.set()

    async with (
        ProcrastinateDispatcher.opened(url, store.journal) as asks,
        ProcrastinateDispatcher.opened(url, store.journal) as works,
    ):
        serving = asyncio.ensure_future(works.serve(advance))
        await asyncio.sleep(1.0)  # it listens by then
        for number in range(WAKES):
            run_id = f"r{number}"
            began[run_id] = time.perf_counter()
            await store.journal.create(turns.TENANT, run_id, Entry(event=turns.started()))
            await asks.wake(turns.TENANT, run_id)
            await asyncio.sleep(0.02)
        await asyncio.wait_for(done.wait(), 30)
        await works.stop(1.0)
        await serving
    await store.close()
    took.sort()
    note = f"p99 {took[int(len(took) * 0.99)]:.1f} ms, wall time; creating the run is in it; Postgres without fsync"
    return absolute("Postgres, question stored to worker at it, p50", statistics.median(took), "ms", note=note)


async def _take_over(url: str) -> Measure:
    """From kill -9 of a worker to another one at its run, with workers missed after two seconds."""
    store = await open_postgres(url, wait_s=10.0)
    took: list[float] = []
    for _ in range(3):
        victim = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.reference.clinging_worker", url, str(STALLED_S), stdout=asyncio.subprocess.PIPE
        )
        assert victim.stdout is not None
        await victim.stdout.readline()  # it serves
        run_id = new_id()
        await store.journal.create(turns.TENANT, run_id, Entry(event=turns.started()))
        taken = asyncio.Event()

        async def advance(tenant: str, found: str, wanted: str = run_id, taken: asyncio.Event = taken) -> None:
            claim = await store.journal.claim(tenant, found)
            await store.journal.append(claim, [], folded=claim.head, status="waiting")
            if found == wanted:
                taken.set()

        async with ProcrastinateDispatcher.opened(
            url, store.journal, heartbeat_s=STALLED_S / 4, stalled_s=STALLED_S
        ) as other:
            await other.wake(turns.TENANT, run_id)
            await victim.stdout.readline()  # it is at the run
            serving = asyncio.ensure_future(other.serve(advance))
            await asyncio.sleep(1.0)
            victim.kill()
            started = time.perf_counter()
            await asyncio.wait_for(taken.wait(), 60)
            took.append(time.perf_counter() - started)
            await other.stop(1.0)
            await serving
        await victim.wait()
    await store.close()
    note = f"largest {max(took):.1f} s; workers are missed after {STALLED_S:g} s here, after 10 s by default"
    return absolute("Postgres, kill -9 to take-over, median", statistics.median(took), "s", note=note)
