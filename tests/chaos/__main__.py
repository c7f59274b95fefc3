"""``python -m tests.chaos --kills 60 --report build/chaos.json``: the long campaign, and the sabotages it must find out."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from tests.chaos.campaign import Report, campaign

SABOTAGES = ("no-journal", "journal-first", "random-key")


def main() -> int:
    """Returns 0 if the product kept every promise and every sabotage was found out."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=60, help="how often the worker is killed (default 60)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the kill times (default 1)")
    parser.add_argument("--sabotage-kills", type=int, default=12, help="kills per sabotage (default 12)")
    parser.add_argument("--report", type=Path, default=Path("build/chaos.json"))
    asked = parser.parse_args()
    reports = [_run(asked.kills, asked.seed, "none")]
    reports += [_run(asked.sabotage_kills, asked.seed, sabotage) for sabotage in SABOTAGES]
    asked.report.parent.mkdir(parents=True, exist_ok=True)
    asked.report.write_text(json.dumps([report.as_json() for report in reports], indent=2) + "\n")
    kept = not reports[0].verdict.violations
    found_out = [bool(report.verdict.violations) for report in reports[1:]]
    print(f"report in {asked.report}; promises {'kept' if kept else 'BROKEN'}; sabotages found out: {sum(found_out)} of 3")
    return 0 if kept and all(found_out) else 1


def _run(kills: int, seed: int, sabotage: str) -> Report:
    with tempfile.TemporaryDirectory() as folder:
        report = asyncio.run(campaign(Path(folder), kills=kills, seed=seed, sabotage=sabotage, patience_s=30.0))
    counts = ", ".join(f"{name} {value}" for name, value in report.verdict.counts.items())
    print(f"{sabotage}: {counts} in {report.seconds:.0f} s; violations: {len(report.verdict.violations)}", flush=True)
    for violation in report.verdict.violations[:5]:
        print(f"  {violation}", flush=True)
    return report


if __name__ == "__main__":
    sys.exit(main())
