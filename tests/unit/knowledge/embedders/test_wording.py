"""What an embedder reads of a passage."""

from __future__ import annotations

from quarterdeck.knowledge.base import Chunk
from quarterdeck.knowledge.embedders.wording import worded


def chunk(*headings: str) -> Chunk:
    return Chunk(text="Five days can be carried over.", start=0, end=30, heading_path=headings)


def test_a_passage_is_read_with_its_title_and_headings() -> None:
    assert worded("Annual leave", chunk("Carrying over")) == "Annual leave\nCarrying over\nFive days can be carried over."


def test_a_heading_that_is_the_title_is_read_once() -> None:
    assert worded("Annual leave", chunk("Annual leave")) == "Annual leave\nFive days can be carried over."


def test_a_passage_without_title_and_headings_is_its_text() -> None:
    assert worded("", chunk()) == "Five days can be carried over."
