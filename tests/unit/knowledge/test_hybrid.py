"""Search by words and by meaning over one index, within rights; and what it tells of itself."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from quarterdeck.core.answers import Passage
from quarterdeck.core.context import Context, Principal
from quarterdeck.core.errors import DeadlineExceeded, ModelUnavailable, StoreUnavailable
from quarterdeck.core.synonyms import Synonyms
from quarterdeck.knowledge.base import Chunk, Document, Lookup, Space, Vector
from quarterdeck.knowledge.calibration import Added
from quarterdeck.knowledge.explain import Explanation
from quarterdeck.knowledge.indexes.sqlite import SqliteIndex
from quarterdeck.knowledge.rerank import LexicalReranker, Reranked
from quarterdeck.knowledge.search import Searcher, Tuning, lookup_groups
from tests.unit.knowledge.meaning import Meaning, vector

ANN = Principal(user="ann", tenant="acme", groups=("it",))
SPACE = Space(embedder=Meaning.id, dim=Meaning.dim)
HANDBOOK = {
    "leave": "Every employee has thirty days of annual leave.",
    "salary": "The salary is paid on the last day of the month.",
    "badge": "The badge opens the garage.",
    "canteen": "The canteen serves lunch at noon.",
}
NOISE = " ".join(f"w{number}" for number in range(400))  # so much else that a vector says nothing of one word
OTHER_NOISE = " ".join(f"v{number}" for number in range(1_000))


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[SqliteIndex]:
    opened = await SqliteIndex.open(tmp_path / "index.db", SPACE)
    yield opened
    await opened.close()


@pytest.fixture
async def handbook(index: SqliteIndex) -> SqliteIndex:
    for doc, text in HANDBOOK.items():
        await add(index, doc, text)
    return index


async def add(
    index: SqliteIndex, doc: str, text: str, *groups: str, tenant: str = "acme", embedded: bool = True, **meta: str
) -> None:
    document = Document(
        id=doc, tenant=tenant, title=doc.title(), text=text, groups=frozenset(groups or ("everyone",)), meta=meta
    )
    chunk = Chunk(text=text, start=0, end=len(text))
    await index.upsert(document, [chunk], [vector(text) if embedded else None])


def context(principal: Principal = ANN, seconds: float = 30.0) -> Context:
    return Context(principal=principal, run_id="r", deadline=time.monotonic() + seconds)


def ids(passages: Sequence[Passage]) -> list[str]:
    return [passage.doc_id for passage in passages]


def places(told: Explanation, stage: str) -> list[str]:
    [found] = [one for one in told.stages if one.name == stage]
    return [place.passage_id for place in found.places]


@pytest.mark.row("K4", part="hybrid")
async def test_a_question_in_other_words_is_found_by_its_meaning(handbook: SqliteIndex) -> None:
    asked = "How much vacation and holiday?"

    by_words = await Searcher(handbook).find(asked, context())
    by_both = await Searcher(handbook, embedder=Meaning()).find(asked, context())

    assert (by_words.passages, by_words.mode) == ((), "keyword")
    assert (ids(by_both.passages), by_both.mode) == (["leave"], "hybrid")
    assert by_both.usage.prompt_tokens == 17  # the question, and once what unrelated texts are measured with


class Replaced:
    """An index in which a document is replaced after its words were asked and before its meaning is."""

    def __init__(self, index: SqliteIndex, doc: str, text: str) -> None:
        self._index, self._doc, self._text = index, doc, text
        self._replaced = anyio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    async def keyword(self, lookup: Lookup, k: int) -> list[Passage]:
        found = await self._index.keyword(lookup, k)
        if not self._replaced.is_set():
            await add(self._index, self._doc, self._text)
            self._replaced.set()
        return found

    async def vector(self, lookup: Lookup, vector: Vector, k: int) -> list[Passage]:
        await self._replaced.wait()
        return await self._index.vector(lookup, vector, k)


@pytest.mark.row("K8", part="one edition")
@pytest.mark.parametrize("embedder", [Meaning(), None], ids=["by meaning too", "by other words too"])
async def test_a_search_never_gives_two_editions_of_a_document(handbook: SqliteIndex, embedder: Meaning | None) -> None:
    index: Any = Replaced(handbook, "leave", "Everybody has a leave of forty days now, the annual one.")
    searcher = Searcher(index, embedder=embedder, synonyms=Synonyms([("vacation", "leave")], stem=str))

    found = await searcher.find("annual vacation", context())
    after = await searcher.find("annual vacation", context())

    assert ["forty" in passage.text for passage in found.passages if passage.doc_id == "leave"] == [False]
    assert ["forty" in passage.text for passage in after.passages if passage.doc_id == "leave"] == [True]


@pytest.mark.row("K9", part="hybrid")
async def test_what_nothing_speaks_of_is_given_nothing_by_both_sides_too(handbook: SqliteIndex) -> None:
    searcher = Searcher(handbook, embedder=Meaning())

    for asked in ("Which planets have rings?", "How do I play the violin?", "？！…"):
        assert (await searcher.find(asked, context())).passages == ()


@pytest.mark.row("K9", part="hybrid")
async def test_a_shared_word_is_no_answer_where_meaning_does_not_stand_out(index: SqliteIndex) -> None:
    await add(index, "doors", f"Staff open the garage with the badge. {NOISE} {OTHER_NOISE}")
    asked = "Is there a garage badge for kindergarten nurses?"

    by_words = await Searcher(index).find(asked, context())
    by_meaning = await Searcher(index, embedder=Meaning()).find(asked, context())
    strict = await Searcher(index, embedder=Meaning(), tuning=Tuning(least=0.44)).find(asked, context())

    assert (ids(by_words.passages), ids(by_meaning.passages), ids(strict.passages)) == (["doors"], ["doors"], [])
    assert by_meaning.passages[0].score < 0.44 <= by_words.passages[0].score


async def test_a_passage_with_the_whole_topic_stays_however_little_it_means_to_the_embedder(index: SqliteIndex) -> None:
    await add(index, "codes", f"E809 {NOISE}")

    assert ids((await Searcher(index, embedder=Meaning()).search("E809?", context()))[0]) == ["codes"]


@pytest.mark.row("K4", part="gate")
async def test_a_language_the_embedder_does_not_know_is_searched_by_words(index: SqliteIndex) -> None:
    await add(index, "leave-zh", "全职员工每年享有三十天年假。", embedded=False)
    english, all_languages = Meaning(), Meaning(None)

    told = await Searcher(index, embedder=english).explain("有多少天年假？", context())
    await Searcher(index, embedder=all_languages).find("有多少天年假？", context())

    assert (told.mode, ids(told.passages), english.asked) == ("keyword", ["leave-zh"], [])
    assert told.gate == "the embedder does not know the question's language"
    assert all_languages.asked[0] == "有多少天年假？"


class Slow(Meaning):
    """Never answers."""

    async def embed(self, texts: Sequence[str], ctx: Context) -> Any:
        await anyio.sleep_forever()


@pytest.mark.row("K4", part="degraded")
@pytest.mark.parametrize(
    ("embedder", "note"),
    [
        (Meaning(error=ModelUnavailable("secret upstream words")), "vectors failed (model_unavailable)"),
        (Meaning(error=DeadlineExceeded("late")), "vectors came too late"),
        (Slow(), "vectors came too late"),
    ],
    ids=["failed", "out of time", "silent"],
)
async def test_words_stand_where_vectors_fail_and_the_search_says_so(
    handbook: SqliteIndex, embedder: Meaning, note: str
) -> None:
    searcher = Searcher(handbook, embedder=embedder, tuning=Tuning(vector_timeout_s=0.05))

    found = await searcher.find("annual leave", context())
    told = await searcher.explain("annual leave", context())

    assert (ids(found.passages), found.mode) == (["leave"], "keyword")
    assert found.notes == told.notes == (f"{note}: searched by words alone",)


async def test_vectors_leave_time_to_answer_with_words(handbook: SqliteIndex) -> None:
    found = await Searcher(handbook, embedder=Slow()).find("annual leave", context(seconds=0.5))

    assert ids(found.passages) == ["leave"]


async def test_an_index_that_fails_is_no_empty_result(handbook: SqliteIndex) -> None:
    class Down(SqliteIndex):
        async def keyword(self, lookup: Lookup, k: int) -> list[Passage]:
            raise StoreUnavailable("the disk is gone")

    handbook.__class__ = Down

    with pytest.raises(StoreUnavailable):
        await Searcher(handbook, embedder=Slow()).find("annual leave", context())


@pytest.mark.row("K4", part="hybrid")
async def test_the_order_alone_leaves_nothing_out(handbook: SqliteIndex) -> None:
    searcher = Searcher(handbook, embedder=Meaning())
    lookup = Lookup(text="annual leave", tenant="acme", groups=lookup_groups(ANN))

    ranked = await searcher.ranked(lookup, 10, context())

    assert (ids(ranked.passages)[0], len(ranked.passages), ranked.mode) == ("leave", 4, "hybrid")
    assert ranked.passages[0].score == pytest.approx(2 / 61)


@pytest.mark.row("K4", part="filter")
async def test_only_documents_with_the_wanted_metadata_are_found_on_either_side(index: SqliteIndex) -> None:
    await add(index, "old", "Annual leave is twenty days.", year="2024")
    await add(index, "new", "Annual leave is thirty days.", year="2026")
    searcher = Searcher(index, embedder=Meaning())

    one = await searcher.find("vacation annual", context(), where={"year": "2026"})
    either = await searcher.find("annual leave", context(), where={"year": frozenset({"2024", "2026"})})

    assert ids(one.passages) == ["new"]
    assert sorted(ids(either.passages)) == ["new", "old"]


class Backwards:
    """A reranker that turns the order round and remembers what it saw."""

    name = "test:backwards"

    def __init__(self, error: Exception | None = None, scores: Sequence[float | None] = ()) -> None:
        self.seen: list[str] = []
        self._error, self._scores = error, scores

    async def rerank(self, query: str, passages: Sequence[Passage], ctx: Context) -> Reranked:
        self.seen += ids(passages)
        if self._error is not None:
            raise self._error
        scores = self._scores or [None] * len(passages)
        return Reranked(order=tuple((place, scores[place]) for place in reversed(range(len(passages)))))


@pytest.mark.row("K5", part="search")
async def test_a_reranker_orders_only_what_is_relevant_and_readable(index: SqliteIndex) -> None:
    await add(index, "a", "Leave begins in May.")
    await add(index, "b", "Leave ends in June, and leave is never carried over to the next year.")
    await add(index, "secret", "Leave of the board.", "board")
    await add(index, "beside", "The canteen serves lunch.")
    reranker = Backwards()
    plain = await Searcher(index).find("leave", context())

    found = await Searcher(index, reranker=reranker).find("leave", context())

    assert sorted(reranker.seen) == ["a", "b"]
    assert ids(found.passages) == ids(plain.passages)[::-1]


@pytest.mark.row("K5", part="search")
async def test_the_order_stands_where_a_reranker_fails(handbook: SqliteIndex) -> None:
    searcher = Searcher(handbook, reranker=Backwards(ModelUnavailable("secret words")))

    found = await searcher.find("salary leave", context())

    assert len(found.passages) == 2
    assert found.notes == ("the reranker failed (model_unavailable): the order stands as it was",)


@pytest.mark.row("K5", part="cut-off")
async def test_what_a_reranker_scores_too_low_is_left_out(handbook: SqliteIndex) -> None:
    searcher = Searcher(handbook, reranker=Backwards(scores=[0.1, 0.7]), tuning=Tuning(least_reranked=0.5))

    found = await searcher.find("salary leave", context())
    told = await searcher.explain("salary leave", context())

    assert len(found.passages) == 1
    assert [dropped.why for dropped in told.dropped if dropped.stage == "reranked"] == ["the reranker scores it too low"]


@pytest.mark.row("K5", part="diversity")
async def test_variety_prefers_what_adds_to_the_passages_before_it(index: SqliteIndex) -> None:
    await add(index, "a", "Annual leave begins in May for all employees of the company.")
    await add(index, "b", "Annual leave begins in May for all employees of our company and its branches.")
    await add(index, "c", "Carry annual leave over with a form. Ask in December, since January is too late for that.")
    searcher = Searcher(index, tuning=Tuning(variety=0.3))

    found = await searcher.find("annual leave", context())

    assert ids(found.passages)[1] == "c"
    assert sorted(ids(found.passages)) == ["a", "b", "c"]


@pytest.mark.row("K4", part="explain")
async def test_a_search_explains_each_of_its_steps(handbook: SqliteIndex) -> None:
    await add(handbook, "twice", HANDBOOK["leave"])
    searcher = Searcher(handbook, embedder=Meaning(), reranker=LexicalReranker())

    told = await searcher.explain("annual leave", context(), 3)

    assert [stage.name for stage in told.stages] == ["keyword", "vector", "fused", "cut", "reranked", "given"]
    assert (told.mode, told.gate, [term.term for term in told.terms]) == ("hybrid", "open", ["annu", "leav"])
    assert set(places(told, "keyword")) == {"leave-1", "twice-1"}
    assert set(places(told, "vector")) == {"leave-1", "twice-1", "salary-1", "badge-1", "canteen-1"}
    assert places(told, "given") == [passage.id for passage in told.passages]
    assert len(told.passages) == 1
    assert {dropped.stage for dropped in told.dropped} == {"cut", "given"}
    assert {d.passage_id for d in told.dropped} | set(places(told, "given")) == set(places(told, "fused"))


async def test_engine_scores_and_times_are_shown_to_operators_alone(handbook: SqliteIndex) -> None:
    searcher = Searcher(handbook, embedder=Meaning())
    operator = replace(ANN, scopes=("operate",))

    mine = await searcher.explain("annual leave", context())
    theirs = await searcher.explain("annual leave", context(operator))

    assert [place.engine_score for place in mine.stages[0].places] == [None]
    assert mine.seconds == {}
    assert all(place.engine_score is not None for place in theirs.stages[0].places)
    assert {"keyword", "vector"} <= set(theirs.seconds)


MARK = "zebrafish"
CLOSED = {  # by document: who may read it, and whose it is
    "of-board": ("board", "acme"),
    "of-bob": ("user:bob", "acme"),
    "of-a-rival": ("everyone", "rival"),
    "of-nobody": ("nobody", "acme"),
}


class Leaky(SqliteIndex):
    """An engine whose permission filter is broken on both sides."""

    async def keyword(self, lookup: Lookup, k: int) -> list[Passage]:
        return await super().keyword(replace(lookup, groups=frozenset({"board", "user:bob", "everyone", "it"})), k)

    async def vector(self, lookup: Lookup, vector: Vector, k: int) -> list[Passage]:
        return await super().vector(replace(lookup, groups=frozenset({"board", "user:bob", "everyone", "it"})), vector, k)


def everything(*told: Any) -> str:
    return json.dumps([asdict(one) for one in told], default=str)


@pytest.mark.row("K7", part="hybrid")
@pytest.mark.parametrize("engine", [SqliteIndex, Leaky], ids=["sound", "broken"])
async def test_what_is_closed_to_a_reader_leaves_no_trace_in_any_search(tmp_path: Path, engine: type[SqliteIndex]) -> None:
    opened = await engine.open(tmp_path / "leak.db", SPACE)
    for doc, text in HANDBOOK.items():
        await add(opened, doc, text)
    reranker = Backwards()
    searchers = [
        Searcher(opened),
        Searcher(opened, embedder=Meaning()),
        Searcher(opened, embedder=Meaning(), reranker=reranker),
    ]
    asked = ["leave", "vacation", "holiday wage", MARK, f"{MARK} leave", "garage badge", "What is the salary?"]

    async def told() -> list[str]:
        gathered = []
        for searcher in searchers:
            for question in asked:
                found, why = await searcher.find(question, context()), await searcher.explain(question, context())
                ranked = await searcher.ranked(
                    Lookup(text=question, tenant="acme", groups=lookup_groups(ANN)), 10, context()
                )
                gathered.append(everything(replace(found, usage=None), why, replace(ranked, usage=None)))  # type: ignore[type-var, arg-type]
        return gathered

    await told()  # what unrelated texts are is known from here on
    before = await told()
    for doc, (group, tenant) in CLOSED.items():
        for number in range(12):
            text = f"{MARK}-{doc} {number}: vacation, leave, salary, wage, badge and garage of a {MARK}"
            await add(opened, f"{doc}-{number}", text, group, tenant=tenant)
    after = await told()
    await opened.close()

    assert after == before
    assert not [text for text in after if f"{MARK}-" in text or "of-board" in text]
    assert not {doc for doc in reranker.seen if doc.startswith("of-")}


@pytest.mark.row("K9", part="added")
async def test_what_words_and_meaning_say_is_added_up_where_the_model_wants_it(handbook: SqliteIndex) -> None:
    ctx = Context(principal=ANN, run_id="r1", deadline=time.monotonic() + 60)
    stronger = Searcher(handbook, embedder=Meaning())
    added = Searcher(handbook, embedder=Meaning(), meaning=Added(deviation=0.0, share=0.5))

    found = await stronger.find("annual leave of an employee", ctx)
    less = await added.find("annual leave of an employee", ctx)

    assert [passage.doc_id for passage in found.passages] == [passage.doc_id for passage in less.passages] == ["leave"]
    assert found.passages[0].score > less.passages[0].score == pytest.approx(0.5, abs=0.05)
