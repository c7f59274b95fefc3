"""No kill comes between what was decided or done and its row in the audit log."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.service.auditing import checked
from quarterdeck.store.audit import BEFORE_ALL
from quarterdeck.store.base import Entry
from tests.chaos import engines
from tests.chaos.audited import compare
from tests.chaos.campaign import Nemesis, campaign
from tests.chaos.plan import TENANT
from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.chaos

Journals = dict[str, list[Entry]]


async def told(where: str) -> tuple[Journals, list[dict[str, Any]], int | None]:
    """Journals of all runs, the rows of the audit log, and the first of these that is bad."""
    async with engines.store(where) as store:
        runs = await store.journal.runs(TENANT, limit=100_000)
        journals = {run.run_id: [entry async for entry in store.journal.read(TENANT, run.run_id)] for run in runs}
        rows = [dict(row) for row in await store.records.audit_rows(TENANT, BEFORE_ALL, 1_000_000)]
        return journals, rows, (await checked(store.records, TENANT)).bad


@pytest.mark.row("G7", part="kill -9")
async def test_after_kills_each_decision_approval_and_effect_has_one_row_and_a_lost_row_is_missed(tmp_path: Path) -> None:
    report = await campaign(tmp_path, kills=15, seed=23)

    journals, rows, bad = await told(f"sqlite:{tmp_path / 'data'}")

    assert report.verdict.violations == ()
    assert bad is None
    assert compare(journals, rows) == []
    kinds = Counter(row["action"] for row in rows)
    assert kinds["approval"] >= len(journals) >= 5
    assert kinds["effect"] >= 2 * len(journals)
    assert all(compare(journals, [*rows[:place], *rows[place + 1 :]]) for place in range(len(rows)))


@pytest.mark.row("G7", part="kill -9, postgres")
async def test_after_kills_of_two_workers_on_one_postgres_the_audit_log_tells_each_once(
    tmp_path: Path, own_postgres: PostgresServer
) -> None:
    where = own_postgres.new_database()
    nemesis = Nemesis(kills=6, workers=2, apart_s=(0.1, 0.8), outages=1)

    report = await campaign(tmp_path, kills=6, seed=23, where=where, nemesis=nemesis, database=own_postgres)

    journals, rows, bad = await told(where)
    assert report.verdict.violations == ()
    assert bad is None
    assert compare(journals, rows) == []
    assert Counter(row["action"] for row in rows)["approval"] >= len(journals)
