"""Ids are well formed, differ, and say the same thing for the same parts."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import pytest

from quarterdeck.core.errors import InvalidInput
from quarterdeck.core.ids import canonical_json, check_id, content_hash, hashed_id, new_id


def test_new_ids_are_uuids_of_version_seven_that_differ_and_come_in_order_of_time() -> None:
    made = [new_id() for _ in range(1000)]

    assert len(set(made)) == 1000
    assert all(UUID(each).version == 7 and UUID(each).variant == "specified in RFC 4122" for each in made)
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in made)
    stamps = [each[:12] for each in made]
    assert stamps == sorted(stamps)


def test_a_hashed_id_tells_where_one_part_ends_and_the_next_begins() -> None:
    assert hashed_id("a", "b") == hashed_id("a", "b")
    assert len({hashed_id("a", "b"), hashed_id("ab"), hashed_id("b", "a"), hashed_id("a", "b", "")}) == 4
    assert check_id(hashed_id("\ud800", "名")) == hashed_id("\ud800", "名")


@pytest.mark.parametrize("text", ["", "A", "a b", "../a", "a/b", "a\n", "a\x00", "é", "a" * 65, "a.b", "%2e"])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not an id"):
        check_id(text)


def test_equal_values_have_equal_hashes_whatever_the_order_of_their_keys() -> None:
    assert content_hash({"a": 1, "b": [2]}) == content_hash({"b": [2], "a": 1})
    assert len({content_hash(value) for value in (1, 1.5, True, "1", None, [1], {"a": 1})}) == 7


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": float("-inf")}])
def test_numbers_that_json_does_not_know_have_no_canonical_form(value: Any) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(value)
