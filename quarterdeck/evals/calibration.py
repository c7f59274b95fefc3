"""Is confidence worth its name? How often answers of each level and each score were right.

Only answers that claim something count. One that says it found nothing claims nothing, and its low confidence is no
prediction that it is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from quarterdeck.core.answers import Confidence
from quarterdeck.evals.figures import right
from quarterdeck.evals.runner import Result, Trial

__all__ = ["Bin", "Calibration", "calibration"]

_BINS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Answers of one level, or with scores of one range.

    Attributes:
        right: How many of them were right.
        mean_score: Of their confidence, 0 to 1.
    """

    name: str
    answers: int
    right: int
    mean_score: float

    @property
    def share_right(self) -> float:
        return self.right / self.answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Confidence beside what came true. Bins without answers are left out.

    Attributes:
        brier: Mean square of score minus truth (1 right, 0 wrong): 0 at best, 0.25 for always saying 0.5.
        ece: Expected calibration error: mean distance of score and share right over the bins, weighted by their answers.

    Source: Brier, "Verification of forecasts ...", Monthly Weather Review 78, 1950; Naeini, Cooper, Hauskrecht, "Obtaining
        well calibrated probabilities using Bayesian binning", AAAI 2015.
    """

    answers: int
    levels: tuple[Bin, ...]
    bins: tuple[Bin, ...]
    brier: float
    ece: float


def calibration(cases: Sequence[Result]) -> Calibration | None:
    """The calibration over every trial that claims something and can be judged; None if there is none."""
    judged = [
        (trial, trial.confidence_score, true)
        for case in cases
        for trial in case.trials
        if trial.claims and trial.confidence_score is not None and (true := right(trial)) is not None
    ]
    if not judged:
        return None
    scored = [(score, true) for _, score, true in judged]
    bins = _grouped(judged, [_range(place) for place in range(_BINS)], lambda trial, score: _range(_place(score)))
    levels = _grouped(judged, [level.value for level in Confidence], lambda trial, score: trial.confidence)
    return Calibration(
        answers=len(judged),
        levels=levels,
        bins=bins,
        brier=sum((score - true) ** 2 for score, true in scored) / len(scored),
        ece=sum(one.answers * abs(one.mean_score - one.share_right) for one in bins) / len(scored),
    )


def _grouped(
    judged: Sequence[tuple[Trial, float, bool]], names: Sequence[str], name_of: Callable[[Trial, float], str]
) -> tuple[Bin, ...]:
    groups: dict[str, list[tuple[float, bool]]] = {name: [] for name in names}
    for trial, score, true in judged:
        groups.setdefault(name_of(trial, score), []).append((score, true))
    return tuple(
        Bin(
            name=name,
            answers=len(members),
            right=sum(true for _, true in members),
            mean_score=sum(score for score, _ in members) / len(members),
        )
        for name, members in groups.items()
        if members
    )


def _place(score: float) -> int:
    return min(int(score * _BINS), _BINS - 1)


def _range(place: int) -> str:
    return f"{place / _BINS:.1f}-{(place + 1) / _BINS:.1f}"
