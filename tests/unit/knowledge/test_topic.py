from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quarterdeck.core.answers import Passage
from quarterdeck.core.context import Context, Principal
from quarterdeck.core.labels import PUBLIC, Label
from quarterdeck.core.synonyms import Synonyms
from quarterdeck.knowledge.analyze import stem
from quarterdeck.knowledge.base import Document
from quarterdeck.knowledge.chunk import split
from quarterdeck.knowledge.indexes.sqlite import SqliteIndex
from quarterdeck.knowledge.parsers import markdown
from quarterdeck.knowledge.search import Searcher
from quarterdeck.knowledge.topic import Topic, asked, widened
from tests.unit.knowledge import desks

SYNONYMS = Synonyms(
    [
        ("vacation", "annual leave"),
        ("notebook", "laptop"),
        ("boss", "manager"),
        ("手提电脑", "笔记本电脑"),
        ("口令", "密码"),
    ],
    stem,
)


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[SqliteIndex]:
    opened = await SqliteIndex.open(tmp_path / "index.db")
    for articles in (desks.ENGLISH, desks.CHINESE):
        for doc, source in articles.items():
            parsed = markdown.parse(source.encode())
            document = Document(id=doc, tenant="acme", title=parsed.title, text=parsed.text, groups=frozenset({"everyone"}))
            await opened.upsert(document, split(parsed.text, parsed.blocks))
    yield opened
    await opened.close()


async def first(index: SqliteIndex, question: str, synonyms: Synonyms) -> list[str]:
    context = Context(principal=Principal(user="ann", tenant="acme", groups=()), run_id="r", deadline=time.monotonic() + 30)
    found = await Searcher(index, synonyms=synonyms).find(question, context, k=1)
    return [passage.doc_id for passage in found.passages]


@pytest.mark.parametrize(
    ("question", "doc"),
    [
        ("How much vacation do I have?", "leave"),
        ("My notebook was damaged, when is it exchanged?", "laptop"),
        ("手提电脑多久更换？", "diannao"),
        ("口令忘了怎么办？", "mima"),
    ],
)
async def test_a_question_in_other_words_finds_the_article(index: SqliteIndex, question: str, doc: str) -> None:
    assert await first(index, question, SYNONYMS) == [doc]


async def test_without_synonyms_a_question_in_other_words_alone_finds_nothing(index: SqliteIndex) -> None:
    assert await first(index, "How much vacation do I have?", Synonyms((), stem)) == []


async def test_a_story_is_answered_though_most_of_it_stands_in_no_article(index: SqliteIndex) -> None:
    story = (
        "Sorry to bother everybody, but since the thunderstorm over the weekend my laptop battery does not charge although "
        "my daughter's tablet drinks happily from the very same socket"
    )

    assert await first(index, story, Synonyms((), stem)) == ["laptop"]


def test_words_with_synonyms_are_terms_of_their_own_and_all_that_says_them_is_looked_for() -> None:
    terms = asked("Does my boss have vacations?", SYNONYMS)

    assert {one.name: one.others for one in terms} == {
        stem("boss"): ((stem("manager"),),),
        stem("vacation"): ((stem("annual"), stem("leave")),),
    }
    assert widened("my boss?", SYNONYMS) == "my boss? manager"


def test_a_bigram_across_two_words_that_are_found_costs_a_passage_nothing() -> None:
    passage = Passage(id="a-1", doc_id="a", title="", text="访客上网码当天有效。", label=Label(readers=PUBLIC))

    whole = Topic.of("访客上网", [passage])
    other = Topic.of("访客停车", [passage])

    assert whole.share(passage) == 1.0
    assert other.share(passage) < 0.5


def test_words_in_one_sentence_say_more_than_the_same_words_apart() -> None:
    near = Passage(id="a-1", doc_id="a", title="", text="Order a card. Ask us.", label=Label(readers=PUBLIC))
    apart = Passage(id="b-1", doc_id="b", title="", text="Order a chair. Lost your card?", label=Label(readers=PUBLIC))

    topic = Topic.of("order card", [near, apart])

    assert topic.together(near) == 1.0
    assert topic.together(apart) < topic.together(near)
