"""A promise of reliability, what was found of it, and whether it was kept."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.measure import Measure

Verdict = Literal["kept", "shown", "missed", "unknown"]
_KNOWN = "## Known misses"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Figures that a line is measured by.

    Attributes:
        measure: A module of bench.measures.
        named: How the names of those begin that belong to the line.
    """

    measure: str
    named: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What is promised.

    Attributes:
        figures: Where it is measured; the budgets of these figures are the target.
        tests: Tests that show what has no figure, or measure it themselves, by their pytest names.
    """

    number: int
    behaviour: str
    target: str
    figures: tuple[Figures, ...] = ()
    tests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What became of a test.

    Attributes:
        told: Figures it recorded, in words.
    """

    test: str
    outcome: Literal["passed", "failed", "skipped"]
    told: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found of a line.

    Attributes:
        verdict: `kept` by its figures, `shown` by tests without figures, `missed` by a figure or a test, `unknown` where
            something could not be measured or run here.
        measured: One sentence for each figure and test.
    """

    line: Line
    verdict: Verdict
    measured: tuple[str, ...]


def judge(line: Line, figures: Mapping[str, Sequence[Measure]], tests: Mapping[str, Sequence[Shown]]) -> Found:
    """Put together what was found of a line.

    Args:
        figures: By the name of their measure; a measure that could not be taken is not in it.
        tests: Outcomes by the names of tests; several where a test has parameters.
    """
    measured: list[str] = []
    verdicts: set[Verdict] = set()
    for source in line.figures:
        mine = [one for one in figures.get(source.measure, ()) if one.name.startswith(source.named)]
        verdicts |= {_of_figure(one) for one in mine} or {"unknown"}
        measured += [_told(one) for one in mine] or [f"{source.measure}: could not be measured"]
    for test in line.tests:
        outcomes = tests.get(test, ())
        verdicts.add(_of_test(outcomes))
        measured += _shown(test, outcomes)
    return Found(line=line, verdict=_worst(verdicts), measured=tuple(measured))


def known_misses(page: str) -> frozenset[int]:
    """Numbers of the lines that a page of the documentation lists as missed, in the table under its heading."""
    _, _, table = page.partition(_KNOWN)
    rows = table.partition("\n## ")[0]
    return frozenset(int(number) for number in re.findall(r"^\| (\d+) \|", rows, re.MULTILINE))


def failures(found: Sequence[Found], known: Collection[int]) -> list[Found]:
    """Lines that are missed or could not be measured, but those that are known to be missed."""
    return [one for one in found if one.verdict == "unknown" or (one.verdict == "missed" and one.line.number not in known)]


def _of_figure(figure: Measure) -> Verdict:
    if figure.value is None:
        return "unknown"
    return "missed" if figure.holds is False else "kept"


def _of_test(outcomes: Sequence[Shown]) -> Verdict:
    if any(one.outcome == "failed" for one in outcomes):
        return "missed"
    if not outcomes or any(one.outcome == "skipped" for one in outcomes):
        return "unknown"
    return "kept" if any(one.told for one in outcomes) else "shown"


def _worst(verdicts: Collection[Verdict]) -> Verdict:
    order: tuple[Verdict, ...] = ("missed", "unknown", "kept", "shown")  # one figure is enough to be measured
    return next((verdict for verdict in order if verdict in verdicts), "unknown")


def _told(figure: Measure) -> str:
    if figure.value is None:
        return f"{figure.name}: {figure.note}"
    sign = {"at most": "≤", "at least": "≥"}[figure.bound]
    if figure.ratio is not None:
        value = f"{figure.ratio:.2f} x ({figure.value:.3g} {figure.unit} against {figure.reference:.3g})"
    else:
        value = (
            f"{figure.value:.3g} {figure.unit}".rstrip() if abs(figure.value) < 1000 else f"{figure.value:.0f} {figure.unit}"
        )
    bound = "" if figure.budget is None else f" ({sign} {figure.budget:g}{' x' if figure.ratio is not None else ''})"
    note = f"; {figure.note}" if figure.note else ""
    return f"{figure.name}: {value}{bound}{note}"


def _shown(test: str, outcomes: Sequence[Shown]) -> list[str]:
    name = test.rpartition("::")[2].removeprefix("test_").replace("_", " ")
    if not outcomes:
        return [f"{name}: the test did not run"]
    ended = sorted({one.outcome for one in outcomes})
    times = f", {len(outcomes)} times" if len(outcomes) > 1 else ""
    return [f"{name}: {' and '.join(ended)}{times}", *(told for one in outcomes for told in one.told)]
