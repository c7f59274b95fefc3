"""Asks all cases, some at once. Every case ends with a result, whatever fails on the way."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import anyio

from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.evals.base import Asker, Case, Check, Outcome
from quarterdeck.evals.reading import claimed

__all__ = ["Result", "Status", "Trial", "run"]

Status = Literal["passed", "failed", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One asking of a case.

    Attributes:
        checks: Faults by the name of each check that had something to look at; none where it passed.
        error: Why there was nothing to check, or a check broke; empty otherwise.
        latency_ms: Of the run; of the attempt where no run ended.
        claims, supported: Sentences that claim something, and how many of them cite what bears them out.
        confidence, confidence_score: As the answer says; empty and None where it does not.
    """

    status: Status
    checks: Mapping[str, tuple[str, ...]]
    latency_ms: float
    answer: str = ""
    sources: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    cost_usd: float | None = 0.0
    model: str = ""
    run_id: str = ""
    error: str = ""
    claims: int = 0
    supported: int = 0
    confidence: str = ""
    confidence_score: float | None = None

    @property
    def faults(self) -> tuple[str, ...]:
        """What was wrong, in words for a person."""
        found = tuple(f"{name}: {fault}" for name, faults in self.checks.items() for fault in faults)
        return (*found, self.error) if self.error else found


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A case and its trials, of which there is at least one."""

    id: str
    input: str
    trials: tuple[Trial, ...]
    tags: tuple[str, ...] = ()

    @property
    def status(self) -> Status:
        """``passed`` if every trial did; otherwise the worst of them."""
        found = {trial.status for trial in self.trials}
        return "error" if "error" in found else "failed" if "failed" in found else "passed"

    @property
    def share(self) -> float:
        """Share of the trials that passed."""
        return sum(trial.status == "passed" for trial in self.trials) / len(self.trials)

    @property
    def latency_ms(self) -> float:
        """On average."""
        return sum(trial.latency_ms for trial in self.trials) / len(self.trials)


async def run(
    cases: Sequence[Case],
    asker: Asker,
    checks: Mapping[str, Check],
    *,
    parallel: int = 4,
    repeat: int = 1,
    on_done: Callable[[Case, Trial], None] = lambda case, trial: None,
) -> tuple[Result, ...]:
    """Ask each case `repeat` times, at most `parallel` questions at once.

    Args:
        checks: By the name the report gives them.
        on_done: Told of each trial as it ends, in no certain order.

    Returns:
        The results in the order of the cases.
    """
    trials: dict[str, list[Trial]] = {case.id: [] for case in cases}
    room = anyio.CapacityLimiter(parallel)

    async def attempt(case: Case) -> None:
        async with room:
            trial = await _tried(case, asker, checks)
        trials[case.id].append(trial)
        on_done(case, trial)

    async with anyio.create_task_group() as group:
        for _ in range(repeat):
            for case in cases:
                group.start_soon(attempt, case)
    return tuple(Result(id=case.id, input=case.input, trials=tuple(trials[case.id]), tags=case.tags) for case in cases)


async def _tried(case: Case, asker: Asker, checks: Mapping[str, Check]) -> Trial:
    began = time.monotonic()
    try:
        outcome = await asker.ask(case)
    except Exception as error:  # noqa: BLE001 - the edge of one case: whatever fails, the others are asked
        latency_ms = (time.monotonic() - began) * 1000
        return Trial(status="error", checks={}, latency_ms=round(latency_ms, 3), cost_usd=None, error=_told(error))
    return await _checked(case, outcome, checks)


async def _checked(case: Case, outcome: Outcome, checks: Mapping[str, Check]) -> Trial:
    found: dict[str, tuple[str, ...]] = {}
    broken: list[str] = []
    for name, check in checks.items():
        try:
            faults = check(case, outcome)
            if inspect.isawaitable(faults):
                faults = await faults
            if faults is not None:
                found[name] = (faults,) if isinstance(faults, str) else tuple(faults)
        except Exception as error:  # noqa: BLE001 - a check may be anybody's code, or a model that is away
            broken.append(f"the check {name} broke: {_told(error)}")
    claims, supported = claimed(outcome)
    return Trial(
        status="error" if broken else "failed" if any(found.values()) else "passed",
        checks=found,
        latency_ms=outcome.latency_ms,
        answer=outcome.answer,
        sources=tuple(source.id for source in outcome.sources),
        tools=outcome.tools,
        cost_usd=outcome.cost_usd,
        model=outcome.model,
        run_id=outcome.run_id,
        error="; ".join(broken),
        claims=claims,
        supported=supported,
        confidence=outcome.confidence,
        confidence_score=outcome.confidence_score,
    )


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, QuarterdeckError) else f"{type(error).__name__}: {error}"
