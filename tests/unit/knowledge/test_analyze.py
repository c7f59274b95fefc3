from __future__ import annotations

import pytest

from quarterdeck.knowledge.analyze import MAX_QUERY_TERMS, Vocabulary, presplit, query_terms, statements, stem, topic_terms


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in statements(text)]


@pytest.mark.parametrize(
    "forms",
    [
        ("reset", "resets", "resetting"),
        ("install", "installed", "installing", "installation", "installs"),
        ("approve", "approved", "approving", "approval", "approvals"),
        ("policy", "policies"),
        ("charge", "charges", "charging", "charger"),
        ("reimburse", "reimbursed", "reimbursement"),
    ],
)
def test_inflected_forms_share_a_stem(forms: tuple[str, ...]) -> None:
    assert len({stem(form) for form in forms}) == 1


@pytest.mark.parametrize("word", ["vpn", "as", "tls13", "年假", "naïve", "bus"])
def test_short_words_names_with_digits_and_other_scripts_are_their_own_stem(word: str) -> None:
    assert stem(word) == word


def test_words_that_frame_a_question_are_no_topic() -> None:
    assert topic_terms("Could you please tell me how I can reset my password?") == [stem("reset"), stem("password")]
    assert topic_terms("请问我们怎么申请年假？") == ["申请", "请年", "年假"]
    assert topic_terms("what is it?") == []


def test_no_chinese_bigram_straddles_a_question_word() -> None:
    assert topic_terms("年假怎么算") == ["年假", "算"]


def test_a_vocabulary_knows_forms_of_its_words_and_single_characters() -> None:
    words = Vocabulary("Approvals are given weekly. 年假规定")

    assert stem("approve") in words
    assert "年" in words
    assert "病" not in words
    assert words.share(["年假", "病假"]) == 0.5
    assert words.share([]) == 0.0


def test_a_very_long_query_keeps_a_bounded_number_of_terms() -> None:
    assert len(query_terms(" ".join(f"word{n}" for n in range(1000)))) == MAX_QUERY_TERMS


def test_what_is_indexed_are_words_and_bigrams() -> None:
    assert presplit("VPN 连接说明, v2!") == "vpn 连接 接说 说明 v2"


def test_neither_an_abbreviation_nor_an_item_number_ends_a_statement() -> None:
    assert sentences("Use a client, e.g. Harbour. It works until 5 p.m. on Fridays. Done.") == [
        "Use a client, e.g. Harbour.",
        "It works until 5 p.m. on Fridays.",
        "Done.",
    ]
    assert sentences("1. Open it.\n2. Close it.") == ["1. Open it.", "2. Close it."]
    assert sentences("Yes. Go on! 好的。继续") == ["Yes.", "Go on!", "好的。", "继续"]
