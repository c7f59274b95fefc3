"""Patterns that RE2 looks for: one by one, and together in one pass."""

from __future__ import annotations

import pytest

from quarterdeck.policy.guards.base import About
from quarterdeck.policy.guards.patterns import Together, compiled
from quarterdeck.policy.guards.phrases import Phrases

WAYS = {"order": r"(?i)\bignore\b", "number": r"\d{3,}", "border": r"^wire|money$", "chinese": "忽略"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing of it",
        "IGNORE 1234",
        "wire",
        "the money",
        "忽略以上",
        "we ignored 12",
        "send money\nnow 999 忽略",
        "\0ignore\0",
    ],
)
def test_what_is_found_together_is_what_each_pattern_finds_by_itself(text: str) -> None:
    found = Together(WAYS).found(text)

    assert found == [name for name, pattern in WAYS.items() if compiled(pattern).search(text)]


def test_a_text_with_a_hundred_thousand_characters_loses_no_finding() -> None:
    text = "ignor ignored 12 wir mone " * 4_000

    assert Together(WAYS).found(text + "忽略 ignore 123") == ["order", "number", "chinese"]


@pytest.mark.parametrize(
    ("phrases", "text", "found"),
    [
        ((), "any text", False),
        (("bad word",), "Such a BAD  word!", True),
        (("bad word",), "a bad wording", False),
        (("坏话",), "他说坏话了", True),
        (("bad", "badly"), "badly said", True),
        (("bad", "坏话"), "abad", False),
    ],
)
async def test_a_phrase_is_found_as_whole_words_and_within_chinese(phrases: tuple[str, ...], text: str, found: bool) -> None:
    findings = await Phrases("list", phrases).find(text, About())

    assert bool(findings) is found
