"""What the Qdrant index promises without transactions: writers that die or race, and readers in between."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

import anyio
import pytest
from qdrant_client import AsyncQdrantClient
from qdrant_client.http.models import VersionInfo

from quarterdeck.core.errors import Misconfigured, StoreUnavailable
from quarterdeck.knowledge.base import Lookup
from quarterdeck.knowledge.indexes.qdrant import QdrantIndex
from tests.contracts.indexes import EVERYONE, PLANE, document, found, lookup, near, put, vector

from .qdrant_wire import Wire

CHANGING = frozenset({"upsert", "delete", "set_payload", "delete_payload"})
OLD = document("one", "alpha old\n\nbeta old\n\nalpha and beta old")
NEW = document("one", "alpha new\n\nbeta new")

Step = Callable[[int, str], Awaitable[None]]


class Killed(Exception):
    """The process ended here."""


class Stepping:
    """A client that says before each change that it is about to make it, and how many came before."""

    def __init__(self, client: AsyncQdrantClient, step: Step) -> None:
        self._client = client
        self._step = step
        self.steps = 0

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        if name not in CHANGING:
            return call

        async def changing(collection: str, *args: Any, **kwargs: Any) -> Any:
            await self._step(self.steps, collection)
            self.steps += 1
            return await call(collection, *args, **kwargs)

        return changing


@pytest.fixture
async def client() -> AsyncIterator[AsyncQdrantClient]:
    opened = AsyncQdrantClient(location=":memory:")
    yield opened
    await opened.close()


async def process(client: object, *, started: bool = True) -> QdrantIndex:
    """An index as another process has it: over the same points, knowing nothing of what others did."""
    index = QdrantIndex(cast(AsyncQdrantClient, client))
    if started:
        await index.start(indexed=False)
    return index


async def seen(index: QdrantIndex, groups: frozenset[str] = EVERYONE) -> set[str]:
    return {passage.text for passage in await index.keyword(lookup("alpha beta", groups), 10)}


def texts(text: str) -> set[str]:
    return set(text.split("\n\n"))


def dying_at(step: int) -> Step:
    async def die(number: int, collection: str) -> None:
        if number >= step:
            raise Killed

    return die


async def upsert_new(index: QdrantIndex) -> None:
    await put(index, NEW)


async def delete(index: QdrantIndex) -> None:
    await index.delete("acme", ["one"])


async def take_away(index: QdrantIndex) -> None:
    await index.set_groups("acme", "one", frozenset({"hr"}))


CHANGES = {"upsert": (upsert_new, texts(NEW.text)), "delete": (delete, set()), "groups": (take_away, set())}


@pytest.mark.row("K8", part="qdrant")
@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("step", range(6))
async def test_a_writer_killed_at_any_step_leaves_the_old_or_the_new_and_the_next_completes_it(
    client: AsyncQdrantClient, name: str, step: int
) -> None:
    change, after = CHANGES[name]
    await put(await process(client), OLD)
    with suppress(Killed):
        await change(await process(Stepping(client, dying_at(step)), started=False))
    left = await seen(await process(client, started=False))

    reopened = await process(client)
    at_start = await seen(reopened)
    if at_start != after:  # it never happened, so whoever wanted it asks again
        await change(reopened)

    assert left in (texts(OLD.text), after)
    assert at_start == left
    assert await seen(reopened) == after
    stats = await reopened.stats("acme")
    assert stats.passages == {"upsert": 2, "delete": 0, "groups": 3}[name]
    assert stats.documents == (name != "delete")
    assert stats.generation == 2


@pytest.mark.parametrize("name", CHANGES)
async def test_a_reader_at_any_step_of_a_change_sees_the_old_or_the_new_and_never_the_old_again(
    client: AsyncQdrantClient, name: str
) -> None:
    change, after = CHANGES[name]
    await put(await process(client), OLD)
    warm, states, listed = await process(client), [], []

    async def look(number: int, collection: str) -> None:
        for index in (warm, await process(client, started=False)):
            states.append(await seen(index))
            listed.append(len(await index.documents("acme", EVERYONE)))

    await change(await process(Stepping(client, look), started=False))

    assert len(states) >= 8
    assert all(state in (texts(OLD.text), after) for state in states)
    assert states == sorted(states, key=lambda state: state == after)
    assert await seen(warm) == after
    assert set(listed) == ({1} if name == "upsert" else {0, 1})


@pytest.mark.row("K7", part="qdrant")
async def test_groups_that_are_given_and_taken_away_at_once_change_in_one_moment(client: AsyncQdrantClient) -> None:
    index = await process(client)
    await put(index, OLD)
    states: list[tuple[bool, bool]] = []

    async def look(number: int, collection: str) -> None:
        other = await process(client, started=False)
        states.append((bool(await seen(other)), bool(await seen(other, frozenset({"hr"})))))

    await take_away(await process(Stepping(client, look), started=False))

    assert set(states) <= {(True, False), (False, True)}
    assert states[0] == (True, False)
    assert await seen(index, frozenset({"hr"})) == texts(OLD.text)


async def test_of_two_writers_of_a_document_each_wins_wholly_or_comes_after(client: AsyncQdrantClient) -> None:
    other = document("one", "\n\n".join(f"alpha other {n}" for n in range(5)))
    fast = await process(client)
    await put(fast, OLD)
    passed: list[int] = []

    async def let_pass(number: int, collection: str) -> None:
        if collection.endswith("records") and not passed:
            passed.append(number)
            await put(fast, other)

    await put(await process(Stepping(client, let_pass), started=False), NEW)

    reader = await process(client)
    assert passed
    assert await seen(reader) == texts(NEW.text)
    stats = await reader.stats("acme")
    assert (stats.passages, stats.documents, stats.generation) == (2, 1, 3)
    assert [edition.number for edition in await reader.editions("acme", "one", EVERYONE)] == [3, 2, 1]
    # The number that the other writer gave in between is not given to other text.
    assert set(await found(reader, "alpha beta")) == {"one-9", "one-10"}


async def test_many_writers_of_one_document_all_come_through(client: AsyncQdrantClient) -> None:
    indexes = [await process(client) for _ in range(5)]

    async with anyio.create_task_group() as tasks:
        for number, index in enumerate(indexes):
            tasks.start_soon(put, index, document("one", f"alpha {number}"))

    stats = await indexes[0].stats("acme")
    assert (stats.documents, stats.passages, stats.generation) == (1, 1, 5)


class Halting(Stepping):
    """A client whose first search waits, after it has looked, until it is told to go on."""

    def __init__(self, client: AsyncQdrantClient, between: Callable[[], Awaitable[None]]) -> None:
        super().__init__(client, dying_at(0))
        self._between: Callable[[], Awaitable[None]] | None = between

    async def query_points(self, *args: Any, **kwargs: Any) -> Any:
        result = await self._client.query_points(*args, **kwargs)
        if self._between:
            between, self._between = self._between, None
            await between()
        return result


async def test_a_search_during_which_a_document_is_replaced_is_made_again(client: AsyncQdrantClient) -> None:
    writer = await process(client)
    await put(writer, OLD)
    reader = await process(Halting(client, lambda: put(writer, NEW)), started=False)

    assert await seen(reader) == texts(NEW.text)


async def test_a_batch_that_was_half_written_when_it_was_looked_through_is_looked_through_again(
    client: AsyncQdrantClient,
) -> None:
    # Only the new document has the word, so nothing of the old one tells the reader that something happened.
    many = document("one", "\n\n".join(f"gamma {number}" for number in range(250)))
    half, looked, done = anyio.Event(), anyio.Event(), anyio.Event()
    await put(await process(client), OLD)

    async def stop_in_the_middle(number: int, collection: str) -> None:
        if number == 1:
            half.set()
            await looked.wait()

    async def let_it_finish() -> None:
        looked.set()
        await done.wait()

    async def write() -> None:
        await put(await process(Stepping(client, stop_in_the_middle), started=False), many)
        done.set()

    reader = await process(Halting(client, let_it_finish), started=False)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            await half.wait()
            passages = await reader.keyword(Lookup(text="gamma", tenant="acme", groups=EVERYONE), 300)

    assert len(passages) == 250


async def test_passages_in_the_making_take_no_place_in_a_result(client: AsyncQdrantClient) -> None:
    index = await process(client)
    await put(index, document("kept", "a long text with many other words in which alpha stands only once"))
    for number in range(30):
        with pytest.raises(Killed):
            await put(await process(Stepping(client, dying_at(1)), started=False), document(f"lost{number}", "alpha alpha"))

    assert await found(index, "alpha", k=1) == ["kept-1"]


async def test_a_deleted_document_leaves_neither_text_nor_name(client: AsyncQdrantClient) -> None:
    index = await process(client)
    await put(index, OLD)
    await put(index, NEW)

    await index.delete("acme", ["one"])

    points = [*(await client.scroll("quarterdeck-records"))[0], *(await client.scroll("quarterdeck-passages"))[0]]
    assert not any(word in str(point.payload) for point in points for word in ("alpha", "'one'"))
    assert await index.catalogue("acme") == {}


async def test_a_server_that_does_not_answer_is_an_outage() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else answers there meanwhile
        url = f"qdrant://127.0.0.1:{taken.getsockname()[1]}"

        with pytest.raises(StoreUnavailable):
            await QdrantIndex.open(url, timeout_s=2)


async def test_a_server_that_refuses_the_key_is_a_mistake_in_the_configuration() -> None:
    async def refuse(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, refuse)
        with pytest.raises(Misconfigured, match="key"):
            await QdrantIndex.open(f"qdrant://127.0.0.1:{port}/kb", timeout_s=5)
        tasks.cancel_scope.cancel()
    await listener.aclose()


async def test_a_server_that_ignores_conditions_is_refused(client: AsyncQdrantClient) -> None:
    class Old(Stepping):
        async def info(self) -> VersionInfo:
            return VersionInfo(title="qdrant", version="1.15.5")

    with pytest.raises(Misconfigured, match=r"1\.16"):
        await process(Old(client, dying_at(0)))


@pytest.mark.parametrize(
    "url",
    [
        "qdrant://",
        "http://127.0.0.1:6333/kb",
        "qdrant://127.0.0.1:port/kb",
        "qdrant://127.0.0.1/a/b",
        "qdrant://user@127.0.0.1/kb",
        "qdrant+local://",
        "qdrant://127.0.0.1/kb?x=1",
    ],
)
async def test_what_is_no_address_of_an_index_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured):
        await QdrantIndex.open(url)


async def test_what_is_asked_of_a_server_has_the_form_it_takes(client: AsyncQdrantClient) -> None:
    remote = AsyncQdrantClient(url="http://127.0.0.1:6333", check_compatibility=False, transport=Wire(client))
    index = QdrantIndex(remote, space=PLANE)
    await index.start()
    given = document("one", "alpha stands here\n\nbeta stands there", meta={"language": "en"})
    await put(index, given, vector(1, 0), vector(0, 1))
    await put(index, document("two", "gamma", groups={"hr"}))

    await index.set_groups("acme", "one", frozenset({"staff"}))
    await put(index, document("one", "alpha again", groups={"staff"}, meta={"language": "en"}), vector(1, 0))
    deleted = await index.delete("acme", ["two"])

    staff = frozenset({"staff"})
    assert deleted == 1
    assert await found(index, "alpha", staff) == ["one-3"]
    assert await near(index, (1, 0), staff, where={"language": frozenset({"en", "zh"})}) == ["one-3"]
    assert await near(index, (1, 0), staff, where={"language": "zh"}) == []
    assert [edition.number for edition in await index.editions("acme", "one", staff)] == [2, 1]
    former = await index.document("acme", "one", staff, edition=1)
    assert former is not None
    assert former.text == given.text
    assert [one.id for one in await index.documents("acme", staff)] == ["one"]
    assert await index.catalogue("acme") == {"one": {"language": "en"}}
    stats = await index.stats("acme")
    assert (stats.documents, stats.passages, stats.generation) == (1, 1, 5)
    await index.close()
