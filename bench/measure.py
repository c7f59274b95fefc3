"""A measure beside its budget, and how CPU time is taken."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Work = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One figure.

    Attributes:
        value: None if it could not be measured here; the note says what is missing.
        reference: The same work done in the plainest way, in the same run and unit; None where there is none.
        ratio: value / reference, or in the middle of those of pairs.
        budget: Bound of the ratio where there is a reference, else of the value; None when it is only told.
        bound: Whether the budget is the most it may be, or the least.
        holds: Whether the budget holds; None without one.
        note: What a reader must know to read the figure.
    """

    name: str
    value: float | None
    unit: str
    reference: float | None = None
    ratio: float | None = None
    budget: float | None = None
    holds: bool | None = None
    note: str = ""
    bound: Literal["at most", "at least"] = "at most"


def absolute(name: str, value: float, unit: str, *, budget: float | None = None, note: str = "") -> Measure:
    """A figure whose budget is in its own unit."""
    holds = None if budget is None else value <= budget
    return Measure(name=name, value=value, unit=unit, budget=budget, holds=holds, note=note)


def at_least(name: str, value: float, unit: str, *, budget: float | None = None, note: str = "") -> Measure:
    """A figure that must not be smaller than its budget."""
    holds = None if budget is None else value >= budget
    return Measure(name=name, value=value, unit=unit, budget=budget, holds=holds, note=note, bound="at least")


def relative(
    name: str,
    value: float,
    unit: str,
    *,
    reference: float,
    ratio: float | None = None,
    budget: float | None = None,
    note: str = "",
) -> Measure:
    """A figure whose budget is a multiple of the reference: it holds on slow and fast machines alike.

    Args:
        ratio: Where it was taken pair by pair; else that of the two figures.
    """
    ratio = value / reference if ratio is None else ratio
    holds = None if budget is None else ratio <= budget
    return Measure(
        name=name, value=value, unit=unit, reference=reference, ratio=ratio, budget=budget, holds=holds, note=note
    )


def missing(name: str, what: str) -> Measure:
    """A figure that is not there, by name, with what it would need."""
    return Measure(name=name, value=None, unit="", note=f"not measured: {what}")


async def or_missing(name: str, work: Coroutine[Any, Any, Sequence[Measure]]) -> Sequence[Measure]:
    """The figures of one part of a measure; where it fails the figure `name` is missing, and the other parts go on."""
    try:
        return await work
    except Exception as error:
        return [missing(name, f"{type(error).__name__}: {error}"[:500])]


async def cpu_ms(work: Work) -> float:
    """CPU milliseconds of this process, all threads, while `work` is done."""
    before = time.process_time()
    await work()
    return (time.process_time() - before) * 1e3


async def interleaved(works: Sequence[Work], *, repetitions: int) -> list[float]:
    """Median CPU milliseconds of each work.

    They take turns, so that a disturbance of the machine hits all of them; a first round warms up and is not counted.
    """
    for work in works:
        await work()
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(repetitions):
        for index, work in enumerate(works):
            taken[index].append(await cpu_ms(work))
    return [statistics.median(times) for times in taken]


async def paired(reference: Work, work: Work, *, repetitions: int) -> tuple[float, float, float]:
    """Median CPU milliseconds of both, and the median of the ratios of two that were done right after one another.

    A machine whose speed drifts by more than the two differ moves both of a pair alike. Which of them is first alternates; a
    first round warms up and is not counted.
    """
    await reference()
    await work()
    theirs: list[float] = []
    ours: list[float] = []
    for turn in range(repetitions):
        for each, taken in ((reference, theirs), (work, ours))[:: 1 if turn % 2 else -1]:
            taken.append(await cpu_ms(each))
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return statistics.median(theirs), statistics.median(ours), statistics.median(ratios)
