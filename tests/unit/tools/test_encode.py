"""Whatever a tool returns becomes bounded, clean text, or a typed error."""

from __future__ import annotations

import itertools
import json
from collections import deque
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from quarterdeck.core.text import without_hidden
from quarterdeck.tools.encode import Unserialisable, clean, encode


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 2


@dataclass
class Point:
    x: int
    y: float


class Model(BaseModel):
    name: str
    points: list[Point]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain text", "plain text"),
        ("", ""),
        (None, "null"),
        (True, "true"),
        (7, "7"),
        (1.5, "1.5"),
        (float("nan"), '"nan"'),
        (float("inf"), '"inf"'),
        (b"bytes", '"bytes"'),
        (b"\xff\xfe", '"//4="'),
        ({"b", "a"}, '["a", "b"]'),
        (frozenset({2, 1}), "[1, 2]"),
        ((1, "x"), '[1, "x"]'),
        (deque([1]), "[1]"),
        (range(3), "[0, 1, 2]"),
        ((i for i in (1, 2)), "[1, 2]"),
        ({"a": 1}.keys(), '["a"]'),
        ({"größe": 1, 2: "b", None: 3, Colour.RED: 4}, '{"größe": 1, "2": "b", "null": 3, "red": 4}'),
        (datetime(2026, 1, 2, 3, 4, tzinfo=UTC), '"2026-01-02T03:04:00+00:00"'),
        (date(2026, 1, 2), '"2026-01-02"'),
        (timedelta(seconds=90), '"0:01:30"'),
        (Decimal("1.10"), '"1.10"'),
        (Fraction(1, 2), "0.5"),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (Path("a/b"), '"a/b"'),
        (ip_address("10.0.0.1"), '"10.0.0.1"'),
        (Colour.RED, '"red"'),
        (Level.HIGH, "2"),
        (Point(1, 2.5), '{"x": 1, "y": 2.5}'),
        (Model(name="m", points=[Point(1, 2.0)]), '{"name": "m", "points": [{"x": 1, "y": 2.0}]}'),
        ([[], {}, ()], "[[], {}, []]"),
        ("a\x00b", "ab"),
        ("\ud83d\ude00 \ud800", "😀 \ufffd"),
        ("pay \u202e01\u202c euros\U000e0041 \udb40\udc41", "pay 01 euros "),
        ({"k\x00": "\udfff"}, '{"k": "\ufffd"}'),
    ],
)
@pytest.mark.row("R6", part="results")
def test_what_has_a_sensible_text_gets_it(value: Any, text: str) -> None:
    assert encode(value, 20_000) == (text, False)


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append({"again": value})
    return value


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(1000):
        value = [value]
    return value


@pytest.mark.parametrize("value", [cyclic(), deep(), object(), len, {(1, 2): 3}, [object()], Point, [10**5000]], ids=type)
@pytest.mark.row("R6", part="results")
def test_what_has_none_is_a_typed_error(value: Any) -> None:
    with pytest.raises(Unserialisable):
        encode(value, 20_000)


def test_the_same_list_twice_is_no_cycle() -> None:
    shared = [1]

    assert encode([shared, shared], 100) == ("[[1], [1]]", False)


class Counting:
    """An endless iterator that knows how often it was asked."""

    def __init__(self, item: Any) -> None:
        self.item = item
        self.asked = 0

    def __iter__(self) -> Counting:
        return self

    def __next__(self) -> Any:
        self.asked += 1
        return self.item


@pytest.mark.parametrize("item", [None, 1, "x" * 10_000, [], {"a": [1, 2]}])
@pytest.mark.row("R6", part="results")
def test_an_endless_iterator_is_read_only_as_far_as_it_fits(item: Any) -> None:
    endless = Counting(item)

    text, truncated = encode(endless, 1000)

    assert truncated
    assert len(text) <= 1000
    assert endless.asked <= 1000


@pytest.mark.parametrize(
    "value", ["x" * 100_000_000, b"x" * 1_000_000, ["x" * 1000] * 100_000, {str(i): i for i in range(10**5)}]
)
@pytest.mark.row("R6", part="results")
def test_oversize_is_cut_and_says_so(value: Any) -> None:
    text, truncated = encode(value, 1000)

    assert truncated
    assert len(text) == 1000
    assert text.endswith("[cut: longer than 1000 characters]")


def test_a_key_is_kept_when_its_value_is_cut() -> None:
    text, truncated = encode({"body": "x" * 5000, "next": 1}, 1000)

    assert truncated
    assert text.startswith('{"body": "xxx')


def test_what_just_fits_is_not_cut() -> None:
    assert encode("x" * 1000, 1000) == ("x" * 1000, False)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.lists(json_values))
def test_json_values_come_through_unharmed(value: list[Any]) -> None:
    text, truncated = encode(value, 1_000_000)

    assert not truncated
    said = json.dumps(value, ensure_ascii=False)
    if "\\u0000" not in said and without_hidden(said) == said:
        assert json.loads(text) == value


@given(st.text(st.characters(), max_size=50))
def test_clean_text_can_always_be_stored(text: str) -> None:
    cleaned = clean(text)

    assert "\x00" not in cleaned
    cleaned.encode("utf-8")
    assert clean(cleaned) == cleaned


def test_a_slice_of_an_endless_counter_keeps_its_order() -> None:
    text, _ = encode(itertools.count(), 100)

    assert text.startswith("[0, 1, 2, 3")
