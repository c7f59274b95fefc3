"""The short campaign: what is killed comes back, and broken variants are found out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.campaign import Nemesis, campaign
from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.chaos


@pytest.mark.row("L2", part="sqlite, kill -9")
@pytest.mark.row("R7", part="sqlite, kill -9")
@pytest.mark.row("G3", part="sqlite, kill -9")
async def test_twenty_kills_lose_no_run_and_repeat_no_effect(tmp_path: Path) -> None:
    report = await campaign(tmp_path, kills=20, seed=11)

    assert report.verdict.violations == ()
    assert report.fallen == 0
    assert report.verdict.counts["runs"] >= 6
    assert report.verdict.counts["approvals"] == report.verdict.counts["runs"]


@pytest.mark.parametrize(
    ("sabotage", "kind"), [("no-journal", "repeated"), ("journal-first", "lost"), ("random-key", "bad key")]
)
async def test_a_broken_variant_is_found_out(tmp_path: Path, sabotage: str, kind: str) -> None:
    report = await campaign(tmp_path, kills=8, seed=5, sabotage=sabotage, patience_s=12.0)

    assert kind in report.verdict.kinds, report.verdict


@pytest.mark.row("L2", part="postgres, kill -9")
@pytest.mark.row("R7", part="postgres, kill -9")
@pytest.mark.parametrize(
    "nemesis",
    [
        Nemesis(kills=8, workers=1, apart_s=(0.1, 0.8), outages=1),
        Nemesis(kills=8, workers=2, apart_s=(0.1, 0.8), freezes=1),
        Nemesis(kills=8, workers=3, apart_s=(0.1, 0.8), freezes=1, outages=1),
    ],
    ids=lambda nemesis: f"workers={nemesis.workers}",
)
async def test_workers_on_one_postgres_are_killed_frozen_and_cut_off_and_nothing_is_lost(
    tmp_path: Path, own_postgres: PostgresServer, nemesis: Nemesis
) -> None:
    report = await campaign(
        tmp_path, kills=nemesis.kills, seed=7, where=own_postgres.new_database(), nemesis=nemesis, database=own_postgres
    )

    assert report.verdict.violations == ()
    assert report.fallen == 0
    assert report.verdict.counts["runs"] >= 6
    assert report.verdict.counts["approvals"] == report.verdict.counts["runs"]
