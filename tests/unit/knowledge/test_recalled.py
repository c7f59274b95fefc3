from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from quarterdeck.core.context import Context, Principal
from quarterdeck.core.errors import DeadlineExceeded, NotFound
from quarterdeck.core.labels import Integrity
from quarterdeck.knowledge.base import Document
from quarterdeck.knowledge.chunk import split
from quarterdeck.knowledge.indexes.sqlite import SqliteIndex
from quarterdeck.knowledge.parsers import markdown
from quarterdeck.knowledge.recalled import Recalled
from quarterdeck.knowledge.search import Finding, Searcher
from quarterdeck.store.cache import MemoryCache, Shelf

MARK = "zanzibar-47"  # stands in closed articles alone
ANN = Principal(user="ann", tenant="acme", groups=("hr",))
BOB = Principal(user="bob", tenant="acme")
QUESTION = "Where is the garage?"


class Counting:
    """A searcher that counts, and may be told to wait or to note something."""

    def __init__(self, searcher: Searcher) -> None:
        self.asked = 0
        self.notes: tuple[str, ...] = ()
        self.errors: list[Exception] = []
        self.let = anyio.Event()
        self.let.set()
        self._searcher = searcher

    async def find(
        self, query: str, ctx: Context, k: int = 6, *, where: Mapping[str, str | frozenset[str]] | None = None
    ) -> Finding:
        self.asked += 1
        await self.let.wait()
        if self.errors:
            raise self.errors.pop()
        return replace(await self._searcher.find(query, ctx, k, where=where or {}), notes=self.notes)


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[SqliteIndex]:
    opened = await SqliteIndex.open(tmp_path / "index.db")
    yield opened
    await opened.close()


async def add(
    index: SqliteIndex, id: str, text: str, *groups: str, tenant: str = "acme", trusted: bool = False, **meta: str
) -> None:
    parsed = markdown.parse(f"# {id.title()}\n\n{text}".encode())
    document = Document(
        id=id,
        tenant=tenant,
        title=parsed.title,
        text=parsed.text,
        groups=frozenset(groups or ("everyone",)),
        trusted=trusted,
        meta=meta,
    )
    await index.upsert(document, split(parsed.text, parsed.blocks))


def context(principal: Principal = ANN, seconds: float = 30.0) -> Context:
    return Context(principal=principal, run_id="r", deadline=time.monotonic() + seconds)


def recalled(index: SqliteIndex, cache: MemoryCache | None = None, configuration: str = "") -> tuple[Recalled, Counting]:
    searcher = Counting(Searcher(index))
    shelf = Shelf(cache or MemoryCache(), "found", ttl_s=3600)
    return Recalled(searcher, index, shelf, configuration=configuration), searcher


@pytest.mark.row("K11", part="passages")
async def test_the_same_question_is_searched_once_and_answered_alike(index: SqliteIndex) -> None:
    await add(index, "garage", "The garage is below the yard.", trusted=True)
    search, searcher = recalled(index)

    first = await search.find(QUESTION, context())
    second = await search.find(QUESTION, context())

    assert first.passages
    assert second == first
    assert searcher.asked == 1


@pytest.mark.row("K11", part="labels")
async def test_labels_of_what_is_recalled_are_those_of_what_was_found(index: SqliteIndex) -> None:
    await add(index, "garage", "The garage is below the yard.", "hr", "it", trusted=True)
    search, _ = recalled(index)

    await search.find(QUESTION, context())
    again = await search.find(QUESTION, context())

    (label,) = [passage.label for passage in again.passages]
    assert label.integrity is Integrity.TRUSTED
    assert label.readers.clauses == (("group:hr", "group:it"),)
    assert label.sources == ("garage-1",)


@pytest.mark.row("K11", part="passages")
async def test_nothing_found_is_recalled_too(index: SqliteIndex) -> None:
    await add(index, "garage", "The garage is below the yard.")
    search, searcher = recalled(index)

    found = [await search.find("Who cooks lunch?", context()) for _ in range(2)]

    assert [one.passages for one in found] == [(), ()]
    assert searcher.asked == 1


@pytest.mark.row("K11", part="dropped")
async def test_a_change_of_any_document_is_effective_at_once(index: SqliteIndex) -> None:
    await add(index, "garage", "The garage is below the yard.")
    search, _ = recalled(index)
    await search.find(QUESTION, context())

    await add(index, "garage", "The garage is behind the mill.")
    changed = await search.find(QUESTION, context())
    await index.delete("acme", ["garage"])
    deleted = await search.find(QUESTION, context())

    assert "mill" in changed.passages[0].text
    assert deleted.passages == ()


@pytest.mark.row("K11", part="dropped")
async def test_a_document_that_comes_to_others_is_found_at_once(index: SqliteIndex) -> None:
    await add(index, "garage", "The garage is below the yard.")
    search, _ = recalled(index)
    await search.find(QUESTION, context())

    await add(index, "garages", "A second garage is behind the mill.")
    found = await search.find(QUESTION, context())

    assert {passage.doc_id for passage in found.passages} == {"garage", "garages"}


async def test_who_is_in_more_groups_finds_more(index: SqliteIndex) -> None:
    await add(index, "garage", "The garage is below the yard.")
    await add(index, "garages", "The garage of hr is behind the mill.", "hr")
    search, _ = recalled(index)
    await search.find(QUESTION, context(replace(ANN, groups=())))

    found = await search.find(QUESTION, context(ANN))

    assert {passage.doc_id for passage in found.passages} == {"garage", "garages"}


@pytest.mark.row("K7", part="caches")
@pytest.mark.row("K11", part="permissions")
async def test_a_permission_of_a_document_that_is_taken_away_is_effective_at_once(index: SqliteIndex) -> None:
    await add(index, "garage", f"The garage is below the yard, {MARK}.", "hr")
    search, _ = recalled(index)
    before = await search.find(QUESTION, context(ANN))

    await index.set_groups("acme", "garage", frozenset({"board"}))
    after = await search.find(QUESTION, context(ANN))

    assert MARK in before.passages[0].text
    assert MARK not in repr(after)


@pytest.mark.row("K7", part="caches")
@pytest.mark.row("K11", part="permissions")
async def test_somebody_who_leaves_a_group_finds_nothing_of_it_any_more(index: SqliteIndex) -> None:
    await add(index, "garage", f"The garage is below the yard, {MARK}.", "hr")
    search, _ = recalled(index)
    before = await search.find(QUESTION, context(ANN))

    after = await search.find(QUESTION, context(replace(ANN, groups=())))

    assert MARK in repr(before)
    assert MARK not in repr(after)


@pytest.mark.row("K7", part="caches")
@pytest.mark.row("K11", part="permissions")
async def test_nobody_is_given_what_was_found_for_others(index: SqliteIndex) -> None:
    await add(index, "garage", f"The garage of hr, {MARK}.", "hr")
    await add(index, "note", f"The garage of ann, {MARK}.", "user:ann")
    cache = MemoryCache()
    search, _ = recalled(index, cache)
    await search.find(QUESTION, context(ANN))

    others = [
        BOB,
        replace(BOB, groups=("user:ann",)),
        replace(ANN, user="eve", groups=()),
        replace(ANN, tenant="globex"),
        replace(ANN, tenant="globex", groups=("hr", "everyone")),
    ]
    found = [await search.find(QUESTION, context(other)) for other in others]

    assert all(MARK not in repr(one) for one in found)


@pytest.mark.row("K7", part="caches")
@pytest.mark.row("K11", part="permissions")
async def test_an_index_thrown_away_and_filled_anew_does_not_bring_old_rights_back(tmp_path: Path) -> None:
    cache = MemoryCache()
    found = []
    for name, group in (("old", "hr"), ("new", "board")):
        index = await SqliteIndex.open(tmp_path / name)
        await add(index, "garage", f"The garage is below the yard, {MARK}.", group)
        search, _ = recalled(index, cache)
        found.append(await search.find(QUESTION, context(ANN)))
        await index.close()

    assert MARK in repr(found[0])
    assert MARK not in repr(found[1])


@pytest.mark.parametrize("how", ["query", "k", "where", "configuration"])
async def test_another_search_is_searched(index: SqliteIndex, how: str) -> None:
    await add(index, "garage", "The garage is below the yard.", place="town")
    cache = MemoryCache()
    search, _ = recalled(index, cache, "keyword")
    await search.find(QUESTION, context(), where={"place": frozenset({"town", "village"})})

    other, searcher = recalled(index, cache, "hybrid" if how == "configuration" else "keyword")
    place = frozenset({"town"}) if how == "where" else frozenset({"village", "town"})
    query = "Is the garage there?" if how == "query" else QUESTION
    await other.find(query, context(), 5 if how == "k" else 6, where={"place": place})

    assert searcher.asked == 1


async def test_what_went_wrong_is_not_kept(index: SqliteIndex) -> None:
    await add(index, "garage", "The garage is below the yard.")
    search, searcher = recalled(index)
    searcher.notes = ("vectors came too late",)
    searcher.errors = [NotFound("away")]

    with pytest.raises(NotFound):
        await search.find(QUESTION, context())
    noted = await search.find(QUESTION, context())
    searcher.notes = ()
    await search.find(QUESTION, context())

    assert noted.notes == ("vectors came too late",)
    assert searcher.asked == 3


@pytest.mark.row("K11", part="stampede")
async def test_a_question_many_ask_at_once_is_searched_once(index: SqliteIndex) -> None:
    await add(index, "garage", "The garage is below the yard.")
    search, searcher = recalled(index)
    searcher.let = anyio.Event()
    found: list[Finding] = []

    async def ask() -> None:
        found.append(await search.find(QUESTION, context()))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(ask)
            while not searcher.asked:
                await anyio.lowlevel.checkpoint()
            searcher.let.set()

    assert len(found) == 20
    assert searcher.asked == 1


async def test_who_waits_for_anothers_search_waits_no_longer_than_its_own_time(index: SqliteIndex) -> None:
    await add(index, "garage", "The garage is below the yard.")
    search, searcher = recalled(index)
    searcher.let = anyio.Event()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(search.find, QUESTION, context())
            while not searcher.asked:
                await anyio.lowlevel.checkpoint()
            with pytest.raises(DeadlineExceeded):
                await search.find(QUESTION, context(seconds=0.05))
            searcher.let.set()


async def test_an_entry_of_another_version_is_searched_anew(index: SqliteIndex) -> None:
    await add(index, "garage", "The garage is below the yard.")
    cache = MemoryCache()
    search, searcher = recalled(index, cache)
    await search.find(QUESTION, context())
    for place, kept in list(cache._kept.items()):
        await cache.put("acme", {place[1]: replace(kept, value=b'{"passages": 7}')})

    found = await search.find(QUESTION, context())

    assert found.passages
    assert searcher.asked == 2
