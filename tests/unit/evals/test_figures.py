"""The figures of answers from knowledge, and how far confidence can be believed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from quarterdeck.evals.calibration import calibration
from quarterdeck.evals.figures import figures, right
from quarterdeck.evals.gate import judge
from quarterdeck.evals.render import as_markdown
from quarterdeck.evals.report import Report, as_data
from quarterdeck.evals.runner import Result, Trial


def result(name: str, checks: dict[str, tuple[str, ...]], **more: object) -> Result:
    status = "failed" if any(checks.values()) else "passed"
    trial = Trial(status=status, checks=checks, latency_ms=1.0, **more)  # type: ignore[arg-type]  # a table of fields
    return Result(id=name, input="?", trials=(trial,))


GOOD = result(
    "good", {"sources": (), "contains": (), "supported": ()}, claims=2, supported=2, confidence="high", confidence_score=0.9
)
WRONG = result(
    "wrong",
    {"sources": ("does not cite a",), "contains": ("no",), "supported": ()},
    claims=2,
    supported=1,
    confidence="medium",
    confidence_score=0.6,
)
REFUSED = result("refused", {"refused": ()}, confidence="low", confidence_score=0.2)
PARTLY = result("partly", {"sources": (), "admitted": ("does not say",)}, claims=1, supported=1, confidence_score=0.7)
LEAKED = result("leaked", {"refused": ("cites b-1",), "leaked": ("cites b-1",)}, claims=1, confidence_score=0.5)


def report(*cases: Result) -> Report:
    return Report(dataset="cases.jsonl", started_at=datetime(2026, 1, 1, tzinfo=UTC), repeat=1, cases=cases)


@pytest.mark.row("K9", part="figures")
def test_each_figure_counts_the_trials_whose_case_asks_for_it() -> None:
    found = figures([GOOD, WRONG, REFUSED, PARTLY])

    assert (found.sources.good, found.sources.of) == (2, 3)
    assert (found.support.good, found.support.of) == (3, 4)
    assert (found.refusal.good, found.refusal.of) == (1, 2)
    assert (found.answers.good, found.answers.of) == (1, 2)
    assert found.leaks == 0


def test_a_figure_nobody_asked_for_has_no_rate() -> None:
    assert figures([REFUSED]).sources.rate is None
    assert str(figures([REFUSED]).sources) == "not asked"


@pytest.mark.row("K9", part="figures")
def test_a_floor_that_is_not_reached_fails_the_gate_and_is_told() -> None:
    verdict = judge(report(GOOD, WRONG), threshold=0.0, floors={"sources": 0.9, "support": 0.5})

    assert not verdict.passed
    assert verdict.reasons[1:] == ("sources: 50.0% (1 of 2), 90.0% are asked",)


def test_a_floor_of_what_no_case_asks_for_fails_the_gate() -> None:
    verdict = judge(report(REFUSED), threshold=0.0, floors={"sources": 0.9})

    assert not verdict.passed


@pytest.mark.row("K7", part="evaluated")
def test_one_leak_fails_the_gate_whatever_the_threshold() -> None:
    verdict = judge(report(GOOD, LEAKED), threshold=0.0)

    assert not verdict.passed
    assert verdict.reasons[1] == "1 answers showed what their asker may not read"


def test_an_answer_is_judged_by_what_it_says_and_not_by_how_it_came_about() -> None:
    slow = result("slow", {"contains": (), "latency": ("took 9 s",), "trajectory": ("called x",)})

    assert right(slow.trials[0]) is True
    assert right(WRONG.trials[0]) is False
    assert right(result("free", {"ended": ()}).trials[0]) is None


@pytest.mark.row("R17", part="calibration")
def test_calibration_tells_the_share_of_right_answers_by_level_and_by_score() -> None:
    found = calibration([GOOD, WRONG])

    assert found is not None
    assert [(one.name, one.answers, one.right) for one in found.levels] == [("medium", 1, 0), ("high", 1, 1)]
    assert [(one.name, one.answers, one.right) for one in found.bins] == [("0.6-0.8", 1, 0), ("0.8-1.0", 1, 1)]
    assert found.brier == pytest.approx((0.1**2 + 0.6**2) / 2)
    assert found.ece == pytest.approx((0.1 + 0.6) / 2)


@pytest.mark.row("R17", part="calibration")
def test_an_answer_that_claims_nothing_is_no_prediction() -> None:
    assert calibration([REFUSED]) is None


@pytest.mark.row("R17", part="calibration")
def test_report_shows_figures_and_calibration() -> None:
    made = report(GOOD, WRONG, REFUSED)

    text, data = as_markdown(made, judge(made, threshold=0.5)), as_data(made)

    assert "| source accuracy | 50.0% (1 of 2) |" in text
    assert "Brier score 0.185" in text
    assert "| high | 1 | 1 | 100.0% | 0.900 |" in text
    assert data["figures"]["refusal"] == {"good": 1, "of": 1}
    assert data["calibration"]["answers"] == 2
