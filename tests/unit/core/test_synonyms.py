from __future__ import annotations

from quarterdeck.core.everyday import EVERYDAY
from quarterdeck.core.synonyms import Meant, Synonyms
from quarterdeck.knowledge.analyze import stem

OFFICE = Synonyms([("days off", "leave"), ("day", "date"), ("年假", "休假", "PTO"), ("假", "假期")], stem)


def test_a_phrase_is_found_in_any_form_and_before_a_word_of_it() -> None:
    found, rest = OFFICE.read("How many Days off are left on this day?")

    assert found == [Meant(text="Days off", others=("leave",)), Meant(text="day", others=("date",))]
    assert rest.split() == ["How", "many", "are", "left", "on", "this", "?"]


def test_a_chinese_word_is_found_inside_a_run_and_the_longest_wins() -> None:
    found, rest = OFFICE.read("我的年假有几天")

    assert found == [Meant(text="年假", others=("休假", "PTO"))]
    assert rest == "我的 有几天"


def test_a_word_of_several_groups_has_the_others_of_each_and_groups_are_not_joined() -> None:
    synonyms = Synonyms([("bill", "invoice"), ("bill", "law")], stem)

    assert synonyms.read("bills")[0] == [Meant(text="bills", others=("invoice", "law"))]
    assert synonyms.read("law")[0] == [Meant(text="law", others=("bill",))]


def test_without_groups_a_text_stays_as_it_is() -> None:
    assert Synonyms((), stem).read("any 文字 at all") == ([], "any 文字 at all")


def test_everyday_groups_have_at_least_two_words_and_none_twice() -> None:
    assert all(len(group) > 1 and len(set(group)) == len(group) and all(group) for group in EVERYDAY)
