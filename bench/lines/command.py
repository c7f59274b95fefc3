"""`python -m bench lines`: every promise of reliability with its target and what was measured of it."""

from __future__ import annotations

import argparse
import json
import os
import platform
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.lines import shown
from bench.lines.catalogue import LINES
from bench.lines.evidence import judged
from bench.lines.line import Found, failures, known_misses
from bench.measure import Measure
from bench.processes import ROOT, measured

PAGE = ROOT / "docs" / "reference" / "reliability.md"
REPORT = ROOT / "build" / "lines.json"
WIDTH = 128
WITHIN_S = {"SHORT": 240.0, "LONG": 6 * 3600.0}  # for one measure


def main(arguments: Sequence[str]) -> int:
    """Returns 0 if every line asked for was kept, or is known to be missed."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if unknown := set(asked.only) - {line.number for line in LINES}:
        parser.error(f"no such line: {', '.join(map(str, sorted(unknown)))}")
    chosen = [line for line in LINES if not asked.only or line.number in asked.only]
    began = time.monotonic()
    known = known_misses(PAGE.read_text(encoding="utf-8"))
    found = []
    for one in judged(chosen, _taking("LONG" if asked.long else "SHORT"), shown.run):
        found.append(one)
        print(told(one, known), flush=True)
    asked.report.parent.mkdir(parents=True, exist_ok=True)
    asked.report.write_text(json.dumps(_report(found, time.monotonic() - began), indent=1) + "\n", encoding="utf-8")
    bad = failures(found, known)
    print(_summary(found, bad, known, time.monotonic() - began))
    return 1 if bad else 0


def told(found: Found, known: frozenset[int] = frozenset()) -> str:
    """A line for people: its number, verdict and name, then target, then what was measured."""
    known_miss = found.verdict == "missed" and found.line.number in known
    head = f"{found.line.number:>2}  {'missed, as documented' if known_miss else found.verdict:<8}  {found.line.behaviour}"
    return "\n".join([head, *_block("target", found.line.target), *_block("measured", *found.measured), ""])


def _block(name: str, *texts: str) -> list[str]:
    rows: list[str] = []
    for text in texts:
        lead = f"    {'' if rows else name:<10}"
        rows += textwrap.wrap(text, WIDTH, initial_indent=lead, subsequent_indent=" " * 16, break_long_words=False)
    return rows


def _taking(size: str) -> Callable[[str], Sequence[Measure]]:
    return lambda name: measured(name, size, within_s=WITHIN_S[size])


def _report(found: Sequence[Found], seconds: float) -> dict[str, object]:
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}",
        "seconds": round(seconds, 1),
        "lines": [
            {
                "number": one.line.number,
                "behaviour": one.line.behaviour,
                "target": one.line.target,
                "measured": one.measured,
                "verdict": one.verdict,
                "tests": one.line.tests,
            }
            for one in found
        ],
    }


def _summary(found: Sequence[Found], bad: Sequence[Found], known: frozenset[int], seconds: float) -> str:
    counts = {verdict: sum(one.verdict == verdict for one in found) for verdict in ("kept", "shown", "missed", "unknown")}
    told = f"{len(found)} lines in {seconds:.0f} s: {', '.join(f'{count} {verdict}' for verdict, count in counts.items())}"
    kept = [one.line.number for one in found if one.line.number in known and one.verdict in ("kept", "shown")]
    if bad:
        told += f"\nmissed or not measured: {', '.join(f'{one.line.number} {one.line.behaviour}' for one in bad)}"
    if kept:
        told += f"\ndocumented as missed, and kept this time: {', '.join(map(str, kept))}"
    return told


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench lines", description=__doc__)
    parser.add_argument("only", nargs="*", type=int, metavar="LINE", help="numbers; all when none is given")
    parser.add_argument("--long", action="store_true", help="full durations: a minute of overload, a thousand kills, ...")
    parser.add_argument("--report", type=Path, default=REPORT)
    return parser
