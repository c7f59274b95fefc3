"""Reports as files: Markdown for people, JSON for programs and baselines, JUnit for what shows tests."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from xml.etree import ElementTree

from quarterdeck.evals.calibration import Bin, calibration
from quarterdeck.evals.figures import figures
from quarterdeck.evals.gate import Verdict
from quarterdeck.evals.report import Report, Totals, as_data, totals
from quarterdeck.evals.runner import Result

__all__ = ["FORMATS", "as_json", "as_junit", "as_markdown"]

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~#!&$@]|:(?=//)|(?<=\bwww)\.)", re.IGNORECASE)  # also what makes a bare address a link
_CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff\u061c\U000e0000-\U000e007f]"
)


def as_markdown(report: Report, verdict: Verdict) -> str:
    """Totals, a line for each case, and what was wrong with those that did not pass."""
    parts = [f"# Evaluation of {_inline(report.dataset)}\n", *_head(report, verdict), *_measured(report), *_by_tag(report)]
    parts += ["## Cases\n", "| case | input | status | latency |\n|---|---|---|---:|"]
    parts += [
        f"| {_inline(case.id)} | {_inline(_cut(case.input, 100))} | {_status(case)} | {case.latency_ms:.0f} ms |"
        for case in report.cases
    ]
    bad = [case for case in report.cases if case.status != "passed"]
    if bad:
        parts.append("\n## What was wrong\n")
        parts += [line for case in bad for line in _account(case)]
    return "\n".join(parts).rstrip() + "\n"


def as_json(report: Report, verdict: Verdict) -> str:
    """The report with its totals and the gate's verdict; a later run reads it as its baseline."""
    data = {**as_data(report), "gate": {"passed": verdict.passed, "reasons": list(verdict.reasons)}}
    return json.dumps(data, ensure_ascii=False, indent=1) + "\n"


def as_junit(report: Report, verdict: Verdict) -> str:
    """One test case for each case, and one for the gate: a set may pass with a failing case, and fail without one."""
    found = totals(report.cases)
    suite = ElementTree.Element(
        "testsuite",
        name=_xml(report.dataset),
        tests=str(found.cases + 1),
        failures=str(found.failed + (not verdict.passed)),
        errors=str(found.errors),
        time=f"{sum(trial.latency_ms for case in report.cases for trial in case.trials) / 1000:.3f}",
        timestamp=report.started_at.isoformat(timespec="seconds"),
    )
    for case in report.cases:
        _test(suite, case.id, case.latency_ms / 1000, case.status, [fault for t in case.trials for fault in t.faults])
    _test(suite, "gate", 0, "passed" if verdict.passed else "failed", verdict.reasons)
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


FORMATS: Mapping[str, Callable[[Report, Verdict], str]] = {".md": as_markdown, ".json": as_json, ".xml": as_junit}
"""By the ending of the file's name."""


def _head(report: Report, verdict: Verdict) -> Iterator[str]:
    found = totals(report.cases)
    yield (
        f"**{'Passed' if verdict.passed else 'Failed'}.** "
        + " ".join(_inline(f"{line}.") for line in verdict.reasons)
        + "\n"
    )
    yield "| | |\n|---|---|"
    rows = {
        "cases": str(found.cases),
        "passed": str(found.passed),
        "failed": str(found.failed),
        "errors": str(found.errors),
        "pass rate" + (f" (all of {report.repeat} trials)" if report.repeat > 1 else ""): f"{found.pass_rate:.1%}",
        **({"pass rate of trials": f"{found.trial_pass_rate:.1%}"} if report.repeat > 1 else {}),
        "average latency": f"{found.average_latency_ms:.0f} ms",
        "cost": "not known" if found.cost_usd is None else f"{found.cost_usd:.4f} USD",
        "model": _inline(", ".join(report.models) or "none answered"),
        "started": report.started_at.isoformat(timespec="seconds"),
    }
    for name, value in rows.items():
        yield f"| {name} | {value} |"
    yield ""


def _measured(report: Report) -> Iterator[str]:
    found = figures(report.cases)
    yield "## Answers from knowledge\n\n| | |\n|---|---|"
    yield f"| source accuracy | {found.sources} |"
    yield f"| support | {found.support} |"
    yield f"| refusal | {found.refusal} |"
    yield f"| leaks | {found.leaks} |"
    yield f"| said what was expected | {found.answers} |\n"
    calibrated = calibration(report.cases)
    if calibrated is None:
        return
    yield "## Confidence\n"
    yield (
        f"{calibrated.answers} answers that claim something. Brier score {calibrated.brier:.3f}, "
        f"expected calibration error {calibrated.ece:.3f}.\n"
    )
    yield "| confidence | answers | right | share right | mean score |\n|---|---:|---:|---:|---:|"
    yield from map(_bin, (*calibrated.levels, *calibrated.bins))
    yield ""


def _bin(one: Bin) -> str:
    return f"| {_inline(one.name)} | {one.answers} | {one.right} | {one.share_right:.1%} | {one.mean_score:.3f} |"


def _by_tag(report: Report) -> Iterator[str]:
    tags = sorted({tag for case in report.cases for tag in case.tags})
    if not tags:
        return
    yield "## By tag\n\n| tag | cases | passed | pass rate |\n|---|---:|---:|---:|"
    for tag in tags:
        found: Totals = totals([case for case in report.cases if tag in case.tags])
        yield f"| {_inline(tag)} | {found.cases} | {found.passed} | {found.pass_rate:.1%} |"
    yield ""


def _status(case: Result) -> str:
    if len(case.trials) == 1:
        return case.status
    return f"{case.status} ({sum(trial.status == 'passed' for trial in case.trials)} of {len(case.trials)})"


def _account(case: Result) -> Iterator[str]:
    """Each way in which the case went wrong, once, with the answer it came with."""
    yield f"### {_inline(case.id)}\n"
    yield f"Asked was: {_inline(_cut(case.input, 500))}\n"
    seen: set[tuple[tuple[str, ...], str]] = set()
    for trial in case.trials:
        if trial.status == "passed" or (trial.faults, trial.answer) in seen:
            continue
        seen.add((trial.faults, trial.answer))
        yield from (f"- {_inline(_cut(fault, 500))}" for fault in trial.faults)
        if trial.answer:
            yield f"- the answer: {_inline(_cut(trial.answer, 500))}"
        for name, found in (("tools", trial.tools), ("sources", trial.sources)):
            if found:
                yield f"- {name}: {_inline(', '.join(found))}"
        if trial.run_id:
            yield f"- run {_inline(trial.run_id)}"
        yield ""


def _test(suite: ElementTree.Element, name: str, seconds: float, status: str, lines: Sequence[str]) -> None:
    test = ElementTree.SubElement(suite, "testcase", name=_xml(name), classname=suite.get("name", ""), time=f"{seconds:.3f}")
    if status != "passed":
        tag = "error" if status == "error" else "failure"
        ElementTree.SubElement(test, tag, message=_xml(_cut(lines[0], 200) if lines else status)).text = _xml(
            "\n".join(lines)
        )


def _cut(text: str, length: int) -> str:
    words = " ".join(text.split())
    return words if len(words) <= length else words[: length - 1] + "…"


def _inline(text: str) -> str:
    """Text of models and people in a line of Markdown: shown as it is, never as a link, a picture or markup."""
    return _SPECIAL.sub(r"\\\1", _CONTROL.sub("\ufffd", " ".join(text.split())))


def _xml(text: str) -> str:
    return _CONTROL.sub("\ufffd", text)
