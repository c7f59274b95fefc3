"""May the change go on?

Enough cases pass, the figures are good enough, nothing leaked, and it is not worse than the baseline by more than chance
explains.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import comb

from quarterdeck.evals.figures import Figures, Share, figures
from quarterdeck.evals.report import Report, totals
from quarterdeck.evals.runner import Result

__all__ = ["SIGNIFICANT", "Comparison", "Verdict", "compare", "judge"]

SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The cases that two reports have in common, pair by pair.

    Attributes:
        pairs: How many they are.
        better, worse: Ids of those of which a larger, or a smaller, share of trials passes now.
        p: Chance of at least so many worse ones among those that differ, if neither report were the worse one.
    """

    pairs: int
    better: tuple[str, ...]
    worse: tuple[str, ...]
    p: float

    @property
    def regressed(self) -> bool:
        """More got worse than better, and hardly by chance."""
        return len(self.worse) > len(self.better) and self.p < SIGNIFICANT


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the gate says, and why, in words for a person."""

    passed: bool
    reasons: tuple[str, ...]
    comparison: Comparison | None = None


def compare(now: Sequence[Result], before: Sequence[Result]) -> Comparison:
    """Compare results case by case; cases that only one side has, or whose input is another one now, do not count.

    Args:
        before: The baseline.

    Source: the exact one-sided sign test over pairs; of single trials it is McNemar's test (Psychometrika 12, 1947) with
        the binomial distribution in place of its approximation.
    """
    known = {case.id: case for case in before}
    pairs = [(case, known[case.id]) for case in now if case.id in known and known[case.id].input == case.input]
    better = tuple(one.id for one, other in pairs if one.share > other.share)
    worse = tuple(one.id for one, other in pairs if one.share < other.share)
    return Comparison(pairs=len(pairs), better=better, worse=worse, p=_at_least(len(worse), len(worse) + len(better)))


def judge(
    report: Report, *, threshold: float, floors: Mapping[str, float] | None = None, baseline: Report | None = None
) -> Verdict:
    """The gate's verdict on a report.

    Args:
        threshold: Share of the cases that must pass, 0 to 1.
        floors: The least of each figure, by its name, 0 to 1. A leak fails the gate whatever they are.
        baseline: An earlier report of the same cases.
    """
    found = totals(report.cases)
    said = f"{found.passed} of {found.cases} cases passed ({found.pass_rate:.1%}), {threshold:.1%} are asked"
    short = tuple(_shortfalls(figures(report.cases), floors or {}))
    enough, reasons = found.pass_rate >= threshold and not short, (said, *short)
    if baseline is None:
        return Verdict(passed=enough, reasons=reasons)
    compared = compare(report.cases, baseline.cases)
    if not compared.pairs:
        nothing = "the baseline has none of these cases, so nothing could be compared with it"
        return Verdict(passed=False, reasons=(*reasons, nothing), comparison=compared)
    names = f" ({', '.join(compared.worse)})" if compared.worse else ""
    told = (
        f"of {compared.pairs} cases in common with the baseline {len(compared.worse)} got worse{names} and "
        f"{len(compared.better)} better, p = {compared.p:.3f}"
    )
    return Verdict(
        passed=enough and not compared.regressed,
        reasons=(*reasons, told + (": a regression" if compared.regressed else ": no regression")),
        comparison=compared,
    )


def _shortfalls(found: Figures, floors: Mapping[str, float]) -> Iterator[str]:
    if found.leaks:
        yield f"{found.leaks} answers showed what their asker may not read"
    for name, floor in floors.items():
        share: Share = getattr(found, name)
        if share.rate is None or share.rate < floor:
            yield f"{name}: {share}, {floor:.1%} are asked"


def _at_least(heads: int, throws: int) -> float:
    """Chance of at least so many heads of a fair coin."""
    ways: int = sum(comb(throws, each) for each in range(heads, throws + 1))
    return ways / (1 << throws)
