from __future__ import annotations

from array import array
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.core.errors import InvalidInput
from quarterdeck.knowledge.base import Lookup, Space
from quarterdeck.knowledge.indexes.passages import Numbers, check_vector, criteria, is_edition, number_of, page, readable

SPACE = Space(embedder="directions", dim=2)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vpn-1", ("vpn", 1)),
        ("vpn-guide-12", ("vpn-guide", 12)),
        ("a--3", ("a-", 3)),
        ("line\nbreak-3", ("line\nbreak", 3)),
        ("vpn-01", None),
        ("vpn-0", None),
        ("vpn-٣", None),
        ("vpn-9999999999", None),
        ("-1", None),
        ("vpn-1\n", None),
        ("v\0-1", None),
    ],
)
def test_only_the_name_of_a_passage_names_one(name: str, expected: tuple[str, int] | None) -> None:
    assert number_of(name) == expected


@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=8), max_size=6))
def test_a_number_once_given_is_never_given_to_another_text(editions: Sequence[Sequence[str]]) -> None:
    given_to: dict[int, str] = {}
    standing: list[tuple[int, str]] = []
    following = 1

    for texts in editions:
        numbers = Numbers.after(standing, following)
        kept = dict(standing)
        standing = [(numbers.give(text), text) for text in texts]
        following = numbers.next

        assert len({number for number, _ in standing}) == len(standing)
        assert all(given_to.setdefault(number, text) == text for number, text in standing)
        for text in set(texts):
            before = sum(one == text for one in kept.values())
            assert sum(kept.get(number) == text for number, _ in standing) == min(before, texts.count(text))


def test_what_cannot_be_met_is_kept_as_a_condition() -> None:
    where = {"kind": frozenset({"b", "a", "\ud800"}), "owner": "\0", "x\0": "y", "none": frozenset[str]()}

    assert criteria(Lookup(text="", tenant="t", groups=frozenset(), where=where)) == {
        "kind": ["a", "b"],
        "owner": [],
        "x\0": [],
        "none": [],
    }


def test_groups_no_document_can_have_open_nothing() -> None:
    assert readable(["hr", "everyone\0", "\udfff", "everyone"]) == ["everyone", "hr"]


@pytest.mark.parametrize("numbers", [[1.0], [1.0, 2.0, 3.0], [0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0]])
def test_a_vector_that_is_none_of_the_space_is_refused(numbers: Sequence[float]) -> None:
    with pytest.raises(InvalidInput):
        check_vector(array("f", numbers), SPACE)


def test_numbers_no_engine_can_count_with_are_not_passed_on() -> None:
    assert [is_edition(number) for number in (None, 1, 0, -3, 2**40)] == [True, True, False, False, False]
    assert [page(limit) for limit in (-1, 0, 7, 2**40)] == [0, 0, 7, 2**31 - 1]
