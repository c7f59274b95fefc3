"""What a turn costs in the SQLite journal: bytes and CPU, with 20 and with 200 turns behind it.

The reference is the same text written by the same number of durable transactions of a bare sqlite3 connection.
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from bench.measure import Measure, absolute
from bench.reference import turns
from quarterdeck.core.ids import canonical_json, new_id
from quarterdeck.store.base import Entry
from quarterdeck.store.sqlite_store import DATABASE_NAME, open_sqlite

LENGTHS = (20, 200)
RUNS = {20: 10, 200: 3}
BYTES_BUDGET_KB = 4.0
CPU_BUDGET_MS = 0.8
FLAT = 1.25  # how much dearer a turn may be after 200 turns than after 20


async def measure() -> list[Measure]:
    measures: list[Measure] = []
    cost_ms: dict[int, float] = {}
    for length in LENGTHS:
        size_kb, cost_ms[length] = await _costs(length, audited=False)
        audited_kb, audited_ms = await _costs(length, audited=True)
        bare_ms = statistics.median(_bare_ms(length) for _ in range(3))
        note = f"audit adds {audited_kb - size_kb:.2f} kB" if audited_kb > size_kb else ""
        measures.append(absolute(f"journal per turn, {length} turns", size_kb, "kB", budget=BYTES_BUDGET_KB, note=note))
        note = f"audit adds {audited_ms - cost_ms[length]:.3f} ms; bare sqlite3 {bare_ms:.3f} ms"
        measures.append(
            absolute(f"journal CPU per turn, {length} turns", cost_ms[length], "ms CPU", budget=CPU_BUDGET_MS, note=note)
        )
    growth = cost_ms[200] / cost_ms[20]
    measures.append(absolute("journal CPU per turn, 200 turns to 20", growth, "x", budget=FLAT))
    return measures


async def _costs(length: int, *, audited: bool) -> tuple[float, float]:
    """Kilobytes and CPU milliseconds per turn of runs of `length` turns, one run at a time."""
    taken: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        store = open_sqlite(folder)
        await _run(store.journal, 1, audited=audited)  # warms up, and pays for the tables' first pages
        before = _size(folder)
        for _ in range(RUNS[length]):
            started = time.process_time()
            await _run(store.journal, length, audited=audited)
            taken.append((time.process_time() - started) * 1e3 / length)
        await store.close()  # folds the write-ahead log into the file
        grown = _size(folder) - before
    return grown / RUNS[length] / length / 1000, statistics.median(taken)


async def _run(journal, length: int, *, audited: bool) -> None:
    run_id = new_id()
    await journal.create(turns.TENANT, run_id, Entry(event=turns.started()))
    claim = await journal.claim(turns.TENANT, run_id)
    head = claim.head
    for number in range(1, length + 1):
        for events, audit in turns.turn(number):
            beside = audit if audited else ()
            appended = await journal.append(claim, [Entry(event=event) for event in events], folded=head, beside=beside)
            head = appended.head


def _size(folder: str) -> int:
    """Bytes of the database once the write-ahead log is in it."""
    path = Path(folder) / DATABASE_NAME
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path.stat().st_size


def _bare_ms(length: int) -> float:
    """CPU milliseconds per turn of the same text in the same number of transactions, without anything around it."""
    texts = [
        [canonical_json(asdict(event)) for event in events] for number in range(length) for events, _ in turns.turn(number)
    ]
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(Path(folder) / "bare.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, data TEXT)")
        started = time.process_time()
        for append in texts:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO events (data) VALUES (?)", [(text,) for text in append])
            connection.execute("COMMIT")
        taken = time.process_time() - started
        connection.close()
    return taken * 1e3 / length
