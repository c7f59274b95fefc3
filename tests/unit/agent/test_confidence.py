"""Confidence comes from evidence: each missing piece lowers it, and a model's own claim never raises it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.agent.confidence import Evidence, claimed_by, evidence_of, judge, without_claim
from quarterdeck.core.answers import Confidence, Passage
from quarterdeck.core.labels import PUBLIC, Integrity, Label
from quarterdeck.knowledge.cite import resolve

GOOD = Evidence(supports=(1.0, 0.9), relevance=1.0)
QUESTION = "When does the sauna on the roof close?"


def passage(name: str, text: str, score: float = 1.0) -> Passage:
    label = Label(integrity=Integrity.TRUSTED, readers=PUBLIC)
    return Passage(id=f"{name}-1", doc_id=name, title=name.title(), text=text, label=label, score=score)


def found(*passages: Passage) -> dict[str, Passage]:
    return {one.id: one for one in passages}


SAUNA = passage("sauna", "The sauna on the roof closes at 22:00.")

unit = st.floats(0, 1)
evidences = st.builds(
    Evidence,
    supports=st.lists(unit, max_size=4).map(tuple),
    uncited=st.integers(0, 3),
    removed=st.integers(0, 3),
    relevance=st.none() | unit,
    standing=unit,
    agreeing=st.integers(0, 2),
    differing=st.integers(0, 2),
    told=st.booleans(),
    claimed=st.none() | unit,
    search_failed=st.booleans(),
    broken=st.booleans(),
)


@given(evidences)
@pytest.mark.row("R17", part="computed")
def test_every_evidence_gives_a_score_of_zero_to_one(evidence: Evidence) -> None:
    judged = judge(evidence)

    assert 0 <= judged.score <= 1


@given(evidences)
@pytest.mark.row("R11", part="review")
def test_without_sources_or_with_an_uncited_claim_it_is_never_high_and_with_a_broken_rule_always_low(
    evidence: Evidence,
) -> None:
    level = judge(evidence).level

    assert evidence.supports or level is not Confidence.HIGH
    assert not evidence.uncited or level is not Confidence.HIGH
    assert not evidence.broken or level is Confidence.LOW


@given(evidences, unit)
@pytest.mark.row("R17", part="claimed")
def test_what_a_model_claims_of_itself_never_raises_it(evidence: Evidence, claimed: float) -> None:
    silent, claiming = replace(evidence, claimed=None), replace(evidence, claimed=claimed)

    assert judge(claiming).score <= judge(silent).score


@pytest.mark.row("R17", part="computed")
def test_well_supported_sentences_of_passages_that_speak_of_the_question_are_of_high_confidence() -> None:
    judged = judge(GOOD)

    assert judged.level is Confidence.HIGH


@pytest.mark.parametrize(
    "worse",
    [
        {"supports": (1.0, 0.5)},
        {"uncited": 1},
        {"removed": 1},
        {"relevance": 0.5},
        {"relevance": None},
        {"standing": 0.4},
        {"differing": 1},
        {"claimed": 0.3},
        {"search_failed": True},
        {"broken": True},
    ],
    ids=lambda worse: next(iter(worse)),
)
@pytest.mark.row("R17", part="computed")
def test_each_missing_piece_of_evidence_lowers_it_and_is_named(worse: dict[str, object]) -> None:
    judged = judge(replace(GOOD, **worse))  # type: ignore[arg-type]  # a table of fields

    assert judged.score < judge(GOOD).score
    assert set(judged.reasons) - set(judge(GOOD).reasons)


def test_another_document_that_says_the_same_raises_it_a_little() -> None:
    weak = replace(GOOD, relevance=0.6)

    assert judge(weak).score < judge(replace(weak, agreeing=1)).score < judge(GOOD).score


def test_an_answer_from_tools_alone_is_of_medium_and_one_from_nothing_of_low_confidence() -> None:
    told, nothing = judge(Evidence(told=True)), judge(Evidence())

    assert (told.level, nothing.level) == (Confidence.MEDIUM, Confidence.LOW)


@pytest.mark.row("R17", part="agreement")
def test_documents_that_agree_and_documents_that_differ_are_told_apart() -> None:
    same = passage("roof", "On the roof the sauna closes at 22:00 sharp.")
    other = passage("old-rules", "The sauna on the roof closes at 20:00.")
    answer = "The sauna on the roof closes at 22:00. [sauna-1]"

    agreed = evidence_of(resolve(answer, found(SAUNA, same)), found(SAUNA, same), QUESTION)
    differed = evidence_of(resolve(answer, found(SAUNA, other)), found(SAUNA, other), QUESTION)

    assert (agreed.agreeing, agreed.differing) == (1, 0)
    assert (differed.agreeing, differed.differing) == (0, 1)


def test_a_sentence_its_passage_does_not_bear_out_counts_as_removed() -> None:
    cited = resolve("The sauna on the roof closes at 23:00. [sauna-1]", found(SAUNA))

    evidence = evidence_of(cited, found(SAUNA), QUESTION)

    assert (evidence.supports, evidence.removed) == ((), 1)


def test_relevance_is_the_share_of_the_question_and_unknown_between_languages() -> None:
    cited = resolve("The sauna on the roof closes at 22:00. [sauna-1]", found(SAUNA))

    english, chinese = (evidence_of(cited, found(SAUNA), question) for question in (QUESTION, "桑拿几点关门？"))

    assert english.relevance == 1.0
    assert chinese.relevance is None


def test_what_tools_told_counts_for_the_question_and_need_not_be_cited() -> None:
    answer = "The sauna on the roof closes at 22:00. [sauna-1] Ticket T-1 is open."
    cited = resolve(answer, found(SAUNA))
    question = "When does the sauna on the roof close, and is ticket T-1 open?"

    alone = judge(evidence_of(cited, found(SAUNA), question))
    told = judge(evidence_of(cited, found(SAUNA), question, told=["ticket T-1: open"]))

    assert (alone.level, told.level) == (Confidence.LOW, Confidence.MEDIUM)


def test_citing_a_passage_far_below_the_best_is_noticed() -> None:
    passages = found(replace(SAUNA, score=0.3), passage("pool", "The pool is closed.", 0.9))
    cited = resolve("The sauna on the roof closes at 22:00. [sauna-1]", passages)

    assert evidence_of(cited, passages, QUESTION).standing == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("text", "rest", "claimed"),
    [
        ("It closes at 22:00.\n\nConfidence: high", "It closes at 22:00.", 0.9),
        ("It closes at 22:00.\n**Confidence:** 0.4", "It closes at 22:00.", 0.4),
        ("It closes at 22:00.\nConfidence: 80 %.", "It closes at 22:00.", 0.8),
        ("22:00 关门。\n置信度：低", "22:00 关门。", 0.2),
        ("Confidence: high is what we want.", "Confidence: high is what we want.", None),
        ("It closes at 22:00.\nConfidence: 800 %", "It closes at 22:00.\nConfidence: 800 %", None),
    ],
)
@pytest.mark.row("R17", part="claimed")
def test_a_last_line_that_states_confidence_is_read_and_taken_out(text: str, rest: str, claimed: float | None) -> None:
    assert without_claim(text) == (rest, claimed)


@pytest.mark.parametrize(
    ("output", "claimed"),
    [
        ({"confidence": "Low"}, 0.2),
        ({"confidence": 0.7}, 0.7),
        ({"confidence": True}, None),
        ({"confidence": 7}, None),
        ({"confidence": "quite"}, None),
        ([], None),
    ],
)
def test_a_typed_answer_may_state_confidence(output: object, claimed: float | None) -> None:
    assert claimed_by(output) == claimed
