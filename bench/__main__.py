"""Runs every measure in a process of its own, prints it beside its budget, and writes build/bench.json."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from bench.lines import command as lines
from bench.measure import Measure
from bench.processes import ROOT
from bench.processes import measured as taken

MEASURES = (
    "packages", "imports", "in_process", "http_loop", "journal", "waiting", "server", "simulator", "model_client", "tokens",
    "durable", "policy", "guards", "governance", "audit_verify", "retrieval", "retrieval_qdrant", "retrieval_postgres",
    "retrieval_10k", "not_found",
)  # fmt: skip
ON_REQUEST = (
    "fleet",
    "overload",
    "soak",
    "retrieval_100k",
    "retrieval_100k_postgres",
    "retrieval_10k_qdrant",
    "retrieval_e5",
)  # take minutes, the first every processor
_CHOICE = f"of {', '.join(MEASURES)}; all of them when none is named. Only when named: {', '.join(ON_REQUEST)}"


def main() -> int:
    if sys.argv[1:2] == ["lines"]:
        return lines.main(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("only", nargs="*", metavar="MEASURE", help=_CHOICE)
    parser.add_argument(
        "--long", action="store_true", help="as much as a promise is of, where a measure knows; takes minutes"
    )
    parser.add_argument("--report", type=Path, default=ROOT / "build" / "bench.json")
    arguments = parser.parse_args()
    if unknown := set(arguments.only) - {*MEASURES, *ON_REQUEST}:
        parser.error(f"no such measure: {', '.join(sorted(unknown))}")

    measured: list[Measure] = []
    broken: list[str] = []
    print(_line("measure", "value", "unit", "reference", "ratio", "budget", ""))
    for name in arguments.only or MEASURES:
        try:
            results = taken(name, "LONG" if arguments.long else "")
        except RuntimeError as error:
            broken.append(name)
            print(f"{name}: could not be measured\n{error}", file=sys.stderr)
            continue
        measured.extend(results)
        for result in results:
            print(_row(result), flush=True)

    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    arguments.report.write_text(json.dumps([asdict(measure) for measure in measured], indent=1) + "\n", encoding="utf-8")
    missed = [measure.name for measure in measured if measure.holds is False]
    absent = [measure.name for measure in measured if measure.value is None]
    print(f"\n{len(measured) - len(absent)} figures, {len(missed)} over budget{''.join(f': {name}' for name in missed)}")
    if absent:
        print(f"{len(absent)} not measured: {'; '.join(absent)}")
    return 1 if missed or broken else 0


def _row(measure: Measure) -> str:
    verdict = {True: "holds", False: "OVER", None: ""}[measure.holds]
    sign = {"at most": "≤", "at least": "≥"}[measure.bound]
    budget = "" if measure.budget is None else f"{sign} {measure.budget:g}{' x' if measure.ratio is not None else ''}"
    ratio = "" if measure.ratio is None else f"{measure.ratio:.2f} x"
    reference = "" if measure.reference is None else f"{measure.reference:.3g}"
    line = _line(measure.name, _figure(measure.value), measure.unit, reference, ratio, budget, verdict)
    return f"{line}\n{'':4}{measure.note}" if measure.note else line


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _line(name: str, value: str, unit: str, reference: str, ratio: str, budget: str, verdict: str) -> str:
    return f"{name:<48} {value:>8} {unit:<8} {reference:>9} {ratio:>8} {budget:>8} {verdict}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
