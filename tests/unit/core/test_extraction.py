"""Values that are taken out of an untrusted text: of bounded kinds, and no more than an outsider may say by them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.core.errors import InvalidInput, Misconfigured
from quarterdeck.core.extraction import Extraction, Slot

pytestmark = pytest.mark.row("G5", part="extraction")

SLOTS = {
    "boolean": Slot(kind="boolean"),
    "integer": Slot(kind="integer", minimum=0, maximum=9),
    "number": Slot(kind="number", minimum=-1.5, maximum=1.5, digits=1),
    "date": Slot(kind="date", earliest="2026-01-01", latest="2026-12-31"),
    "choice": Slot(kind="choice", one_of=("a", "b")),
    "id": Slot(kind="id", pattern="[0-9]+"),
    "text": Slot(kind="text", max_chars=5),
}


@pytest.mark.parametrize(
    ("kind", "value", "kept"),
    [
        ("boolean", False, False),
        ("integer", 9, 9),
        ("integer", 7.0, 7),
        ("number", 0.25, 0.2),
        ("date", "2026-12-31", "2026-12-31"),
        ("choice", "b", "b"),
        ("id", "42", "42"),
        ("text", "short", "short"),
        *((kind, None, None) for kind in SLOTS),
    ],
)
def test_a_value_inside_its_limits_is_kept(kind: str, value: Any, kept: Any) -> None:
    found = SLOTS[kind].read(value)

    assert (found, type(found)) == (kept, type(kept))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("boolean", 1),
        ("boolean", "true"),
        ("integer", True),
        ("integer", 10),
        ("integer", 1.5),
        ("integer", math.inf),
        pytest.param("integer", 10**400, id="an integer no float can hold"),
        pytest.param("number", -(10**400), id="a number no float can hold"),
        ("integer", "7"),
        ("number", math.nan),
        ("number", -2),
        ("date", "2027-01-01"),
        ("date", "2026-02-30"),
        ("date", "2026-05-01, said eve"),
        ("date", 20260501),
        ("choice", "c"),
        ("choice", ["a"]),
        ("id", ""),
        ("id", 42),
        ("text", "longer than that"),
        ("text", "a\nb"),
        ("text", "a\u202eb"),
    ],
)
def test_a_value_of_another_kind_or_outside_is_refused_without_being_quoted(kind: str, value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        SLOTS[kind].read(value)

    assert "eve" not in str(caught.value)


@given(value=st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner)))
def test_whatever_a_model_says_becomes_a_value_of_the_kind_or_nothing(value: Any) -> None:
    for kind in ("boolean", "integer", "number", "date", "choice"):
        try:
            found = SLOTS[kind].read(value)
        except InvalidInput:
            continue
        assert found is None or len(str(found)) <= 10


def test_bounded_kinds_have_a_capacity_and_texts_have_none() -> None:
    bits = {kind: slot.bits for kind, slot in SLOTS.items()}

    assert bits["id"] is bits["text"] is None
    assert bits["integer"] == pytest.approx(math.log2(11))
    assert bits["number"] == pytest.approx(math.log2(32))
    assert bits["date"] == pytest.approx(math.log2(366))
    assert Slot(kind="date").bits == pytest.approx(16.2, abs=0.1)


def test_values_are_endorsed_while_there_is_capacity_and_no_text_was_found() -> None:
    extraction = Extraction(slots=SLOTS)
    wide = Extraction(slots={str(n): Slot(kind="integer", minimum=0, maximum=2**40) for n in range(2)})

    assert extraction.free == ("id", "text")
    assert extraction.endorses({"boolean": True, "id": None}, 0.0)
    assert not extraction.endorses({"boolean": True, "id": "42"}, 0.0)
    assert not extraction.endorses({"boolean": True}, 256.0)
    assert not wide.endorses({"0": 1}, 0.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "integer"},
        {"kind": "integer", "minimum": 0},
        {"kind": "number", "minimum": 2, "maximum": 1},
        {"kind": "number", "minimum": 0, "maximum": math.inf},
        {"kind": "number", "minimum": 0, "maximum": 1, "digits": 30},
        {"kind": "date", "earliest": "yesterday"},
        {"kind": "date", "latest": "20260630"},
        {"kind": "date", "earliest": "2026-W01-1"},
        {"kind": "date", "earliest": "2026-01-02", "latest": "2026-01-01"},
        {"kind": "choice"},
        {"kind": "choice", "one_of": ("a", "a")},
        {"kind": "id"},
        {"kind": "text", "max_chars": 65},
    ],
)
def test_a_kind_without_its_limits_is_a_mistake(wrong: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured):
        Slot(**wrong)


def test_an_extraction_of_nothing_is_a_mistake() -> None:
    with pytest.raises(Misconfigured):
        Extraction()
