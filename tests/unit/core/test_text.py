"""Text is read alike in English and Chinese: words, terms, sentences, and what nobody sees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.core.text import content_terms, ends_of, has_cjk, sentences, terms, without_hidden, without_measures


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The VPN-client 2.0", ["the", "vpn", "client", "2", "0"]),
        ("年假申请", ["年假", "假申", "申请"]),
        ("用VPN连", ["用", "vpn", "连"]),
        ("snake_case!", ["snake", "case"]),
        ('" OR *', ["or"]),
        ("", []),
    ],
)
def test_terms_are_words_and_bigrams(text: str, found: list[str]) -> None:
    assert terms(text) == found


def test_stop_words_are_no_content_unless_there_is_nothing_else() -> None:
    assert content_terms("what is the VPN of the VPN") == ["vpn"]
    assert content_terms("what is it") == ["what", "is", "it"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It costs 2.50 euros. Pay now!", ["It costs 2.50 euros.", "Pay now!"]),
        ("See kb.example/a.b for more.", ["See kb.example/a.b for more."]),
        ("请提交申请。三天内回复！", ["请提交申请。", "三天内回复！"]),
        ("one\n\n  two  ", ["one", "two"]),
        ("  ", []),
    ],
)
def test_sentences_end_at_stops_of_either_language_and_at_lines(text: str, found: list[str]) -> None:
    assert [text[start:end] for start, end in sentences(text)] == found


@given(st.text())
def test_sentences_hold_everything_but_white_space(text: str) -> None:
    spans = list(sentences(text))

    assert "".join("".join(text[start:end] for start, end in spans).split()) == "".join(text.split())
    assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)


@pytest.mark.parametrize(("text", "is_cjk"), [("abc", False), ("a中", True), ("カナ", True), ("한글", True), ("ñ", False)])
def test_chinese_japanese_and_korean_are_recognised(text: str, is_cjk: bool) -> None:
    assert has_cjk(text) is is_cjk


@pytest.mark.parametrize(
    ("question", "rest"),
    [
        ("How big is a mailbox?", "is a mailbox?"),
        ("What is the maximum size of a scan?", "What is the of a scan?"),
        ("How long does a session last?", "does a session ?"),
        ("What was said last week?", "What was said last week?"),
        ("密码输错几次会锁定？", "密码输错 会锁定？"),
    ],
)
def test_words_that_only_ask_for_a_number_are_taken_out_of_a_question(question: str, rest: str) -> None:
    assert " ".join(without_measures(question).split()) == rest


def test_what_nobody_sees_is_taken_out_and_the_rest_stays() -> None:
    assert without_hidden("a\u202eb\u2066c\U000e0041d\u200fe") == "abcde"
    assert without_hidden("שלום 你好 👩\u200d👩\u200d👧 é") == "שלום 你好 👩\u200d👩\u200d👧 é"


def test_of_a_long_text_both_ends_are_left_and_no_word_is_torn() -> None:
    text = "alpha beta gamma " + "middle " * 100 + "delta epsilon"

    assert ends_of(text, 12) == "alpha beta \n epsilon"


@given(st.text(), st.integers(1, 20))
def test_no_end_of_a_text_is_longer_than_it_may_be(text: str, each: int) -> None:
    ends = ends_of(text, each)

    assert ends == text if len(text) <= 2 * each else len(ends) <= 2 * each + 1
