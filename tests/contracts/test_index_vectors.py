"""What every knowledge index must do with vectors."""

from __future__ import annotations

import math
import operator
import random
from array import array
from collections.abc import Sequence

import anyio
import pytest

from quarterdeck.core.errors import InvalidInput
from quarterdeck.knowledge.base import Chunk, KnowledgeIndex, Space, Vector
from tests.contracts.indexes import ANY_GROUP, EVERYONE, Open, document, lookup, near, put, vector, whole


@pytest.mark.row("K10", part="vectors")
async def test_the_nearest_passages_come_first_with_their_cosine(plane: KnowledgeIndex) -> None:
    await put(plane, document("one", "east\n\nnorth\n\nwest"), vector(2, 0), vector(0, 0.5), vector(-3, 0))

    passages = await plane.vector(lookup(), vector(5, 1), 3)

    assert [passage.text for passage in passages] == ["east", "north", "west"]
    length = math.hypot(5, 1)
    assert [passage.score for passage in passages] == pytest.approx([5 / length, 1 / length, -5 / length], abs=1e-5)
    assert (passages[1].doc_id, passages[1].start, passages[1].end) == ("one", 6, 11)
    assert passages[1].label.readers.clauses == (("tenant:acme",),)


async def test_a_chunk_without_a_vector_is_found_by_its_words_alone(plane: KnowledgeIndex) -> None:
    await put(plane, document("one", "alpha\n\n年假"), vector(1, 0), None)
    await put(plane, document("two", "alpha"))

    assert await near(plane, (1, 0)) == ["one-1"]
    assert [passage.id for passage in await plane.keyword(lookup("年假"), 5)] == ["one-2"]


async def test_an_index_without_vectors_gives_none(index: KnowledgeIndex) -> None:
    await put(index, document("one", "alpha"))

    assert await near(index, (1, 0)) == []


@pytest.mark.parametrize("numbers", [(), (1,), (1, 0, 0), (0, 0), (math.nan, 1), (math.inf, 1)])
async def test_a_vector_of_another_length_or_without_direction_is_refused(
    plane: KnowledgeIndex, numbers: Sequence[float]
) -> None:
    await put(plane, document("one", "alpha"), vector(1, 0))
    other = document("one", "beta")

    with pytest.raises(InvalidInput):
        await plane.upsert(other, whole(other), [vector(*numbers)])
    with pytest.raises(InvalidInput):
        await near(plane, numbers)

    assert await near(plane, (1, 0)) == ["one-1"]
    assert (await plane.stats("acme")).generation == 1


async def test_an_index_without_vectors_takes_none(index: KnowledgeIndex) -> None:
    one = document("one", "alpha")

    with pytest.raises(InvalidInput):
        await index.upsert(one, whole(one), [vector(1, 0)])


async def test_vectors_that_are_not_one_for_each_chunk_are_refused(plane: KnowledgeIndex) -> None:
    one = document("one", "alpha")

    with pytest.raises(InvalidInput):
        await plane.upsert(one, whole(one), [vector(1, 0), vector(0, 1)])

    assert (await plane.stats("acme")).documents == 0


@pytest.mark.row("K7", part="index")
async def test_forbidden_passages_are_not_near_and_take_no_place(plane: KnowledgeIndex) -> None:
    for number in range(30):
        await put(plane, document(f"secret{number}", "budget", groups={"hr"}), vector(1, 0))
    await put(plane, document("public", "budget"), vector(0.1, 1))
    await put(plane, document("alien", "budget", tenant="rival", groups=ANY_GROUP), vector(1, 0))

    assert await near(plane, (1, 0), k=1) == ["public-1"]
    assert await near(plane, (1, 0), k=50) == ["public-1"]
    assert await near(plane, (1, 0), ANY_GROUP, tenant="rival") == ["alien-1"]
    assert len(await near(plane, (1, 0), {"hr", "everyone"}, k=50)) == 31


async def test_a_passage_two_of_whose_groups_ask_is_near_once(plane: KnowledgeIndex) -> None:
    await put(plane, document("one", "alpha", groups=ANY_GROUP), vector(1, 0))

    assert await near(plane, (1, 0), ANY_GROUP) == ["one-1"]


async def test_metadata_narrows_what_is_near(plane: KnowledgeIndex) -> None:
    for place, language in enumerate(("en", "zh", "de")):
        await put(plane, document(language, "alpha", meta={"language": language}), vector(1, place))

    assert await near(plane, (1, 0), where={"language": "zh"}) == ["zh-1"]
    assert await near(plane, (1, 0), where={"language": frozenset({"zh", "de"})}) == ["zh-1", "de-1"]
    assert await near(plane, (1, 0), where={"language": frozenset()}) == []
    assert await near(plane, (1, 0), where={"owner": "IT"}) == []


async def test_what_was_replaced_or_deleted_is_near_no_more(plane: KnowledgeIndex) -> None:
    await put(plane, document("one", "alpha\n\nbeta"), vector(1, 0), vector(0, 1))
    await put(plane, document("two", "gamma"), vector(1, 1))
    before = await near(plane, (1, 0))

    await put(plane, document("one", "beta"), vector(-1, 0))
    replaced = await near(plane, (1, 0))
    await plane.delete("acme", ["two"])
    deleted = await near(plane, (1, 0))

    assert (before, replaced, deleted) == (["one-1", "two-1", "one-2"], ["two-1", "one-2"], ["one-2"])


def cloud(rng: random.Random, dim: int) -> Vector:
    return array("f", (rng.gauss(0, 1) for _ in range(dim)))


@pytest.mark.row("K10", part="recall")
async def test_the_same_passages_are_near_as_by_comparing_with_all_however_few_may_be_read(open_index: Open) -> None:
    rng = random.Random(7)
    space = Space(embedder="cloud", dim=12)
    index = await open_index(space)
    # Every group sees one document of a hundred, half of them, or all; each has three passages.
    groups = [{"all", *(["half"] if number % 2 else []), *(["rare"] if number == 51 else [])} for number in range(100)]
    vectors: dict[str, tuple[set[str], Vector]] = {}
    for number, readers in enumerate(groups):
        made = [cloud(rng, space.dim) for _ in range(3)]
        await put(index, document(f"d{number}", "a\n\nb\n\nc", groups=readers), *made)
        vectors |= {f"d{number}-{place + 1}": (readers, one) for place, one in enumerate(made)}

    for group in ("rare", "half", "all"):
        for _ in range(5):
            asked = cloud(rng, space.dim)
            readable = {name: one for name, (readers, one) in vectors.items() if group in readers}
            expected = sorted(readable, key=lambda name: -_cosine(readable[name], asked))[:10]

            assert await near(index, asked, {group}) == expected


def _cosine(one: Vector, other: Vector) -> float:
    return sum(map(operator.mul, one, other)) / math.hypot(*one) / math.hypot(*other)


@pytest.mark.row("K8", part="index")
async def test_vectors_during_a_reindex_are_those_of_the_old_or_the_new_document_never_half(plane: KnowledgeIndex) -> None:
    texts = ["\n\n".join(f"v{version} part{part}" for part in range(15)) for version in range(2)]
    vectors = [vector(1, place / 10) for place in range(15)]
    await put(plane, document("one", texts[0]), *vectors)
    seen: list[list[str]] = []

    async def rewrite() -> None:
        for turn in range(10):
            await put(plane, document("one", texts[(turn + 1) % 2]), *vectors)

    async def watch() -> None:
        for _ in range(20):
            passages = await plane.vector(lookup(), vector(1, 0), 50)
            seen.append([passage.text for passage in passages])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(rewrite)
        tasks.start_soon(watch)
        tasks.start_soon(watch)

    whole_texts = [text.split("\n\n") for text in texts]
    assert all(passages in whole_texts for passages in seen)


async def test_the_generation_rises_when_only_vectors_change(plane: KnowledgeIndex) -> None:
    one = document("one", "alpha")
    await put(plane, one, vector(1, 0))

    await put(plane, one, vector(0, 1))

    assert (await plane.stats("acme")).generation == 2
    assert [round(passage.score, 5) for passage in await plane.vector(lookup(groups=EVERYONE), vector(0, 1), 1)] == [1.0]


async def test_an_empty_index_has_nothing_near(plane: KnowledgeIndex) -> None:
    await plane.upsert(document("empty", ""), [])

    assert await near(plane, (1, 0)) == []
    assert await near(plane, (1, 0), k=0) == []


async def test_a_chunk_that_repeats_has_two_passages(plane: KnowledgeIndex) -> None:
    one = document("one", "aa")
    chunks = [Chunk(text="a", start=0, end=1), Chunk(text="a", start=1, end=2)]

    await plane.upsert(one, chunks, [vector(1, 0), vector(0, 1)])
    await plane.upsert(one, chunks, [vector(1, 0), vector(0, 1)])

    assert [(p.id, p.start) for p in await plane.vector(lookup(), vector(1, 0.1), 5)] == [("one-1", 0), ("one-2", 1)]
