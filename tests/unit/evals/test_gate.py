from __future__ import annotations

from datetime import UTC, datetime
from itertools import product

import pytest

from quarterdeck.evals.gate import compare, judge
from quarterdeck.evals.report import Report
from quarterdeck.evals.runner import Result, Trial


def results(marks: str, repeat: int = 1) -> tuple[Result, ...]:
    """One case a mark: ``+`` passed, ``-`` failed, a digit is how many of the trials passed."""

    def trials(mark: str) -> tuple[Trial, ...]:
        passed = {"+": repeat, "-": 0}.get(mark, int(mark) if mark.isdecimal() else 0)
        return tuple(Trial(status="passed" if one < passed else "failed", checks={}, latency_ms=1) for one in range(repeat))

    return tuple(Result(id=f"c{n}", input="?", trials=trials(mark)) for n, mark in enumerate(marks))


def report(marks: str) -> Report:
    return Report(dataset="d.jsonl", started_at=datetime(2026, 1, 1, tzinfo=UTC), repeat=1, cases=results(marks))


@pytest.mark.row("E1", part="threshold")
def test_enough_cases_must_pass() -> None:
    enough, short = judge(report("++++-"), threshold=0.8), judge(report("+++--"), threshold=0.8)

    assert (enough.passed, short.passed) == (True, False)
    assert short.reasons == ("3 of 5 cases passed (60.0%), 80.0% are asked",)


@pytest.mark.row("E1", part="baseline")
def test_some_loss_is_chance_and_more_of_it_is_a_regression() -> None:
    before = report("+" * 20)

    four = judge(report("-" * 4 + "+" * 16), threshold=0.5, baseline=before)
    five = judge(report("-" * 5 + "+" * 15), threshold=0.5, baseline=before)

    assert four.passed
    assert not five.passed
    assert five.reasons[1] == (
        "of 20 cases in common with the baseline 5 got worse (c0, c1, c2, c3, c4) and 0 better, p = 0.031: a regression"
    )


@pytest.mark.row("E1", part="baseline")
def test_gains_are_weighed_against_losses() -> None:
    compared = compare(results("-----+++++"), results("+++++-----"))

    assert (len(compared.worse), len(compared.better)) == (5, 5)
    assert not compared.regressed


@pytest.mark.row("E1", part="baseline")
@pytest.mark.parametrize(("worse", "better"), list(product(range(6), range(4))))
def test_the_chance_is_that_of_a_fair_coin(worse: int, better: int) -> None:
    throws = list(product((0, 1), repeat=worse + better))
    expected = sum(sum(throw) >= worse for throw in throws) / len(throws)

    compared = compare(results("-" * worse + "+" * better), results("+" * worse + "-" * better))

    assert compared.p == pytest.approx(expected)


@pytest.mark.row("E1", part="baseline")
def test_repeated_cases_are_compared_by_the_share_of_trials_that_passed() -> None:
    compared = compare(results("3142", repeat=4), results("4442", repeat=4))

    assert (compared.worse, compared.better) == (("c0", "c1"), ())


@pytest.mark.row("E1", part="baseline")
def test_only_cases_that_both_reports_have_are_compared() -> None:
    other = tuple(Result(id=one.id, input="another question", trials=one.trials) for one in results("+++++"))

    verdict = judge(
        report("+++++"),
        threshold=0.5,
        baseline=Report(dataset="d.jsonl", started_at=datetime(2026, 1, 1, tzinfo=UTC), repeat=1, cases=other),
    )

    assert compare(results("--"), results("+++++")).pairs == 2
    assert not verdict.passed
    assert "nothing could be compared" in verdict.reasons[1]
