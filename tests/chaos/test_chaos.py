"""The short campaign: what is killed comes back, and broken variants are found out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.campaign import campaign

pytestmark = pytest.mark.chaos


@pytest.mark.row("L2", part="sqlite, kill -9")
@pytest.mark.row("R7", part="sqlite, kill -9")
@pytest.mark.row("G3", part="sqlite, kill -9")
async def test_twenty_kills_lose_no_run_and_repeat_no_effect(tmp_path: Path) -> None:
    report = await campaign(tmp_path, kills=20, seed=11)

    assert report.verdict.violations == ()
    assert report.verdict.counts["runs"] >= 6
    assert report.verdict.counts["approvals"] == report.verdict.counts["runs"]


@pytest.mark.parametrize(
    ("sabotage", "kind"), [("no-journal", "repeated"), ("journal-first", "lost"), ("random-key", "bad key")]
)
async def test_a_broken_variant_is_found_out(tmp_path: Path, sabotage: str, kind: str) -> None:
    report = await campaign(tmp_path, kills=8, seed=5, sabotage=sabotage, patience_s=12.0)

    assert kind in report.verdict.kinds, report.verdict
