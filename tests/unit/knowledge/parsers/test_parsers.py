from __future__ import annotations

import time

import pytest

from quarterdeck.core.errors import InvalidInput
from quarterdeck.knowledge.parsers import markdown, text
from quarterdeck.knowledge.parsers.base import Parsed
from quarterdeck.knowledge.parsers.front_matter import split_front_matter


def paths(parsed: Parsed) -> list[tuple[str, tuple[str, ...]]]:
    return [(parsed.text[block.start : block.end], block.heading_path) for block in parsed.blocks]


@pytest.mark.row("K1", part="markdown")
def test_headings_become_paths_and_the_first_the_title() -> None:
    parsed = markdown.parse(b"# Guide\n\nintro\n\n## A ##\none\n### B\ntwo\n\n## **C** [link](http://x)\nthree\n")

    assert parsed.title == "Guide"
    assert paths(parsed) == [("intro", ()), ("one", ("A",)), ("two", ("A", "B")), ("three", ("C link",))]


@pytest.mark.row("K1", part="markdown")
def test_underlined_headings_count_and_rules_and_code_do_not() -> None:
    parsed = markdown.parse(b"Guide\n=====\n\nPart\n----\none\n\n---\n\n```\n# no\n```\n#hash\n")

    assert parsed.title == "Guide"
    assert paths(parsed) == [("one", ("Part",)), ("```\n# no\n```", ("Part",)), ("#hash", ("Part",))]


@pytest.mark.row("K1", part="markdown")
def test_a_fence_that_is_never_closed_runs_to_the_end() -> None:
    parsed = markdown.parse(b"a\n\n~~~~\n# x\n~~~\ny")

    assert [block.lines for block in parsed.blocks] == [False, True]


@pytest.mark.row("K1", part="text")
def test_plain_text_is_paragraphs_and_a_hash_is_a_hash() -> None:
    parsed = text.parse("\ufeff# one\r\ntwo\r\n \r\n三\n".encode())

    assert parsed.text == "# one\ntwo\n \n三\n"
    assert paths(parsed) == [("# one\ntwo", ()), ("三", ())]


@pytest.mark.row("K1", part="text")
@pytest.mark.parametrize(
    "data", [b"\xff\xfe\x00a", "密码".encode("gbk"), b"a\x00b", b"\x89PNG\r\n\x1a\n\x00", b"\xed\xa0\x80"]
)
def test_bytes_that_are_no_utf8_text_are_refused(data: bytes) -> None:
    for parse in (text.parse, markdown.parse):
        with pytest.raises(InvalidInput, match=r"UTF-8|binary"):
            parse(data)


@pytest.mark.row("K1", part="markdown")
def test_front_matter_is_read_and_is_no_part_of_the_text() -> None:
    source = """---
# who may read it
title: "Pay: bands"   # quoted
groups: [hr, 'user:ann',]
tags:
  - one
  - two # second
owner: Büro 3
---
Text.
"""

    parsed = markdown.parse(source.encode())

    assert parsed.front == {"title": "Pay: bands", "groups": ("hr", "user:ann"), "tags": ("one", "two"), "owner": "Büro 3"}
    assert parsed.text == "Text.\n"


@pytest.mark.row("K1", part="markdown")
@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("---\ntitle: a\n", 1),
        ("---\ntitle a\n---\n", 2),
        ("---\ntitle: a\ngroups: [hr\n---\n", 3),
        ("---\ngroups: [hr, {a: b}]\n---\n", 2),
        ("---\ngroups: hr\ngroups: all\n---\n", 3),
        ("---\ntitle: 'open\n---\n", 2),
        ("---\nx: &anchor y\n---\n", 2),
        ("---\nx: !!python/object y\n---\n", 2),
        ("---\n- hr\n---\n", 2),
        ("---\nx: |\n---\n", 2),
        ("---\ngroups:\n  - hr\n  nested: x\n---\n", 4),
        ("---\nx: " + "y" * 2000 + "\n---\n", 2),
    ],
)
def test_broken_front_matter_is_an_error_with_its_line(source: str, line: int) -> None:
    with pytest.raises(InvalidInput, match=f"^line {line}:"):
        split_front_matter(source)


def test_an_empty_list_of_groups_is_an_empty_list() -> None:
    assert split_front_matter("---\ngroups: []\n---\n")[0] == {"groups": ()}
    assert split_front_matter("---\ngroups:\n---\n")[0] == {"groups": ()}


@pytest.mark.row("K1", part="markdown")
@pytest.mark.parametrize(
    "hostile",
    [" " * 400_000, "#" * 400_000, "# " + " #" * 200_000, "[" * 400_000, "|" * 400_000, "- " * 200_000, "`" * 400_000],
)
def test_a_hostile_file_is_read_in_time_that_grows_with_its_size(hostile: str) -> None:
    begun = time.process_time()

    markdown.parse(hostile.encode())

    # A quadratic pattern would take minutes; the bound leaves room for a slow machine.
    assert time.process_time() - begun < 5
