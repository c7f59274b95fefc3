"""For each check an outcome that passes and one that fails, and a case that asks nothing of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from quarterdeck.core.errors import Misconfigured
from quarterdeck.evals.base import Case, Expected, Outcome, Source
from quarterdeck.evals.checks import CHECKS, own_check

SAUNA = Source(
    id="sauna-1",
    document="sauna",
    title="The sauna › Opening hours",
    text="The sauna on the roof opens at 17:00 and closes at 22:00. Guests bring their own towel.",
)
NOTHING = Case(id="nothing", input="?")


def case(**asked: object) -> Case:
    expected = {name: asked.pop(name) for name in ("exact", "contains", "regex", "json") if name in asked}
    return Case(id="case", input="?", expected=Expected(**expected), **asked)  # type: ignore[arg-type]  # a table of cases


def told(name: str, asked: Case, outcome: Outcome) -> Sequence[str] | None:
    found = CHECKS[name](asked, outcome)
    assert found is None or isinstance(found, list)
    return found


def both(name: str, asked: Case, good: Outcome, bad: Outcome) -> Sequence[str]:
    """The faults of the bad one, once the good one has none and a case that does not ask is passed over."""
    assert told(name, asked, good) == []
    assert told(name, NOTHING, bad) is None
    faults = told(name, asked, bad)
    assert faults
    return faults


@pytest.mark.row("E2", part="exact")
def test_exact_compares_the_whole_answer_without_marks_and_spacing() -> None:
    good = Outcome(answer="The code is\n 1234 [1].", sources=(SAUNA,))

    faults = both("exact", case(exact="The code is 1234."), good, Outcome(answer="The code is 1234, I think."))

    assert faults == ["the answer is not “The code is 1234.”"]


@pytest.mark.row("E2", part="contains")
def test_contains_wants_every_text_whatever_its_case() -> None:
    good = Outcome(answer="You may take THIRTY [1] days; 1.5 小时 more.", sources=(SAUNA,))

    faults = both("contains", case(contains=("thirty days", "1.5 小时")), good, Outcome(answer="Thirty days."))

    assert faults == ["does not contain “1.5 小时”"]


@pytest.mark.row("E2", part="contains")
@pytest.mark.parametrize(
    "answer", ["After 18 attempts.", "After 8.5 attempts.", "After 1,8 attempts.", "After 80 attempts."]
)
def test_a_number_is_not_contained_in_another_number(answer: str) -> None:
    assert told("contains", case(contains=("8",)), Outcome(answer=answer)) == ["does not contain “8”"]
    assert told("contains", case(contains=("8",)), Outcome(answer="After 8. Then wait.")) == []


@pytest.mark.row("E2", part="regex")
def test_regex_is_found_in_the_answer() -> None:
    asked = case(regex=r"\bT-\d{4}\b")

    faults = both("regex", asked, Outcome(answer="Ticket T-1001 is open."), Outcome(answer="Ticket T-1 is open."))

    assert faults == [r"does not match \bT-\d{4}\b"]


@pytest.mark.row("E2", part="regex")
def test_a_pattern_that_would_take_for_ever_takes_no_time() -> None:
    assert told("regex", case(regex=r"(a|a)*(a+)+$"), Outcome(answer="a" * 50_000 + "!")) != []


@pytest.mark.row("E2", part="json")
def test_json_is_compared_by_what_is_expected_of_it() -> None:
    asked = case(json={"city": "Oslo", "days": [{"rain": True}, {}]})
    good = Outcome(answer='```json\n{"city": "Oslo", "days": [{"rain": true}, {"sun": 1}], "more": 1}\n```')

    faults = both("json", asked, good, Outcome(answer="", output={"city": "Bergen", "days": [{"rain": 1}, {}]}))

    assert faults == ['city is “"Bergen"”', "days[0].rain is “1”"]
    assert told("json", asked, Outcome(answer="", output={"city": "Oslo"})) == ["days is missing"]
    assert told("json", asked, Outcome(answer="", output={"city": "Oslo", "days": []})) == ["days has 0 items, not 2"]
    assert told("json", asked, Outcome(answer="Oslo, rain.")) == ["the answer is no JSON"]


@pytest.mark.row("E2", part="json")
def test_a_list_in_an_answer_is_no_mark() -> None:
    assert told("json", case(json={"days": [1]}), Outcome(answer='{"days": [1]}', sources=(SAUNA,))) == []
    assert told("exact", case(exact="a[2] = b"), Outcome(answer="a[2] = b [1]", sources=(SAUNA,))) == []


@pytest.mark.row("E2", part="sources")
@pytest.mark.parametrize("name", ["sauna", "sauna-1"])
def test_an_expected_document_or_passage_is_cited(name: str) -> None:
    good = Outcome(answer="At 17:00 [1].", sources=(SAUNA,))

    assert both("sources", case(expected_sources=(name,)), good, Outcome(answer="At 17:00.")) == [f"does not cite {name}"]


@pytest.mark.row("E2", part="cited")
def test_every_claim_cites_something() -> None:
    good = Outcome(answer="The sauna opens at 17:00 [1]. Let me know if that helps.", sources=(SAUNA,))
    bad = Outcome(answer="The sauna opens at 17:00 [1]. The pool costs 5 EUR.", sources=(SAUNA,))

    faults = both("cited", case(must_cite=True), good, bad)

    assert faults == ["claims without a source: “The pool costs 5 EUR.”"]
    assert told("cited", case(must_cite=True), Outcome(answer="At 17:00.")) == ["cites nothing"]


@pytest.mark.row("E2", part="supported")
def test_what_is_cited_says_what_the_sentence_says() -> None:
    good = Outcome(answer="The sauna opens at 17:00 [1].", sources=(SAUNA,))
    bad = Outcome(answer="The sauna opens at 9:00 [1].", sources=(SAUNA,))

    faults = both("supported", case(must_cite=True), good, bad)

    assert faults == ["is not borne out by its source: “The sauna opens at 9:00.”"]


@pytest.mark.row("E2", part="refused")
@pytest.mark.parametrize(
    "answer",
    [
        "I found nothing about it.",
        "I'm not allowed to share salaries.",
        "我没有找到相关内容。",
        "抱歉，我无法回答这个问题。",
    ],
)
def test_a_refusal_says_so_and_neither_cites_nor_proposes(answer: str) -> None:
    bad = Outcome(answer="It is 42 EUR [1].", sources=(SAUNA,), drafts=1)

    faults = both("refused", case(must_refuse=True), Outcome(answer=answer), bad)

    assert faults == ["does not say that it cannot answer", "cites sauna-1", "proposes a write"]


@pytest.mark.row("E2", part="trajectory")
def test_expected_tools_are_called_and_forbidden_ones_are_not() -> None:
    asked = case(expected_tools=("search", "search", "status"), forbidden_tools=("delete",))
    good = Outcome(answer="", tools=("status", "search", "search"))

    faults = both("trajectory", asked, good, Outcome(answer="", tools=("search", "delete")))

    assert faults == ["did not call search 1 times more", "did not call status", "called delete"]


@pytest.mark.row("E2", part="trajectory")
def test_the_order_of_tools_counts_where_it_is_asked_for() -> None:
    asked = case(expected_tools=("search", "status"), tools_in_order=True)

    faults = both(
        "trajectory",
        asked,
        Outcome(answer="", tools=("search", "x", "status")),
        Outcome(answer="", tools=("status", "search")),
    )

    assert faults == ["called status, search, not in the order search, status"]


@pytest.mark.row("E2", part="latency")
def test_latency_has_a_limit() -> None:
    asked = case(max_latency_ms=100.0)

    faults = both("latency", asked, Outcome(answer="", latency_ms=100), Outcome(answer="", latency_ms=250.4))

    assert faults == ["took 250 ms, more than 100"]


@pytest.mark.row("E2", part="cost")
def test_cost_has_a_limit_and_an_unknown_cost_is_too_much() -> None:
    asked = case(max_cost_usd=0.01)

    faults = both("cost", asked, Outcome(answer="", cost_usd=0.01), Outcome(answer="", cost_usd=0.02))

    assert faults == ["cost 0.020000 USD, more than 0.010000"]
    assert told("cost", asked, Outcome(answer="", cost_usd=None, model="m")) == [
        "nobody knows what it cost: m has no known price"
    ]


@pytest.mark.row("E2", part="ended")
def test_a_run_that_was_stopped_is_a_fault_whatever_the_case_asks() -> None:
    assert told("ended", NOTHING, Outcome(answer="", stop_reason="completed")) == []
    assert told("ended", NOTHING, Outcome(answer="", stop_reason="awaiting_approval")) == []
    assert told("ended", NOTHING, Outcome(answer="", stop_reason="turn_limit")) == ["the run stopped: turn_limit"]


def polite(case: Case, outcome: Outcome) -> list[str] | None:
    """A check of one's own."""
    return None if "rude" in case.tags else [] if "please" in outcome.answer else ["does not say please"]


@pytest.mark.row("E2", part="own")
def test_a_check_of_ones_own_is_a_function_by_name() -> None:
    check = own_check("tests.unit.evals.test_checks:polite")

    assert check(NOTHING, Outcome(answer="Wait, please.")) == []
    assert check(NOTHING, Outcome(answer="Wait.")) == ["does not say please"]
    assert check(Case(id="r", input="r", tags=("rude",)), Outcome(answer="Wait.")) is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("polite", "write module:function"),
        ("no_module_of_that_name:polite", "cannot be imported"),
        ("quarterdeck.evals.checks:polite", "has no function 'polite'"),
    ],
)
def test_a_check_that_is_not_there_is_told(name: str, said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        own_check(name)


@pytest.mark.row("E2", part="admitted")
def test_a_part_without_an_answer_must_be_admitted_beside_what_is_answered() -> None:
    good = Outcome(answer="It opens at 17:00. [1] I found nothing about the pool.", sources=(SAUNA,))

    faults = both("admitted", case(must_admit=True), good, Outcome(answer="It opens at 17:00. [1]", sources=(SAUNA,)))

    assert faults == ["does not say that a part is left without an answer"]


@pytest.mark.row("E2", part="leaked")
def test_what_the_asker_may_not_read_is_neither_cited_nor_said() -> None:
    asked = case(forbidden=("22:00",))
    closed = replace(SAUNA, closed=True)

    faults = told("leaked", asked, Outcome(answer="It closes at 22:00. [1]", sources=(closed,)))

    assert told("leaked", asked, Outcome(answer="I found nothing.")) == []
    assert told("leaked", NOTHING, Outcome(answer="It opens. [1]", sources=(SAUNA,))) == []
    assert told("leaked", NOTHING, Outcome(answer="I found nothing.")) is None
    assert faults == ["cites sauna-1, which is closed to who asks", "says “22:00”"]
