"""Workers killed at random moments by the crash tests, a process of their own, and what became of runs and writes."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measure import Measure, absolute
from bench.processes import ROOT

SILENCE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Attributes: kills: In each setting: one process on SQLite, and one, two and three workers on Postgres."""

    kills: int = 60
    engine: str = "all"


SHORT = Load(kills=25, engine="sqlite")
LONG = Load(kills=1_000)


async def measure(load: Load = Load()) -> list[Measure]:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "chaos.json"
        done = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.chaos", "--kills", str(load.kills), "--sabotage-kills", "6",
            "--engine", load.engine, "--report", str(report), cwd=ROOT, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        told, _ = await done.communicate()
        if not report.exists():
            raise RuntimeError(told.decode())
        settings = json.loads(report.read_text())
    return [figure for one in settings if one["sabotage"] == "none" for figure in _figures(one)]


def _figures(report: dict[str, Any]) -> list[Measure]:
    counts = report["counts"]
    where = f"{report['engine']}, {report['workers']} worker{'s' if report['workers'] > 1 else ''}"
    told = ", ".join(f"{value} {name}" for name, value in counts.items())
    broken = report["violations"]
    note = f"{told}, in {report['seconds']:.0f} s{'; ' + broken[0] if broken else ''}"
    return [
        absolute(f"promises broken on {where}", len(broken), "", budget=0, note=note),
        absolute(f"longest silence on {where}", report["silence_s"], "s", budget=SILENCE_S, note="after the last kill"),
    ]
