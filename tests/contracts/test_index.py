"""What every knowledge index must do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256

import anyio
import pytest

from quarterdeck.core.errors import Conflict, InvalidInput, Misconfigured, NotFound
from quarterdeck.core.labels import Integrity
from quarterdeck.knowledge.analyze import ANALYZER
from quarterdeck.knowledge.base import KEYWORDS, Chunk, Document, KnowledgeIndex, Space
from tests.contracts.indexes import (
    ANY_GROUP,
    EVERYONE,
    PLANE,
    Open,
    document,
    found,
    lookup,
    near,
    paragraphs,
    passage,
    put,
    vector,
    whole,
)


@pytest.mark.row("K10", part="words")
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
        assert await passage(index, "acme", "pay-1", frozenset(groups)) is None
        assert await index.document("acme", "pay", frozenset(groups)) is None
    assert await found(index, "salary", {"hr"}) == ["pay-1"]


@pytest.mark.row("K7", part="index")
async def test_another_tenant_sees_nothing_whatever_its_groups(index: KnowledgeIndex) -> None:
    one = document("pay", "The salary band.", groups=ANY_GROUP)
    await index.upsert(one, whole(one))

    assert await found(index, "salary", ANY_GROUP, tenant="rival") == []
    assert await passage(index, "rival", "pay-1", ANY_GROUP) is None
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

    first = await passage(index, "acme", "one-1", EVERYONE)
    second = await passage(index, "acme", "two-1", frozenset({"hr"}))

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
    opened = await passage(index, "acme", "one-1", frozenset({"hr"}))
    assert opened is not None
    assert opened.label.readers.clauses == (("group:hr",),)


async def test_an_upsert_replaces_all_passages_and_keeps_the_ids_of_unchanged_ones(index: KnowledgeIndex) -> None:
    old = document("one", "alpha stays\n\nbeta goes")
    new = document("one", "gamma comes\n\nalpha stays")
    await index.upsert(old, paragraphs(old.text))

    await index.upsert(new, paragraphs(new.text))

    assert await found(index, "beta") == []
    assert await found(index, "alpha") == ["one-1"]
    assert await found(index, "gamma") == ["one-3"]  # 2 was the id of other text and is not given again
    assert await passage(index, "acme", "one-2", EVERYONE) is None
    assert (await index.stats("acme")).passages == 2


@pytest.mark.row("K2", part="index")
async def test_a_passage_is_the_text_of_its_span(index: KnowledgeIndex) -> None:
    one = document("one", "第一段 🙂 alpha\n\n第二段 beta")
    await index.upsert(one, paragraphs(one.text))

    passages = await index.keyword(lookup("alpha beta"), 5)
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

    held = await index.document("acme", "one", EVERYONE)
    assert held is not None
    assert held == replace(given, edition=1, stored_at=held.stored_at)
    assert held.stored_at is not None
    assert held.stored_at.utcoffset() == datetime.now(UTC).utcoffset()
    assert await index.catalogue("acme") == {"one": {"owner": "IT; DROP TABLE document"}}


async def test_metadata_narrows_a_search(index: KnowledgeIndex) -> None:
    for language in ("en", "zh", "de"):
        await put(index, document(language, "alpha", meta={"language": language, "kind": "faq"}))

    async def ask(**where: str | frozenset[str]) -> list[str]:
        return sorted(passage.id for passage in await index.keyword(lookup("alpha", where=where), 5))

    assert await ask(language="zh") == ["zh-1"]
    assert await ask(language="zh", kind="faq") == ["zh-1"]
    assert await ask(language=frozenset({"zh", "de", "fr"}), kind="faq") == ["de-1", "zh-1"]
    assert await ask(language="zh", kind="news") == []
    assert await ask(language=frozenset()) == []
    assert await ask(owner="x") == []
    assert await ask(**{"language' OR '1": "zh", "language": "zh"}) == []


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

    assert await passage(index, "acme", id, EVERYONE) is None


async def test_passages_are_opened_together_and_each_by_its_own_permission(index: KnowledgeIndex) -> None:
    for one in (document("one", "alpha"), document("two", "beta", groups={"hr"}), document("three", "gamma")):
        await index.upsert(one, whole(one))

    opened = await index.passages("acme", ["three-1", "two-1", "one-1", "one-1", "one-9", "nothing"], EVERYONE)

    assert {name: one.text for name, one in opened.items()} == {"three-1": "gamma", "one-1": "alpha"}
    assert await index.passages("acme", [], EVERYONE) == {}


@pytest.mark.row("K8", part="index")
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
            passages = await index.keyword(lookup("alpha"), 50)
            assert len(passages) == 20
            seen.append({passage.text.split()[1] for passage in passages})

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(rewrite)
        tasks.start_soon(watch)
        tasks.start_soon(watch)

    assert all(len(version) == 1 for version in seen)


EDITIONS = ("first text", "second text")


async def test_another_text_is_another_edition_and_the_former_can_be_opened(index: KnowledgeIndex) -> None:
    for text in EDITIONS:
        await put(index, document("one", text, title=text.split()[0]))

    former = await index.document("acme", "one", EVERYONE, edition=1)
    present = await index.document("acme", "one", EVERYONE)
    editions = await index.editions("acme", "one", EVERYONE)

    assert former is not None
    assert present is not None
    assert (former.text, former.title, former.edition) == ("first text", "first", 1)
    assert (present.text, present.title, present.edition) == ("second text", "second", 2)
    assert await index.document("acme", "one", EVERYONE, edition=2) == present
    assert [(e.number, e.title, e.characters) for e in editions] == [(2, "second", 11), (1, "first", 10)]
    assert editions[0].stored_at == present.stored_at
    assert [passage.edition for passage in await index.keyword(lookup("text"), 5)] == [2]
    assert editions[1].sha256 == sha256(b"first text").hexdigest()
    assert await found(index, "first") == []


async def test_the_same_text_again_is_no_other_edition(index: KnowledgeIndex) -> None:
    await put(index, document("one", "alpha"))
    before = await index.editions("acme", "one", EVERYONE)

    await put(index, document("one", "alpha", title="Renamed", groups={"everyone", "hr"}, meta={"owner": "IT"}))
    await index.set_groups("acme", "one", EVERYONE)

    after = await index.editions("acme", "one", EVERYONE)
    assert [(e.number, e.stored_at) for e in after] == [(e.number, e.stored_at) for e in before]
    held = await index.document("acme", "one", EVERYONE)
    assert held is not None
    assert (held.title, held.edition, held.meta) == ("Renamed", 1, {"owner": "IT"})


async def test_a_text_that_comes_back_is_an_edition_of_its_own(index: KnowledgeIndex) -> None:
    for text in (*EDITIONS, EDITIONS[0]):
        await put(index, document("one", text))

    editions = await index.editions("acme", "one", EVERYONE)

    assert [e.number for e in editions] == [3, 2, 1]
    assert editions[0].sha256 == editions[2].sha256 != editions[1].sha256


@pytest.mark.parametrize("number", [0, -1, 3, 2**31, 2**70])
async def test_an_edition_there_never_was_is_not_opened(index: KnowledgeIndex, number: int) -> None:
    for text in EDITIONS:
        await put(index, document("one", text))

    assert await index.document("acme", "one", EVERYONE, edition=number) is None


async def test_a_deleted_document_leaves_no_edition(index: KnowledgeIndex) -> None:
    for text in EDITIONS:
        await put(index, document("one", text))

    assert await index.delete("acme", ["one"]) == 1
    await put(index, document("one", "third text"))

    assert [e.number for e in await index.editions("acme", "one", EVERYONE)] == [3]
    assert [await index.document("acme", "one", EVERYONE, edition=number) for number in (1, 2)] == [None, None]


@pytest.mark.row("K8", part="numbers")
@pytest.mark.parametrize("text", ["first text", "other text"])
async def test_a_document_that_comes_back_has_no_number_of_the_deleted_one(index: KnowledgeIndex, text: str) -> None:
    for _ in range(2):  # deleted twice, too
        await put(index, document("one", "first text\n\nsecond"))
        await index.delete("acme", ["one"])
    await put(index, document("one", text))

    held = await index.document("acme", "one", EVERYONE)
    passages = [await passage(index, "acme", f"one-{n}", EVERYONE) for n in range(1, 7)]

    assert held is not None
    assert (held.text, held.edition) == (text, 3)
    assert [one and one.text for one in passages] == [None, None, None, None, text, None]
    assert await index.document("rival", "one", EVERYONE) is None


@pytest.mark.row("K7", part="index")
async def test_of_many_documents_those_are_told_that_one_may_read(index: KnowledgeIndex) -> None:
    await put(index, document("open", "alpha"))
    await put(index, document("closed", "alpha", groups={"hr"}))
    await put(index, document("deleted", "alpha"))
    await index.delete("acme", ["deleted"])
    asked = ["open", "closed", "deleted", "never", "open", "", "a\0b"]

    assert await index.readable("acme", asked, EVERYONE) == {"open"}
    assert await index.readable("acme", asked, ANY_GROUP) == {"open", "closed"}
    assert await index.readable("acme", asked, frozenset()) == frozenset()
    assert await index.readable("rival", asked, ANY_GROUP) == frozenset()
    assert await index.readable("acme", [], ANY_GROUP) == frozenset()


@pytest.mark.row("K7", part="index")
async def test_former_editions_are_read_by_those_who_may_read_the_document_now(index: KnowledgeIndex) -> None:
    await put(index, document("one", "first text"))
    await put(index, document("one", "second text", groups={"hr"}))

    for groups, tenant in ((EVERYONE, "acme"), (frozenset(), "acme"), (ANY_GROUP, "rival")):
        assert await index.editions(tenant, "one", groups) == []
        assert await index.document(tenant, "one", groups, edition=1) is None
    held = await index.document("acme", "one", frozenset({"hr"}), edition=1)
    assert held is not None
    assert held.groups == {"hr"}


async def test_documents_are_listed_page_by_page_without_their_text(index: KnowledgeIndex) -> None:
    for name in ("b", "a", "d", "c", "é", "年"):
        await put(index, document(name, "alpha", meta={"name": name}))

    first = await index.documents("acme", EVERYONE, limit=2)
    second = await index.documents("acme", EVERYONE, after=first[-1].id, limit=2)
    rest = await index.documents("acme", EVERYONE, after=second[-1].id)

    assert [one.id for one in (*first, *second, *rest)] == ["a", "b", "c", "d", "é", "年"]
    assert {one.text for one in first} == {""}
    assert (first[0].title, first[0].meta, first[0].edition) == ("a", {"name": "a"}, 1)
    assert await index.documents("acme", EVERYONE, after="年") == []
    assert await index.documents("acme", EVERYONE, limit=0) == []


@pytest.mark.row("K7", part="index")
async def test_only_readable_documents_are_listed_and_they_fill_the_page(index: KnowledgeIndex) -> None:
    for number in range(6):
        await put(index, document(f"d{number}", "alpha", groups={"hr"} if number % 2 else EVERYONE))

    assert [one.id for one in await index.documents("acme", EVERYONE, limit=2)] == ["d0", "d2"]
    assert [one.id for one in await index.documents("acme", frozenset({"hr"}))] == ["d1", "d3", "d5"]
    assert await index.documents("acme", frozenset()) == []
    assert await index.documents("rival", ANY_GROUP) == []


HOSTILE = ("one\0", "\0", "\ud800", "one\udfff")


@pytest.mark.parametrize("text", HOSTILE)
async def test_what_no_engine_can_keep_is_refused(index: KnowledgeIndex, text: str) -> None:
    plain = document("one", "alpha")
    await put(index, plain)
    bad = [
        replace(plain, id=text),
        replace(plain, tenant=text),
        replace(plain, title=text),
        replace(plain, text=text),
        replace(plain, uri=text),
        replace(plain, groups=frozenset({text})),
        replace(plain, meta={text: "x"}),
        replace(plain, meta={"x": text}),
    ]

    for one in bad:
        with pytest.raises(InvalidInput):
            await index.upsert(one, whole(one))
    with pytest.raises(InvalidInput):
        await index.upsert(plain, [Chunk(text="alpha", start=0, end=5, heading_path=(text,))])
    with pytest.raises(InvalidInput):
        await index.set_groups("acme", "one", frozenset({text}))

    assert await found(index, "alpha") == ["one-1"]
    assert (await index.stats("acme")).generation == 1


@pytest.mark.parametrize("text", [*HOSTILE, "one'; DROP TABLE document; --", '"]', "%", "_"])
async def test_a_name_nothing_can_have_names_nothing(plane: KnowledgeIndex, text: str) -> None:
    await put(plane, document("one", "alpha", meta={"kind": "faq"}), vector(1, 0))

    assert await found(plane, "alpha", {text}) == []
    assert await found(plane, "alpha", tenant=text) == []
    assert await found(plane, text) in ([], ["one-1"])
    assert await near(plane, (1, 0), {text}) == []
    assert await near(plane, (1, 0), tenant=text) == []
    assert await near(plane, (1, 0), where={"kind": text}) == []
    assert await near(plane, (1, 0), where={text: "faq"}) == []
    assert await near(plane, (1, 0), where={"kind": frozenset({text, "faq"})}) == ["one-1"]
    assert await passage(plane, "acme", text + "-1", EVERYONE) is None
    assert await passage(plane, "acme", "one-1", frozenset({text})) is None
    assert await passage(plane, text, "one-1", EVERYONE) is None
    assert await plane.document("acme", text, EVERYONE) is None
    assert await plane.document("acme", "one", frozenset({text})) is None
    assert await plane.documents(text, EVERYONE) == []
    assert await plane.editions("acme", text, EVERYONE) == []
    assert await plane.catalogue(text) == {}
    assert (await plane.stats(text)).documents == 0
    assert await plane.delete("acme", [text]) == 0
    with pytest.raises(NotFound):
        await plane.set_groups("acme", text, EVERYONE)
    assert await found(plane, "alpha") == ["one-1"]


@pytest.mark.row("K7", part="index")
@pytest.mark.parametrize("group", ["hr\0", "hr\0everyone", "h_", "%", "hr%", '"hr"', "hr,staff", "{hr}", "hr\n"])
async def test_a_group_is_not_read_as_one_it_resembles(plane: KnowledgeIndex, group: str) -> None:
    await put(plane, document("pay", "salary", groups={"hr"}), vector(1, 0))

    assert await found(plane, "salary", {group}) == []
    assert await near(plane, (1, 0), {group}) == []
    assert await plane.document("acme", "pay", frozenset({group})) is None
    assert await plane.documents("acme", frozenset({group})) == []


@pytest.mark.row("K7", part="index")
async def test_new_groups_hold_at_once_wherever_a_document_is_read(plane: KnowledgeIndex) -> None:
    await put(plane, document("one", "alpha"), vector(1, 0))
    seen: list[list[bool]] = []

    async def look() -> None:
        seen.append(
            [
                bool(await found(plane, "alpha")),
                bool(await near(plane, (1, 0))),
                bool(await passage(plane, "acme", "one-1", EVERYONE)),
                bool(await plane.document("acme", "one", EVERYONE)),
                bool(await plane.documents("acme", EVERYONE)),
                bool(await plane.editions("acme", "one", EVERYONE)),
            ]
        )

    await look()
    for groups in (frozenset({"hr"}), frozenset({"staff", "everyone"}), frozenset[str]()):
        await plane.set_groups("acme", "one", groups)
        await look()

    assert seen == [[True] * 6, [False] * 6, [True] * 6, [False] * 6]


@pytest.mark.row("K7", part="index")
async def test_without_groups_nothing_is_read(plane: KnowledgeIndex) -> None:
    await put(plane, document("one", "alpha"), vector(1, 0))
    await put(plane, document("closed", "alpha", groups=()), vector(1, 0))

    assert await found(plane, "alpha", ()) == []
    assert await near(plane, (1, 0), ()) == []
    assert await plane.documents("acme", frozenset()) == []
    assert await found(plane, "alpha", ANY_GROUP) == ["one-1"]
    assert await near(plane, (1, 0), ANY_GROUP) == ["one-1"]


@pytest.mark.row("K10", part="identity")
async def test_an_index_is_there_after_reopening_and_says_what_it_was_made_with(open_index: Open) -> None:
    first = await open_index(PLANE)
    await put(first, document("one", "alpha"), vector(1, 0))
    await first.close()

    again = await open_index(PLANE)

    assert await found(again, "alpha") == ["one-1"]
    assert await near(again, (1, 0)) == ["one-1"]
    stats = await again.stats("acme")
    assert (stats.documents, stats.passages, stats.analyzer, stats.space) == (1, 1, ANALYZER, PLANE)


@pytest.mark.row("K10", part="identity")
@pytest.mark.parametrize(
    ("written", "opened"),
    [
        (PLANE, KEYWORDS),
        (KEYWORDS, PLANE),
        (PLANE, Space(embedder="directions", dim=3)),
        (PLANE, Space(embedder="other", dim=2)),
    ],
)
async def test_an_index_of_another_space_is_refused_and_left_alone(open_index: Open, written: Space, opened: Space) -> None:
    index = await open_index(written)
    await put(index, document("one", "alpha"))
    await index.close()

    with pytest.raises(Misconfigured, match="re-index"):
        await open_index(opened)

    assert await found(await open_index(written), "alpha") == ["one-1"]


@pytest.mark.row("K8", part="index")
async def test_a_change_meant_for_an_older_generation_is_refused_and_changes_nothing(index: KnowledgeIndex) -> None:
    one, other = document("one", "alpha"), document("other", "beta")
    await index.upsert(one, whole(one), generation=0)
    seen = (await index.stats("acme")).generation
    await index.set_groups("acme", "one", frozenset({"hr"}))

    with pytest.raises(Conflict):
        await index.upsert(one, whole(one), generation=seen)
    with pytest.raises(Conflict):
        await index.delete("acme", ["one"], generation=seen)

    assert await index.document("acme", "one", frozenset({"everyone"})) is None
    assert await index.document("acme", "one", frozenset({"hr"})) is not None
    await index.upsert(other, whole(other), generation=(await index.stats("acme")).generation)
    assert await index.delete("acme", ["one", "other"], generation=(await index.stats("acme")).generation) == 2
