"""Configuration files are read without surprises, and every complaint names file and line."""

from __future__ import annotations

from typing import Any

import pytest

from quarterdeck.core.errors import Misconfigured
from quarterdeck.store.strict_yaml import MAX_BYTES, read_yaml


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("5", 5),
        ("-7", -7),
        ("2.5", 2.5),
        ("1e3", 1000.0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("on", "on"),
        ("10:30", "10:30"),
        ("007", "007"),
        ("0x1F", "0x1F"),
        ("2024-05-01", "2024-05-01"),
        ("1e999", "1e999"),
        (".inf", ".inf"),
        ("1.2.3", "1.2.3"),
        ("'5'", "5"),
        ('"true"', "true"),
        ("[1, two, [3]]", [1, "two", [3]]),
        ("{a: {b: 1}}", {"a": {"b": 1}}),
        ("|\n  two\n  lines", "two\nlines"),
    ],
)
def test_a_scalar_is_what_it_looks_like(written: str, meant: Any) -> None:
    document = read_yaml(f"key: {written}", "file.yaml")

    assert document.data == {"key": meant}
    assert type(document.data["key"]) is type(meant)


def test_an_empty_file_says_nothing() -> None:
    assert read_yaml("# only a comment\n", "file.yaml").data is None


def test_every_value_has_the_line_of_its_key() -> None:
    document = read_yaml("a: 1\nb:\n  - x\n  - y: 2\n    z:\n      w: 3\n", "file.yaml")

    assert document.line(("a",)) == 1
    assert document.line(("b",)) == 2
    assert document.line(("b", 1)) == 4
    assert document.line(("b", 1, "z", "w")) == 6
    assert document.line(("b", 1, "z", "missing", "deeper")) == 5
    assert document.line(("missing",)) == 1
    assert document.place(("b",)) == "file.yaml:2"


@pytest.mark.parametrize(
    ("text", "place", "complaint"),
    [
        ("a: &x [1]\nb: *x", "f:2", "aliases"),
        ("a: &x {k: 1}\nb:\n  <<: *x", "f:3", "aliases"),
        ("<<: {k: 1}", "f:1", "merge keys"),
        ("a: !!python/object/apply:os.system [ls]", "f:1", "tag"),
        ("a: !secret x", "f:1", "tag"),
        ("a: !!set {x}", "f:1", "tag"),
        ("a: 1\nb: 2\na: 3", "f:3", "line 1"),
        ("? [1, 2]\n: x", "f:1", "must be a text"),
        ("a: [1", "f:1", ""),
        ("a: 1\n  b: 2", "f:2", ""),
        ("a: 1\n---\nb: 2", "f:2", ""),
        ("a: 1\nb: \x07", "f:2", "U+0007"),
        ("a: 1\n# \U0001f600\nb: 'x\x00'", "f:3", "U+0000"),
        ("[" * 100 + "]" * 100, "f:1", "64"),
        ("[" * 500_000, "f:1", ""),
        ("# " + "x" * MAX_BYTES, "f:1", "1 MiB"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
def test_what_could_surprise_is_refused_with_its_line(text: str, place: str, complaint: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        read_yaml(text, "f")

    assert str(refused.value).startswith(f"{place}:")
    assert "\n" not in str(refused.value)
    assert complaint in str(refused.value)


def test_all_problems_of_a_file_are_told_at_once() -> None:
    with pytest.raises(Misconfigured) as refused:
        read_yaml("a: 1\na: 2\nb:\n  c: 1\n  c: 2\n", "f")

    assert [line.split(": ")[0] for line in str(refused.value).splitlines()] == ["f:2", "f:5"]
