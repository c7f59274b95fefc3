"""What an evaluation found: the value that is written, compared and shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from quarterdeck.core.errors import Misconfigured
from quarterdeck.evals.calibration import Calibration, calibration
from quarterdeck.evals.figures import Figures, figures
from quarterdeck.evals.runner import Result

__all__ = ["Report", "Totals", "as_data", "read_report", "totals"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The results of one evaluation.

    Attributes:
        dataset: Name of the file of cases.
        repeat: Trials of each case.
    """

    dataset: str
    started_at: datetime
    repeat: int
    cases: tuple[Result, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """Those that really answered, in order of name."""
        return tuple(sorted({trial.model for case in self.cases for trial in case.trials if trial.model}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Results counted.

    Attributes:
        pass_rate: Share of the cases of which every trial passed: with k trials each, pass^k.
        trial_pass_rate: Share of all trials that passed.
        cost_usd: Of all trials; None when the cost of one is not known.
    """

    cases: int
    passed: int
    failed: int
    errors: int
    pass_rate: float
    trial_pass_rate: float
    average_latency_ms: float
    cost_usd: float | None


def totals(cases: Sequence[Result]) -> Totals:
    """The totals of results, of which there is at least one."""
    trials = [trial for case in cases for trial in case.trials]
    statuses = [case.status for case in cases]
    costs = [trial.cost_usd for trial in trials]
    known = [cost for cost in costs if cost is not None]
    return Totals(
        cases=len(cases),
        passed=statuses.count("passed"),
        failed=statuses.count("failed"),
        errors=statuses.count("error"),
        pass_rate=statuses.count("passed") / len(cases),
        trial_pass_rate=sum(trial.status == "passed" for trial in trials) / len(trials),
        average_latency_ms=round(sum(trial.latency_ms for trial in trials) / len(trials), 3),
        cost_usd=sum(known) if len(known) == len(costs) else None,
    )


_REPORTS = TypeAdapter(Report)
_TOTALS = TypeAdapter(Totals)
_MEASURED = TypeAdapter(Figures | Calibration | None)


def as_data(report: Report) -> dict[str, Any]:
    """The report as JSON has it: with its totals and figures, and status, share and latency beside each case's trials."""
    data: dict[str, Any] = _REPORTS.dump_python(report, mode="json")
    for shown, case in zip(data["cases"], report.cases, strict=True):
        shown |= {"status": case.status, "share": case.share, "latency_ms": round(case.latency_ms, 3)}
    cases = data.pop("cases")
    return {
        **data,
        "models": list(report.models),
        "totals": _TOTALS.dump_python(totals(report.cases)),
        "figures": _MEASURED.dump_python(figures(report.cases)),
        "calibration": _MEASURED.dump_python(calibration(report.cases)),
        "cases": cases,
    }


def read_report(path: Path) -> Report:
    """A report that was written as JSON, by this version or a later one. Raises Misconfigured for anything else."""
    try:
        report = _REPORTS.validate_python(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        reason = f"{error.error_count()} fields are missing or wrong" if isinstance(error, ValidationError) else error
        raise Misconfigured(f"{path} is no report of an evaluation as JSON: {reason}") from error
    if not report.cases or not all(case.trials for case in report.cases):
        raise Misconfigured(f"{path}: a report without cases, or a case without trials, cannot be compared with")
    return report
