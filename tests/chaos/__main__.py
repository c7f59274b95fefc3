"""``python -m tests.chaos --kills 60 --report build/chaos.json``: the long campaigns, and sabotages they must find out."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from tests.chaos.campaign import Nemesis, Report, campaign
from tests.postgres_server import postgres_server

SABOTAGES = ("no-journal", "journal-first", "random-key")
CREWS = (1, 2, 3)  # workers on one Postgres
APART_S = (0.1, 1.0)


def main() -> int:
    """Returns 0 if the product kept every promise and every sabotage was found out."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=60, help="how often workers are killed in each setting (default 60)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the kill times (default 1)")
    parser.add_argument("--sabotage-kills", type=int, default=12, help="kills per sabotage (default 12)")
    parser.add_argument("--engine", choices=("all", "sqlite", "postgresql"), default="all")
    parser.add_argument("--report", type=Path, default=Path("build/chaos.json"))
    asked = parser.parse_args()
    reports: list[Report] = []
    sabotaged: list[Report] = []
    if asked.engine != "postgresql":
        reports.append(_sqlite(asked.kills, asked.seed, "none"))
        sabotaged += [_sqlite(asked.sabotage_kills, asked.seed, sabotage) for sabotage in SABOTAGES]
    if asked.engine != "sqlite":
        reports += [_postgres(asked.kills, asked.seed, workers) for workers in CREWS]
    asked.report.parent.mkdir(parents=True, exist_ok=True)
    asked.report.write_text(json.dumps([report.as_json() for report in (*reports, *sabotaged)], indent=2) + "\n")
    kept = not any(report.verdict.violations or report.fallen for report in reports)
    found_out = sum(bool(report.verdict.violations) for report in sabotaged)
    print(
        f"report in {asked.report}; promises {'kept' if kept else 'BROKEN'}; "
        f"sabotages found out: {found_out} of {len(sabotaged)}"
    )
    return 0 if kept and found_out == len(sabotaged) else 1


def _sqlite(kills: int, seed: int, sabotage: str) -> Report:
    with tempfile.TemporaryDirectory() as folder:
        report = asyncio.run(campaign(Path(folder), kills=kills, seed=seed, sabotage=sabotage, patience_s=30.0))
    return _told(report)


def _postgres(kills: int, seed: int, workers: int) -> Report:
    """Kills, and now and then a worker that is frozen and a database that goes away."""
    nemesis = Nemesis(
        kills=kills, workers=workers, apart_s=APART_S, freezes=kills // 12 if workers > 1 else 0, outages=kills // 20
    )
    with tempfile.TemporaryDirectory() as folder, postgres_server() as server:
        report = asyncio.run(
            campaign(
                Path(folder),
                kills=kills,
                seed=seed,
                patience_s=90.0,
                where=server.new_database(),
                nemesis=nemesis,
                database=server,
            )
        )
    return _told(report)


def _told(report: Report) -> Report:
    counts = ", ".join(f"{name} {value}" for name, value in report.verdict.counts.items())
    crew = f"{report.engine} with {report.workers} worker{'s' if report.workers > 1 else ''}"
    violations = len(report.verdict.violations)
    print(f"{crew}, {report.sabotage}: {counts} in {report.seconds:.0f} s; violations: {violations}", flush=True)
    ending = f"ended {report.ending_s:.1f} s after the last trouble, silent for {report.silence_s:.1f} s at most"
    print(f"  {ending}; workers that fell: {report.fallen}", flush=True)
    for violation in report.verdict.violations[:5]:
        print(f"  {violation}", flush=True)
    return report


if __name__ == "__main__":
    sys.exit(main())
