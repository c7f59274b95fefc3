from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from quarterdeck.core.errors import Misconfigured
from quarterdeck.evals.gate import judge
from quarterdeck.evals.render import as_json, as_junit, as_markdown
from quarterdeck.evals.report import Report, read_report, totals
from quarterdeck.evals.runner import Result, Trial

GOOD = Trial(status="passed", checks={"contains": ()}, latency_ms=10, answer="8 days [1].", sources=("a-1",), model="m")
BAD = Trial(
    status="failed",
    checks={"contains": ("does not contain “8”",), "cited": ()},
    latency_ms=30,
    answer="![x](http://127.0.0.1/x) | <b>no</b>\x1b[2J",
    tools=("search",),
    cost_usd=0.25,
    model="m",
    run_id="run_1",
)
BROKEN = Trial(status="error", checks={}, latency_ms=20, cost_usd=None, error="the model is away")
REPORT = Report(
    dataset="cases.jsonl",
    started_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    repeat=1,
    cases=(
        Result(id="good", input="How many days?", trials=(GOOD,), tags=("leave", "en")),
        Result(id="bad", input="Pipe | and *star*\nin two lines", trials=(BAD,), tags=("leave",)),
        Result(id="gone", input="Hello?", trials=(BROKEN,)),
    ),
)
VERDICT = judge(REPORT, threshold=0.8)


@pytest.mark.row("E1", part="reports")
def test_totals_count_cases_and_average_the_latency() -> None:
    found = totals(REPORT.cases)

    assert (found.cases, found.passed, found.failed, found.errors) == (3, 1, 1, 1)
    assert found.pass_rate == pytest.approx(1 / 3)
    assert found.average_latency_ms == 20
    assert found.cost_usd is None
    assert totals(REPORT.cases[:2]).cost_usd == 0.25


@pytest.mark.row("E1", part="reports")
def test_markdown_has_totals_and_a_line_for_each_case() -> None:
    page = as_markdown(REPORT, VERDICT)

    assert "**Failed.** 1 of 3 cases passed (33.3%), 80.0% are asked." in page
    assert "| pass rate | 33.3% |" in page
    assert "| average latency | 20 ms |" in page
    assert "| case | input | status | latency |" in page
    assert "| good | How many days? | passed | 10 ms |" in page
    assert "| bad | Pipe \\| and \\*star\\* in two lines | failed | 30 ms |" in page
    assert "| gone | Hello? | error | 20 ms |" in page
    assert "| leave | 2 | 1 | 50.0% |" in page
    assert "- contains: does not contain “8”" in page
    assert "- the model is away" in page


@pytest.mark.row("E1", part="reports")
def test_what_a_model_said_is_no_markup_in_the_report() -> None:
    page = as_markdown(REPORT, VERDICT)

    assert "![" not in page
    assert "<b>" not in page
    assert "\x1b" not in page


@pytest.mark.row("E1", part="reports")
def test_json_has_everything_and_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "report.json"

    path.write_text(as_json(REPORT, VERDICT), encoding="utf-8")

    data = json.loads(path.read_text(encoding="utf-8"))
    assert data["totals"]["passed"] == 1
    assert data["gate"] == {"passed": False, "reasons": list(VERDICT.reasons)}
    assert [case["status"] for case in data["cases"]] == ["passed", "failed", "error"]
    assert read_report(path) == REPORT


@pytest.mark.row("E1", part="reports")
def test_junit_has_a_test_for_each_case_and_one_for_the_gate() -> None:
    suites = ElementTree.fromstring(as_junit(REPORT, VERDICT).partition("\n")[2])

    suite = suites[0]
    tests = {test.get("name"): [(child.tag, child.text) for child in test] for test in suite}
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "2", "1")
    assert tests["good"] == []
    assert tests["bad"] == [("failure", "contains: does not contain “8”")]
    assert tests["gone"] == [("error", "the model is away")]
    assert tests["gate"][0][0] == "failure"


@pytest.mark.row("E1", part="repeats")
def test_repeated_cases_say_how_many_trials_passed_and_each_fault_once() -> None:
    repeated = Report(
        dataset="d", started_at=REPORT.started_at, repeat=3, cases=(Result(id="a", input="?", trials=(GOOD, BAD, BAD)),)
    )

    page = as_markdown(repeated, judge(repeated, threshold=0.8))

    assert "| a | ? | failed (1 of 3) | 23 ms |" in page
    assert "| pass rate (all of 3 trials) | 0.0% |" in page
    assert "| pass rate of trials | 33.3% |" in page
    assert page.count("does not contain") == 1


@pytest.mark.parametrize("text", ["", "[]", '{"dataset": "d"}', as_json(REPORT, VERDICT).replace('"failed"', '"so-so"')])
def test_what_is_no_report_is_no_baseline(tmp_path: Path, text: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(Misconfigured, match="is no report"):
        read_report(path)


@pytest.mark.row("E1", part="reports")
@pytest.mark.parametrize(
    "said", ["see https://evil.example/x", "see WWW.evil.example", "write to a@evil.example", "\U000e0041"]
)
def test_a_bare_address_is_no_link_and_hidden_text_is_shown_in_the_report(said: str) -> None:
    case = Result(id="one", input=said, trials=(replace(BAD, answer=said),))
    page = as_markdown(replace(REPORT, cases=(case,)), VERDICT)

    assert said not in page


@pytest.mark.row("E1", part="reports")
@pytest.mark.parametrize("said", ["1. one", "- one", "+ one", "=== one", "---"])
def test_what_was_asked_begins_no_list_and_no_heading(said: str) -> None:
    case = Result(id="one", input=said, trials=(BAD,))
    page = as_markdown(replace(REPORT, cases=(case,)), VERDICT)

    assert f"\n{said}" not in page
