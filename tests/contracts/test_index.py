"""What every knowledge index must do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from pathlib import Path

import anyio
import pytest

from quarterdeck.core.errors import InvalidInput, NotFound
from quarterdeck.core.labels import Integrity
from quarterdeck.knowledge.base import Chunk, Document, KnowledgeIndex, Lookup
from quarterdeck.knowledge.indexes.sqlite import SqliteIndex

EVERYONE = frozenset({"everyone"})
ANY_GROUP = frozenset({"everyone", "hr", "staff"})


@pytest.fixture(params=["sqlite"])
async def index(tmp_path: Path) -> AsyncIterator[KnowledgeIndex]:
    opened = await SqliteIndex.open(tmp_path / "index.db")
    yield opened
    await opened.close()


def document(id: str, text: str, *, groups: Collection[str] = EVERYONE, tenant: str = "acme", **more: object) -> Document:
    return Document(id=id, tenant=tenant, title=str(more.get("title", id)), text=text, groups=frozenset(groups))


def whole(document: Document) -> list[Chunk]:
    return [Chunk(text=document.text, start=0, end=len(document.text))]


def paragraphs(text: str) -> list[Chunk]:
    chunks, start = [], 0
    for piece in text.split("\n\n"):
        chunks.append(Chunk(text=piece, start=start, end=start + len(piece)))
        start += len(piece) + 2
    return chunks


async def found(
    index: KnowledgeIndex, text: str, groups: Collection[str] = EVERYONE, *, tenant: str = "acme", k: int = 10
) -> list[str]:
    lookup = Lookup(text=text, tenant=tenant, groups=frozenset(groups))
    return [passage.id for passage in await index.keyword(lookup, k)]


@pytest.mark.row("K10", part="sqlite")
async def test_a_passage_is_found_by_its_words_in_either_language(index: KnowledgeIndex) -> None:
    for one in (document("vpn", "Connecting to the tunnel needs a code."), document("nianjia", "员工享有二十天带薪年假。")):
        await index.upsert(one, whole(one))

    assert await found(index, "how is the tunnel connected?") == ["vpn-1"]
    assert await found(index, "年假有几天") == ["nianjia-1"]


async def test_a_word_in_the_title_weighs_more_than_one_in_the_body(index: KnowledgeIndex) -> None:
    body = document("body", "A badge opens doors and prints on demand.", title="Printing")
    titled = document("titled", "Printing opens doors and prints on demand.", title="Badge")
    for one in (body, titled, *(document(f"other{n}", "Something else altogether.") for n in range(5))):
        await index.upsert(one, whole(one))

    assert await found(index, "badge") == ["titled-1", "body-1"]


async def test_query_syntax_is_only_text(index: KnowledgeIndex) -> None:
    one = document("one", "alpha beta")
    await index.upsert(one, whole(one))

    for text in (
        '"',
        'alpha" OR "beta',
        "title:alpha",
        "alpha NEAR beta*",
        "(",
        "^alpha",
        "-alpha",
        "",
        "？！",
        "AND OR NOT",
    ):
        assert set(await found(index, text)) <= {"one-1"}


async def test_a_query_of_two_thousand_characters_is_answered(index: KnowledgeIndex) -> None:
    one = document("one", "年假规定")
    await index.upsert(one, whole(one))

    assert await found(index, "年假" + "".join(chr(0x4E00 + i) for i in range(2000))) == ["one-1"]


@pytest.mark.row("K7", part="index")
async def test_nobody_finds_or_opens_what_his_groups_may_not_read(index: KnowledgeIndex) -> None:
    secret = document("pay", "The salary band of the director is secret.", groups={"hr"})
    await index.upsert(secret, whole(secret))

    for groups in (EVERYONE, frozenset(), frozenset({"user:hr"}), frozenset({"h", "hr ", "HR"})):
        assert await found(index, "salary band of the director", groups) == []
        assert await index.passage("acme", "pay-1", frozenset(groups)) is None
        assert await index.document("acme", "pay", frozenset(groups)) is None
    assert await found(index, "salary", {"hr"}) == ["pay-1"]


@pytest.mark.row("K7", part="index")
async def test_another_tenant_sees_nothing_whatever_its_groups(index: KnowledgeIndex) -> None:
    one = document("pay", "The salary band.", groups=ANY_GROUP)
    await index.upsert(one, whole(one))

    assert await found(index, "salary", ANY_GROUP, tenant="rival") == []
    assert await index.passage("rival", "pay-1", ANY_GROUP) is None
    assert await index.document("rival", "pay", ANY_GROUP) is None
    assert await index.catalogue("rival") == {}
    assert await index.delete("rival", ["pay"]) == 0
    with pytest.raises(NotFound):
        await index.set_groups("rival", "pay", EVERYONE)
    stats = await index.stats("rival")
    assert (stats.documents, stats.passages, stats.generation) == (0, 0, 0)
    assert await found(index, "salary", {"hr"}) == ["pay-1"]


@pytest.mark.row("K7", part="index")
async def test_forbidden_passages_take_no_place_in_the_result(index: KnowledgeIndex) -> None:
    for number in range(30):
        secret = document(f"secret{number}", "budget budget budget", groups={"hr"})
        await index.upsert(secret, whole(secret))
    public = document("public", "The budget is discussed in a long and otherwise boring meeting of many words.")
    await index.upsert(public, whole(public))

    assert await found(index, "budget", k=1) == ["public-1"]


async def test_a_passage_in_two_groups_is_found_once(index: KnowledgeIndex) -> None:
    one = document("one", "alpha", groups=ANY_GROUP)
    await index.upsert(one, whole(one))

    assert await found(index, "alpha", ANY_GROUP) == ["one-1"]


async def test_two_tenants_may_have_a_document_of_the_same_id(index: KnowledgeIndex) -> None:
    for tenant in ("acme", "rival"):
        one = document("one", f"alpha of {tenant}", tenant=tenant)
        await index.upsert(one, whole(one))

    await index.delete("rival", ["one"])

    assert await found(index, "alpha") == ["one-1"]
    assert await found(index, "alpha", tenant="rival") == []


@pytest.mark.row("K7", part="labels")
async def test_the_label_of_a_passage_says_who_may_read_it_and_how_far_it_is_trusted(index: KnowledgeIndex) -> None:
    text = "alpha"
    curated = Document(
        id="one", tenant="acme", title="One", text=text, groups=frozenset({"everyone", "hr", "user:ann"}), trusted=True
    )
    await index.upsert(curated, whole(curated))
    await index.upsert(document("two", "beta", groups={"hr"}), whole(document("two", "beta")))

    first = await index.passage("acme", "one-1", EVERYONE)
    second = await index.passage("acme", "two-1", frozenset({"hr"}))

    assert first is not None
    assert second is not None
    assert first.label.readers.clauses == (("group:hr", "tenant:acme", "user:ann"),)
    assert (first.label.integrity, second.label.integrity) == (Integrity.TRUSTED, Integrity.UNTRUSTED)
    assert second.label.readers.clauses == (("group:hr",),)
    assert first.label.sources == ("one-1",)


@pytest.mark.row("K7", part="index")
async def test_new_groups_hold_from_the_next_search_on(index: KnowledgeIndex) -> None:
    one = document("one", "alpha")
    await index.upsert(one, whole(one))

    await index.set_groups("acme", "one", frozenset({"hr"}))

    assert await found(index, "alpha") == []
    assert await index.document("acme", "one", EVERYONE) is None
    assert await found(index, "alpha", {"hr"}) == ["one-1"]
    passage = await index.passage("acme", "one-1", frozenset({"hr"}))
    assert passage is not None
    assert passage.label.readers.clauses == (("group:hr",),)


async def test_an_upsert_replaces_all_passages_and_keeps_the_ids_of_unchanged_ones(index: KnowledgeIndex) -> None:
    old = document("one", "alpha stays\n\nbeta goes")
    new = document("one", "gamma comes\n\nalpha stays")
    await index.upsert(old, paragraphs(old.text))

    await index.upsert(new, paragraphs(new.text))

    assert await found(index, "beta") == []
    assert await found(index, "alpha") == ["one-1"]
    assert await found(index, "gamma") == ["one-3"]  # 2 was the id of other text and is not given again
    assert await index.passage("acme", "one-2", EVERYONE) is None
    assert (await index.stats("acme")).passages == 2


@pytest.mark.row("K2", part="index")
async def test_a_passage_is_the_text_of_its_span(index: KnowledgeIndex) -> None:
    one = document("one", "第一段 🙂 alpha\n\n第二段 beta")
    await index.upsert(one, paragraphs(one.text))

    passages = await index.keyword(Lookup(text="alpha beta", tenant="acme", groups=EVERYONE), 5)
    held = await index.document("acme", "one", EVERYONE)

    assert held is not None
    assert len(passages) == 2
    assert all(held.text[p.start : p.end] == p.text for p in passages)


async def test_a_chunk_that_is_not_its_span_is_refused_and_changes_nothing(index: KnowledgeIndex) -> None:
    one = document("one", "alpha")
    await index.upsert(one, whole(one))

    with pytest.raises(InvalidInput):
        await index.upsert(document("one", "beta"), [Chunk(text="gamma", start=0, end=5)])

    assert await found(index, "alpha") == ["one-1"]


async def test_a_document_comes_back_as_it_was_given(index: KnowledgeIndex) -> None:
    given = Document(
        id="one",
        tenant="acme",
        title="标题 'quoted'",
        text="alpha",
        groups=ANY_GROUP,
        trusted=True,
        uri="https://kb.example/one",
        meta={"owner": "IT; DROP TABLE document"},
    )

    await index.upsert(given, whole(given))

    assert await index.document("acme", "one", EVERYONE) == given
    assert await index.catalogue("acme") == {"one": {"owner": "IT; DROP TABLE document"}}


async def test_metadata_narrows_a_search(index: KnowledgeIndex) -> None:
    for language in ("en", "zh"):
        one = Document(
            id=language, tenant="acme", title="", text="alpha", groups=EVERYONE, meta={"language": language, "kind": "faq"}
        )
        await index.upsert(one, whole(one))

    async def ask(**where: str) -> list[str]:
        return [p.id for p in await index.keyword(Lookup(text="alpha", tenant="acme", groups=EVERYONE, where=where), 5)]

    assert await ask(language="zh") == ["zh-1"]
    assert await ask(language="zh", kind="faq") == ["zh-1"]
    assert await ask(language="zh", kind="news") == []
    assert await ask(owner="x") == []


async def test_the_generation_rises_with_every_change_and_only_then(index: KnowledgeIndex) -> None:
    one = document("one", "alpha")
    seen = [(await index.stats("acme")).generation]

    await index.upsert(one, whole(one))
    seen.append((await index.stats("acme")).generation)
    await index.set_groups("acme", "one", frozenset({"hr"}))
    seen.append((await index.stats("acme")).generation)
    await index.delete("acme", ["one", "nothing"])
    seen.append((await index.stats("acme")).generation)
    await index.delete("acme", ["one"])

    assert seen == sorted(set(seen))
    assert (await index.stats("acme")).generation == seen[-1]
    assert (await index.stats("acme")).documents == 0


@pytest.mark.parametrize("id", ["", "-", "one", "one-", "one-x", "one-01", "one--1", "one-99", "one-٣", "-1", "one-1 "])
async def test_an_id_of_no_passage_opens_nothing(index: KnowledgeIndex, id: str) -> None:
    one = document("one", "alpha")
    await index.upsert(one, whole(one))

    assert await index.passage("acme", id, EVERYONE) is None


@pytest.mark.row("K8", part="sqlite")
async def test_searches_during_a_reindex_see_the_old_or_the_new_document_never_half(index: KnowledgeIndex) -> None:
    versions = [document("one", "\n\n".join(f"alpha v{version} part{n}" for n in range(20))) for version in range(2)]
    await index.upsert(versions[0], paragraphs(versions[0].text))
    seen: list[set[str]] = []

    async def rewrite() -> None:
        for turn in range(10):
            version = versions[(turn + 1) % 2]
            await index.upsert(version, paragraphs(version.text))

    async def watch() -> None:
        for _ in range(30):
            passages = await index.keyword(Lookup(text="alpha", tenant="acme", groups=EVERYONE), 50)
            assert len(passages) == 20
            seen.append({passage.text.split()[1] for passage in passages})

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(rewrite)
        tasks.start_soon(watch)
        tasks.start_soon(watch)

    assert all(len(version) == 1 for version in seen)
