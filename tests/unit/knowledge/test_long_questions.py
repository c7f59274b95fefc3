"""What a long question costs: it is read at both ends, and what is done to find passages for it grows no further."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from quarterdeck.agent.confidence import evidence_of
from quarterdeck.core.context import Context, Principal
from quarterdeck.core.everyday import EVERYDAY
from quarterdeck.core.labels import PUBLIC, Label
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.core.synonyms import Synonyms
from quarterdeck.knowledge.analyze import MAX_QUERY, query_terms, question_terms, searched, stem
from quarterdeck.knowledge.base import Document
from quarterdeck.knowledge.chunk import split
from quarterdeck.knowledge.cite import Cited
from quarterdeck.knowledge.indexes.sqlite import SqliteIndex
from quarterdeck.knowledge.parsers import markdown
from quarterdeck.knowledge.rewrite import CarriedTerms
from quarterdeck.knowledge.search import Searcher
from tests.unit.knowledge import desks

ANN = Principal(user="ann", tenant="acme")
PIECES = {
    "questions": "How long does a VPN session last? ",
    "chinese": "请帮我创建一个工单，VPN 多久断开？",
    "letters": "x",
    "numbers": "1 ",
    "quotation marks": "\" ' ` ",
    "addresses": "a.b@c-",
}


@pytest.fixture
async def searcher(tmp_path: Path) -> AsyncIterator[Searcher]:
    index = await SqliteIndex.open(tmp_path / "index.db")
    for name, text in (desks.ENGLISH | desks.CHINESE).items():
        parsed = markdown.parse(text.encode())
        document = Document(id=name, tenant="acme", title=name, text=parsed.text, groups=frozenset({"everyone"}))
        await index.upsert(document, split(parsed.text, parsed.blocks))
    yield Searcher(index, synonyms=Synonyms(EVERYDAY, stem))
    await index.close()


def context() -> Context:
    return Context(principal=ANN, run_id="r", deadline=time.monotonic() + 30)


def said(text: str) -> Message:
    return Message(role=Role.USER, parts=(Text(text=text, label=Label(readers=PUBLIC)),))


class Counted:
    """Counts the functions that are called in this thread: what the work is, whatever machine does it."""

    def __init__(self) -> None:
        self.calls = 0

    def __enter__(self) -> Counted:
        sys.setprofile(self._count)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.setprofile(None)

    def _count(self, frame: FrameType, event: str, arg: Any) -> None:
        self.calls += event in ("call", "c_call")


async def work(searcher: Searcher, question: str) -> int:
    """Completing it, finding passages for it, and telling how well they answer it."""
    with Counted() as counted:
        completed = await CarriedTerms().rewrite(searched(question), [said(question)], context())
        found = await searcher.find(question, context())
        evidence_of(Cited(text="Yes."), {p.id: p for p in found.passages}, question, told=["The VPN lasts. 年假"])
    assert len(completed.query) <= MAX_QUERY + 500
    return counted.calls


@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES.keys())
async def test_a_hundred_times_the_question_is_not_more_work(searcher: Searcher, piece: str) -> None:
    short = piece * (3 * MAX_QUERY // len(piece))
    await work(searcher, short)  # what is kept of a first look is not counted

    usual, much = await work(searcher, short), await work(searcher, short * 100)

    assert much <= 1.2 * usual


def test_the_topic_of_a_question_has_as_many_terms_as_are_looked_for() -> None:
    all_kinds = "".join(chr(0x4E00 + number) for number in range(2_000))

    terms = question_terms(all_kinds)

    assert len(terms) == len(query_terms(all_kinds)) == 128


async def test_what_is_asked_at_the_end_of_a_long_letter_is_found(searcher: Searcher) -> None:
    story = "The quick brown fox went over the lazy dog and saw another one in the garden. " * 4_000

    passages, _ = await searcher.search(f"{story}How do I book train tickets in second class?", context())

    assert "Train tickets" in passages[0].text


def test_a_question_of_usual_length_is_searched_for_as_it_is() -> None:
    question = "How long does a VPN session last? " * 50

    assert searched(question) == question
