from __future__ import annotations

import time
from array import array
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from quarterdeck.core.context import Context, Principal
from quarterdeck.core.errors import BudgetExceeded, DeadlineExceeded, InvalidInput, ModelUnavailable
from quarterdeck.core.usage import Usage
from quarterdeck.knowledge.chunk import split
from quarterdeck.knowledge.embedders.cached import CachedEmbedder
from quarterdeck.knowledge.parsers import markdown
from quarterdeck.models.embeddings import Embedded
from quarterdeck.store.cache import MemoryCache, Shelf
from quarterdeck.store.cache_sqlite import SqliteCache

ARTICLES = sorted((Path(__file__).parents[4] / "examples" / "support_desk" / "knowledge").glob("*.md"))[:8]


class Lengths:
    """Vectors that tell a text's length; remembers who asked for what, and answers when it is let."""

    languages: frozenset[str] | None = None

    def __init__(self, name: str = "lengths/2") -> None:
        self.id = name
        self.dim = 2
        self.asked: list[tuple[str, list[str]]] = []
        self.errors: list[Exception] = []
        self.let = anyio.Event()
        self.let.set()

    async def embed(self, texts: Sequence[str], ctx: Context) -> Embedded:
        self.asked.append((ctx.principal.user, list(texts)))
        await self.let.wait()
        if self.errors:
            raise self.errors.pop(0)
        vectors = tuple(array("f", [len(text), ord(text[0])]) for text in texts)
        return Embedded(vectors=vectors, usage=Usage(prompt_tokens=len(texts)))


def ctx(user: str = "ann", tenant: str = "acme", left_s: float = 5.0) -> Context:
    return Context(principal=Principal(user=user, tenant=tenant), run_id="r1", deadline=time.monotonic() + left_s)


def cached(embedder: Lengths, cache: MemoryCache | None = None, window_s: float = 60.0) -> CachedEmbedder:
    """Whose window nobody lives to see: only what sets a batch going does."""
    shelf = Shelf(cache or MemoryCache(), "vectors", ttl_s=7 * 86_400)
    return CachedEmbedder(embedder, shelf, window_s=window_s, joining=3, at_once=6)


@pytest.mark.row("K11", part="vectors")
async def test_a_vector_is_made_once_and_the_same_afterwards() -> None:
    inner = Lengths()
    embedder = cached(inner)

    first = await embedder.embed(["one", "three", "one"], ctx())
    second = await embedder.embed(["three", "one", "new"], ctx())

    assert [list(v) for v in first.vectors] == [[3, ord("o")], [5, ord("t")], [3, ord("o")]]
    assert second.vectors[:2] == (first.vectors[1], first.vectors[0])
    assert [texts for _, texts in inner.asked] == [["one", "three"], ["new"]]
    assert (first.usage.prompt_tokens, second.usage.prompt_tokens) == (2, 1)


@pytest.mark.row("K3", part="cached")
@pytest.mark.row("K11", part="vectors")
async def test_a_second_ingestion_makes_no_call(tmp_path: Path) -> None:
    articles = [markdown.parse(path.read_bytes()) for path in ARTICLES]
    texts = [piece.text for article in articles for piece in split(article.text, article.blocks)]
    calls = []

    for _ in range(2):  # each in a process of its own
        cache = await SqliteCache.open(tmp_path / "cache.sqlite")
        inner = Lengths()
        await CachedEmbedder(inner, Shelf(cache, "vectors", ttl_s=7 * 86_400)).embed(texts, ctx())
        calls.append(len(inner.asked))
        await cache.close()

    assert len(texts) > 8
    assert calls == [1, 0]


async def test_vectors_of_another_embedder_are_not_given() -> None:
    cache = MemoryCache()
    await cached(Lengths(), cache).embed(["one"], ctx())
    other = Lengths("other/2")

    await cached(other, cache).embed(["one"], ctx())

    assert len(other.asked) == 1


@pytest.mark.row("K11", part="permissions")
async def test_tenants_do_not_share_vectors() -> None:
    inner = Lengths()
    embedder = cached(inner)
    await embedder.embed(["one"], ctx())

    await embedder.embed(["one"], ctx(tenant="globex"))

    assert len(inner.asked) == 2


@pytest.mark.row("K3", part="gathered")
async def test_requests_that_come_while_one_is_under_way_go_out_together() -> None:
    inner = Lengths()
    inner.let = anyio.Event()
    embedder = cached(inner)
    got: dict[str, Embedded] = {}

    async def ask(text: str) -> None:
        got[text] = await embedder.embed([text], ctx(user=text))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for text in ("first", "second", "third", "fourth"):
                tasks.start_soon(ask, text)
                await anyio.wait_all_tasks_blocked()
            before = list(inner.asked)
            inner.let.set()

    assert before == [("first", ["first"])]  # at once, as nobody else was there
    assert inner.asked[1:] == [("second", ["second", "third", "fourth"])]
    assert [got[text].vectors[0][0] for text in ("first", "second", "third", "fourth")] == [5, 6, 5, 6]
    assert [got[text].usage.prompt_tokens for text in ("first", "second", "third", "fourth")] == [1, 3, 0, 0]
    assert (embedder.calls, embedder.texts, embedder.joined) == (2, 4, 2)


@pytest.mark.row("K3", part="gathered")
async def test_nobody_waits_longer_than_the_window() -> None:
    inner = Lengths()
    inner.let = anyio.Event()
    embedder = cached(inner, window_s=0.001)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(embedder.embed, ["first"], ctx())
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(embedder.embed, ["second"], ctx())
            while len(inner.asked) < 2:  # although the first is still under way
                await anyio.lowlevel.checkpoint()
            under_way = not inner.let.is_set()
            inner.let.set()

    assert under_way
    assert (embedder.calls, embedder.joined) == (2, 0)


async def test_a_text_that_is_on_its_way_is_not_asked_for_again() -> None:
    inner = Lengths()
    inner.let = anyio.Event()
    embedder = cached(inner)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(embedder.embed, ["the question of the day"], ctx())
            await anyio.wait_all_tasks_blocked()
            inner.let.set()

    assert len(inner.asked) == 1


async def test_a_large_request_goes_alone_and_at_once() -> None:
    inner = Lengths()
    inner.let = anyio.Event()
    embedder = cached(inner)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(embedder.embed, ["first"], ctx())
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(embedder.embed, ["a", "b", "c", "d"], ctx())
            await anyio.wait_all_tasks_blocked()
            before = len(inner.asked)
            inner.let.set()

    assert before == 2


async def test_a_gathered_call_has_a_bound() -> None:
    inner = Lengths()
    inner.let = anyio.Event()
    embedder = cached(inner)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(embedder.embed, ["first"], ctx())
            for n in range(4):
                await anyio.wait_all_tasks_blocked()
                tasks.start_soon(embedder.embed, [f"{n}a", f"{n}b"], ctx())
            await anyio.wait_all_tasks_blocked()
            full = list(inner.asked)
            inner.let.set()

    assert [len(texts) for _, texts in full] == [1, 6]
    assert [len(texts) for _, texts in inner.asked] == [1, 6, 2]


async def test_who_is_cancelled_leaves_the_call_to_those_who_joined() -> None:
    inner = Lengths()
    inner.let = anyio.Event()
    embedder = cached(inner)
    got: list[Embedded] = []

    async def ask(text: str) -> None:
        got.append(await embedder.embed([text], ctx(user=text)))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as inner_tasks:
                    inner_tasks.start_soon(ask, "leader")
                    await anyio.wait_all_tasks_blocked()
                    tasks.start_soon(ask, "leader of others")
                    await anyio.wait_all_tasks_blocked()
                    tasks.start_soon(ask, "leader")  # the same text
                    await anyio.wait_all_tasks_blocked()
                    scope.cancel()
            await anyio.wait_all_tasks_blocked()
            inner.let.set()

    assert len(got) == 2


@pytest.mark.parametrize("error", [BudgetExceeded("spent"), DeadlineExceeded("too late")])
async def test_what_stops_one_stops_nobody_who_joined(error: Exception) -> None:
    inner = Lengths()
    inner.let = anyio.Event()
    inner.errors = [error]
    embedder = cached(inner)
    got: list[object] = []

    async def ask(user: str) -> None:
        try:
            got.append((user, len((await embedder.embed(["same"], ctx(user=user))).vectors)))
        except type(error) as told:
            got.append((user, told))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for user in ("ann", "bob"):
                tasks.start_soon(ask, user)
                await anyio.wait_all_tasks_blocked()
            inner.let.set()

    assert got == [("ann", error), ("bob", 1)]


async def test_an_embedder_that_does_not_answer_is_not_asked_once_for_each() -> None:
    inner = Lengths()
    inner.let = anyio.Event()
    inner.errors = [ModelUnavailable("away")]
    embedder = cached(inner)
    failed: list[str] = []

    async def ask() -> None:
        with pytest.raises(ModelUnavailable):
            await embedder.embed(["same"], ctx())
        failed.append("yes")

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            inner.let.set()
    after = await embedder.embed(["same"], ctx())

    assert len(failed) == 5
    assert len(inner.asked) == 2
    assert len(after.vectors) == 1


async def test_who_joined_waits_no_longer_than_its_own_time() -> None:
    inner = Lengths()
    inner.let = anyio.Event()
    embedder = cached(inner)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(embedder.embed, ["same"], ctx())
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(DeadlineExceeded):
                await embedder.embed(["same"], ctx(left_s=0.01))
            inner.let.set()


async def test_an_empty_text_is_refused_and_no_text_needs_no_call() -> None:
    inner = Lengths()
    embedder = cached(inner)

    with pytest.raises(InvalidInput):
        await embedder.embed(["one", ""], ctx())

    assert (await embedder.embed([], ctx())).vectors == ()
    assert inner.asked == []


async def test_bytes_that_are_no_vector_of_this_length_are_a_miss() -> None:
    inner = Lengths()
    cache = MemoryCache()
    embedder = cached(inner, cache)
    await embedder.embed(["one"], ctx())
    inner.dim = 3

    await embedder.embed(["one"], ctx())

    assert len(inner.asked) == 2
