"""kill -9 at random moments: what was acknowledged is there."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from quarterdeck.store.audit import verify
from quarterdeck.store.sqlite_store import open_sqlite
from tests.contracts.stores import history

KILLS = 6
ROOT = Path(__file__).parents[3]


def live_and_die(folder: Path, lines: int) -> dict[str, int]:
    """Highest acknowledged seq of each run, of a process killed after it said so many lines."""
    promised: dict[str, int] = {}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.store.appender", str(folder)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    with process:
        assert process.stdout is not None
        for n, line in enumerate(process.stdout):
            if n == lines:
                process.send_signal(signal.SIGKILL)
            word, *rest = line.split()
            if word == "appended" and line.endswith("\n"):
                promised[rest[0]] = int(rest[1])
    assert process.returncode == -signal.SIGKILL
    return promised


@pytest.mark.chaos
@pytest.mark.row("L2", part="sqlite journal")
async def test_every_acknowledged_event_survives_kill_9(tmp_path: Path) -> None:
    rng = random.Random(20260301)
    promised: dict[str, int] = {}

    for _ in range(KILLS):
        promised |= live_and_die(tmp_path, rng.randrange(10, 400))

    store = open_sqlite(tmp_path)
    assert len(promised) == 5
    for run_id, acknowledged in promised.items():
        entries = await history(store.journal, run_id)
        assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
        assert len(entries) >= acknowledged
        assert (len(entries) - 1) % 3 == 0, "an append was torn"
        claim = await store.journal.claim("acme", run_id)
        assert claim is not None
        assert claim.epoch == KILLS + 1
        records = await store.records.find("acme", "approval", limit=100_000)
        assert sum(record.id.startswith(run_id) for record in records) == (len(entries) - 1) // 3
    rows = await store.records.audit_rows("acme", limit=100_000)
    assert len(rows) == len(records)
    assert verify(rows, head=await store.records.audit_head("acme")) is None
    await store.close()
