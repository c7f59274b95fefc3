"""Two replicas with memories of their own over one Redis: what one of them may not give any more, neither gives."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from quarterdeck.core.answers import Asked, Given
from quarterdeck.core.context import Context, Principal
from quarterdeck.core.labels import join_all
from quarterdeck.knowledge.base import Document
from quarterdeck.knowledge.chunk import split
from quarterdeck.knowledge.indexes.sqlite import SqliteIndex
from quarterdeck.knowledge.parsers import markdown
from quarterdeck.knowledge.recalled import Recalled
from quarterdeck.knowledge.remembered import RememberedAnswers
from quarterdeck.knowledge.search import Searcher
from quarterdeck.store.cache import Cache, Levels, MemoryCache, Shelf
from quarterdeck.store.cache_redis import PREFIX, RedisCache
from tests.redis_server import RedisServer

MARK = "zanzibar-47"
ANN = Principal(user="ann", tenant="acme", groups=("hr",))
EVE = Principal(user="eve", tenant="acme")
QUESTION = "Where is the garage?"


@dataclass
class Replica:
    """A process, as far as caches go."""

    index: SqliteIndex
    cache: Cache
    found: Shelf
    search: Recalled
    answers: RememberedAnswers
    answered: Shelf

    async def finds(self, who: Principal = ANN) -> str:
        ctx = Context(principal=who, run_id="r", deadline=time.monotonic() + 30)
        return repr(await self.search.find(QUESTION, ctx))

    async def says(self, who: Principal = ANN) -> str:
        return repr(await self.answers.recall(asked(who)))

    async def learns(self) -> None:
        ctx = Context(principal=ANN, run_id="r", deadline=time.monotonic() + 30)
        passages = (await self.search.find(QUESTION, ctx)).passages
        label = join_all(passage.label for passage in passages)
        given = Given(text=f"Below the yard, {MARK}. [garage-1]", model="m", passages=passages, label=label)
        await self.answers.keep(asked(ANN), given)


def asked(who: Principal) -> Asked:
    return Asked(question=QUESTION, principal=who, agent="a", policy="p")


@asynccontextmanager
async def replica(server: RedisServer, folder: Path) -> AsyncIterator[Replica]:
    index = await SqliteIndex.open(folder / "index.db")
    cache = Levels(MemoryCache(), RedisCache(server.url, secret=b"a secret of these tests", timeout_s=2.0))
    found, answered = Shelf(cache, "found", ttl_s=3600), Shelf(cache, "answers", ttl_s=86_400)
    search = Recalled(Searcher(index), index, found, configuration="")
    yield Replica(index, cache, found, search, RememberedAnswers(index, answered), answered)
    await cache.close()
    await index.close()


async def put(index: SqliteIndex, *groups: str) -> None:
    parsed = markdown.parse(f"# Garage\n\nThe garage is below the yard, {MARK}.".encode())
    document = Document(id="garage", tenant="acme", title=parsed.title, text=parsed.text, groups=frozenset(groups))
    await index.upsert(document, split(parsed.text, parsed.blocks))


@pytest.fixture
async def replicas(own_redis: RedisServer, tmp_path: Path) -> AsyncIterator[tuple[Replica, Replica]]:
    async with replica(own_redis, tmp_path) as one, replica(own_redis, tmp_path) as other:
        await put(one.index, "hr")
        yield one, other


@pytest.mark.row("K11", part="replicas")
async def test_what_one_replica_learnt_the_other_one_knows(replicas: tuple[Replica, Replica]) -> None:
    one, other = replicas
    await one.learns()

    found, said = await other.finds(), await other.says()

    assert MARK in found
    assert MARK in said
    assert (other.found.hits, other.answered.hits) == (1, 1)


@pytest.mark.row("K7", part="caches")
@pytest.mark.row("K11", part="replicas")
@pytest.mark.parametrize("how", ["groups", "delete", "text"])
async def test_a_right_taken_away_at_one_replica_is_effective_at_both_at_once(
    replicas: tuple[Replica, Replica], how: str
) -> None:
    one, _ = replicas
    await one.learns()
    before = [await each.finds() + await each.says() for each in replicas]  # both have it in memory now

    match how:
        case "groups":
            await one.index.set_groups("acme", "garage", frozenset({"board"}))
        case "delete":
            await one.index.delete("acme", ["garage"])
        case "text":
            await put(one.index, "board")
    after = [await each.finds() + await each.says() for each in replicas]

    assert all(MARK in text for text in before)
    assert all(MARK not in text for text in after)


@pytest.mark.row("K7", part="caches")
@pytest.mark.row("K11", part="replicas")
async def test_no_replica_gives_others_what_it_holds(replicas: tuple[Replica, Replica]) -> None:
    one, _ = replicas
    await one.learns()

    given = [
        await each.finds(who) + await each.says(who)
        for each in replicas
        for who in (EVE, replace(ANN, groups=()), replace(ANN, tenant="globex"), replace(EVE, groups=("user:ann",)))
    ]

    assert all(MARK not in text for text in given)


@pytest.mark.row("K11", part="replicas")
async def test_what_is_forgotten_leaves_redis(replicas: tuple[Replica, Replica], own_redis: RedisServer) -> None:
    one, _ = replicas
    await one.learns()
    with own_redis.client() as client:
        held = len(client.keys(f"{PREFIX}*"))  # type: ignore[arg-type]  # the client's types are those of two kinds

    gone = await one.found.forget("acme") and await one.answered.forget("acme")

    with own_redis.client() as client:
        assert client.keys(f"{PREFIX}*") == []
    assert gone
    assert held == 2


@pytest.mark.row("K11", part="outage")
async def test_replicas_go_on_without_redis_and_give_nobody_more(
    replicas: tuple[Replica, Replica], own_redis: RedisServer
) -> None:
    one, other = replicas
    await one.learns()
    own_redis.stop()

    found = await other.finds()
    said = await other.says()
    stranger = await other.finds(EVE) + await other.says(EVE)

    assert MARK in found  # searched anew
    assert said == "None"
    assert MARK not in stranger
