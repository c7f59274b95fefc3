"""What the SQLite journal leaves in its file."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from quarterdeck.core.events import RetryRequested, RunCancelled, RunFailed
from quarterdeck.core.runs import RunStatus
from quarterdeck.store.base import Entry
from quarterdeck.store.journal_sqlite import _DUE, SqliteJournal
from quarterdeck.store.sqlite import SqliteDatabase
from quarterdeck.store.sqlite_store import open_sqlite
from tests.contracts.stores import Clock, begin, history, reply


async def test_purged_run_leaves_no_row_and_its_place_can_be_taken(tmp_path: Path) -> None:
    clock = Clock()
    store = open_sqlite(tmp_path, clock=clock)
    claim = await begin(store.journal, "old")
    end = Entry(event=RunCancelled(by="anna"))
    await store.journal.append(claim, [reply(1, "x" * 9000), end], folded=1, status=RunStatus.CANCELLED)
    clock.pass_by(days=2)

    await store.journal.purge(clock.now - timedelta(days=1))

    tables = ("SELECT count(*) FROM runs", "SELECT count(*) FROM events", "SELECT count(*) FROM blobs")
    assert [await store.database.read(lambda c, q=q: c.execute(q).fetchone()[0]) for q in tables] == [0, 0, 0]
    await begin(store.journal, "new")
    assert len(await history(store.journal, "new")) == 1
    await store.close()


class RetriedMeanwhile:
    """A database where somebody has a run tried again between the search for old runs and their deletion."""

    def __init__(self, database: SqliteDatabase, run_id: str) -> None:
        self.inner = database
        self.run_id: str | None = run_id

    async def read(self, query: Any) -> Any:
        return await self.inner.read(query)

    async def write(self, unit: Any) -> Any:
        run_id, self.run_id = self.run_id, None
        if run_id is not None:
            retry = Entry(event=RetryRequested(by="olga"))
            assert await SqliteJournal(self.inner).post("acme", run_id, retry)
        return await self.inner.write(unit)


async def test_failed_run_that_is_retried_while_old_ones_are_purged_is_spared(tmp_path: Path) -> None:
    clock = Clock()
    store = open_sqlite(tmp_path, clock=clock)
    for run_id in ("gone", "retried"):
        claim = await begin(store.journal, run_id)
        failed = Entry(event=RunFailed(code="internal", error="x"))
        await store.journal.append(claim, [failed], folded=1, status=RunStatus.FAILED)
    clock.pass_by(days=2)
    database: Any = RetriedMeanwhile(store.database, "retried")

    purged = await SqliteJournal(database, clock=clock).purge(clock.now - timedelta(days=1))

    assert purged == 1
    assert [row.run_id for row in await store.journal.runs("acme")] == ["retried"]
    assert len(await history(store.journal, "retried")) == 3
    await store.close()


async def test_short_event_rests_in_its_row_and_long_one_in_a_blob(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path)
    claim = await begin(store.journal)

    await store.journal.append(claim, [reply(1, "x" * 7000), reply(2, "x" * 9000), reply(3, "十" * 3000)], folded=1)

    query = "SELECT seq, substr(data, 1, 9) = '{\"$blob\":' FROM events ORDER BY seq"
    assert await store.database.read(lambda c: c.execute(query).fetchall()) == [(1, 0), (2, 0), (3, 1), (4, 1)]
    await store.close()


async def test_search_for_due_runs_reads_the_index_of_open_runs_only(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path)

    plan = await store.database.read(
        lambda c: c.execute("EXPLAIN QUERY PLAN " + _DUE, {"now": 0, "stalled": 0, "limit": 1}).fetchall()
    )

    reads = [row[3] for row in plan if " runs" in row[3]]
    assert len(reads) == 3
    assert all("USING INDEX runs_open" in read for read in reads)
    await store.close()
