"""The figures by which answers from knowledge are judged: right sources, support, refusals, leaks.

Each is counted over the trials whose case asks for it, so that a data set needs no marks of its own: a case that names
sources counts for the sources, one that must be refused counts for the refusals.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from quarterdeck.evals.runner import Result, Trial

__all__ = ["FLOORED", "SAYING", "Figures", "Share", "figures", "right"]

SAYING = ("exact", "contains", "regex", "json", "rubric")  # checks of what an answer says
_JUDGING = frozenset((*SAYING, "sources", "refused", "admitted", "leaked"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """So many of so many."""

    good: int
    of: int

    @property
    def rate(self) -> float | None:
        """0 to 1; None where nothing was asked."""
        return self.good / self.of if self.of else None

    def __str__(self) -> str:
        return f"{self.good / self.of:.1%} ({self.good} of {self.of})" if self.of else "not asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What an evaluation found of answers from knowledge.

    Attributes:
        sources: Trials that cite every document they should, of those that should cite certain ones.
        support: Sentences that claim something and cite what bears it out, of those that claim something.
        refusal: Trials that say they have no answer, or none to a part, of those that should.
        answers: Trials that say what they should, of those of which something certain was expected.
        leaks: Trials that showed what the asker may not read.
    """

    sources: Share
    support: Share
    refusal: Share
    answers: Share
    leaks: int


FLOORED = ("sources", "support", "refusal", "answers")
"""Names of the figures that a gate may ask a least share of."""


def figures(cases: Sequence[Result]) -> Figures:
    """The figures over every trial of these cases."""
    trials = [trial for case in cases for trial in case.trials]
    cited = [trial for trial in trials if "supported" in trial.checks]
    return Figures(
        sources=_passed(trials, ("sources",)),
        support=Share(good=sum(t.supported for t in cited), of=sum(t.claims for t in cited)),
        refusal=_passed(trials, ("refused", "admitted")),
        answers=_passed(trials, SAYING),
        leaks=sum(bool(trial.checks.get("leaked")) for trial in trials),
    )


def right(trial: Trial) -> bool | None:
    """Whether what the answer says is right, however it came about; None where nothing tells."""
    found = list(_of(trial.checks, _JUDGING))
    return not any(found) if found else None


def _passed(trials: Sequence[Trial], names: Collection[str]) -> Share:
    asked = [faults for trial in trials if (faults := list(_of(trial.checks, names)))]
    return Share(good=sum(not any(faults) for faults in asked), of=len(asked))


def _of(checks: Mapping[str, tuple[str, ...]], names: Collection[str]) -> Iterator[tuple[str, ...]]:
    return (faults for name, faults in checks.items() if name in names)
