"""The index in Postgres: between processes, under row-level security, at a server that is away."""

from __future__ import annotations

import random
from array import array
from collections.abc import AsyncIterator

import anyio
import psycopg
import pytest
from psycopg import sql

from quarterdeck.core.errors import InvalidInput, Misconfigured, StoreUnavailable
from quarterdeck.knowledge.base import KEYWORDS, KnowledgeIndex, Space, Vector
from quarterdeck.knowledge.indexes import postgres
from quarterdeck.knowledge.indexes.postgres import PostgresIndex
from tests.contracts.indexes import PLANE, document, found, near, put, vector
from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.row("K10", part="postgres")
TABLES = ("tenant", "document", "edition", "reader", "passage", "post", "former", "vector")


async def opened(url: str, space: Space = PLANE) -> PostgresIndex:
    return await PostgresIndex.open(url, space, wait_s=20, answer_s=20)


@pytest.fixture
async def index(postgres_url_without_index: str) -> AsyncIterator[PostgresIndex]:
    one = await opened(postgres_url_without_index)
    yield one
    await one.close()


async def test_processes_that_open_an_empty_database_at_once_share_an_index(postgres_url: str) -> None:
    indexes: list[PostgresIndex] = []

    async def open_one() -> None:
        indexes.append(await opened(postgres_url))

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(open_one)
    for number, one in enumerate(indexes):
        await put(one, document(f"d{number}", "alpha"), vector(1, number))

    for one in indexes:
        assert sorted(await found(one, "alpha")) == ["d0-1", "d1-1", "d2-1", "d3-1"]
        assert await near(one, (1, 0), k=2) == ["d0-1", "d1-1"]
        assert (await one.stats("acme")).generation == 4
        await one.close()


async def test_two_pools_see_each_others_changes_at_once(index: PostgresIndex, postgres_url_without_index: str) -> None:
    other = await opened(postgres_url_without_index)

    await put(index, document("one", "alpha"), vector(1, 0))
    seen = [await near(other, (1, 0))]
    await other.set_groups("acme", "one", frozenset({"hr"}))
    seen += [await near(index, (1, 0)), await found(index, "alpha")]
    await index.delete("acme", ["one"])
    seen.append(await found(other, "alpha", {"hr"}))

    assert seen == [["one-1"], [], [], []]
    await other.close()


async def test_changes_of_one_document_from_many_sides_follow_each_other(
    index: PostgresIndex, postgres_url_without_index: str
) -> None:
    other = await opened(postgres_url_without_index)

    async with anyio.create_task_group() as tasks:
        for turn in range(10):
            for side in (index, other):
                tasks.start_soon(put, side, document("one", f"alpha\n\nturn {turn}"), vector(1, turn), vector(0, 1))

    stats = await index.stats("acme")
    assert (stats.documents, stats.passages, stats.generation) == (1, 2, 20)
    assert len(await found(index, "alpha turn")) == 2
    await other.close()


@pytest.mark.row("K7", part="index")
async def test_the_database_itself_hides_the_rows_of_other_tenants(
    index: PostgresIndex, postgres_url_without_index: str
) -> None:
    for name in ("one", "gone"):
        await put(index, document(name, "alpha", title=""), vector(1, 0))
    await index.delete("acme", ["gone"])
    counts: dict[str, list[int]] = {}

    async with await psycopg.AsyncConnection.connect(postgres_url_without_index, autocommit=True) as connection:
        await connection.execute("SET ROLE quarterdeck_app")
        for tenant in ("acme", "rival", ""):
            await connection.execute("SELECT set_config('quarterdeck.tenant', %s, false)", (tenant,))
            statements = [
                sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier("quarterdeck_knowledge", t)) for t in TABLES
            ]
            rows = [await (await connection.execute(statement)).fetchone() for statement in statements]
            counts[tenant] = [row[0] for row in rows if row]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("UPDATE quarterdeck_knowledge.identity SET value = 'x'")

    assert counts == {"acme": [1] * len(TABLES), "rival": [0] * len(TABLES), "": [0] * len(TABLES)}


@pytest.mark.row("K10", part="recall")
async def test_the_approximate_search_finds_what_comparing_with_all_finds(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(11)
    index = await opened(postgres_url, Space(embedder="cloud", dim=16))
    for number in range(100):
        groups = {"all", *(["half"] if number % 2 else []), *(["rare"] if number == 51 else [])}
        text = "\n\n".join("abcdefghijklmnopqrst")
        await put(index, document(f"d{number}", text, groups=groups), *(cloud(rng) for _ in range(20)))
    asked = {group: [cloud(rng) for _ in range(10)] for group in ("rare", "half", "all")}
    exact = {group: [await near(index, one, {group}) for one in asked[group]] for group in asked}

    await index.close()

    monkeypatch.setattr(postgres, "FEW", -1)
    index = await opened(postgres_url, Space(embedder="cloud", dim=16))

    for group, vectors in asked.items():
        approximate = [await near(index, one, {group}) for one in vectors]
        shared = [len(set(one) & set(other)) for one, other in zip(exact[group], approximate, strict=True)]
        assert sum(shared) >= 0.99 * 10 * len(vectors), group
    await index.close()
    # For so few, and before the tables were analysed, comparing with all of them looks cheaper to the planner.
    assert await scans(postgres_url, "vector_nearest") >= 30


async def scans(url: str, index: str) -> int:
    """How often an index was searched by connections that are closed by now."""
    statement = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = %s"
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        with anyio.fail_after(20):
            while True:  # they tell when they end, which is a moment after they are closed
                row = await (await connection.execute(statement, (index,))).fetchone()
                if row and row[0]:
                    return int(row[0])
                await anyio.sleep(0.05)


def cloud(rng: random.Random) -> Vector:
    return array("f", (rng.gauss(0, 1) for _ in range(16)))


async def test_english_words_are_found_in_other_forms(index: PostgresIndex) -> None:
    await put(index, document("one", "Connecting the tunnels"))

    assert await found(index, "how was the tunnel connected?") == ["one-1"]


async def test_a_word_of_most_passages_is_looked_up_only_if_there_is_no_other(
    index: PostgresIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "COMMON_FROM", 4)
    for number in range(10):
        await put(index, document(f"d{number}", f"company word{number}"))

    assert await found(index, "company word3") == ["d3-1"]
    assert len(await found(index, "company")) == 10


async def test_a_word_without_end_is_stored_and_found(index: PostgresIndex) -> None:
    endless = "x" * 100_000
    await put(index, document("one", f"alpha {endless}"))

    assert await found(index, endless) == ["one-1"]


async def test_a_name_that_is_too_long_for_the_database_is_refused(index: PostgresIndex) -> None:
    rng = random.Random(1)
    endless = "".join(chr(rng.randrange(0x4E00, 0x9FFF)) for _ in range(20_000))

    with pytest.raises(InvalidInput):
        await put(index, document(endless, "alpha"))


async def test_a_large_document_is_stored_in_one_go(index: PostgresIndex) -> None:
    text = "\n\n".join(f"paragraph {number} of a long text about w{number}" for number in range(1000))
    await put(index, document("long", text))

    assert await found(index, "w777") == ["long-778"]
    assert (await index.stats("acme")).passages == 1000


async def test_vectors_too_long_for_an_index_are_refused_at_once(postgres_url: str) -> None:
    with pytest.raises(Misconfigured, match="2000"):
        await opened(postgres_url, Space(embedder="large", dim=3072))

    keywords = await opened(postgres_url, KEYWORDS)  # nothing was left behind
    await keywords.close()


def with_login(url: str, *, role: str = "") -> str:
    """The same database for a login that has no rights but those of a role."""
    login = f"login_{url.rpartition('/')[2]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(login)))
        if role:
            connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), sql.Identifier(login)))
    return url.replace("postgres@", f"{login}@")


async def test_an_index_of_the_first_version_is_taken_over(postgres_url: str) -> None:
    index = await opened(postgres_url)
    await put(index, document("one", "alpha"), vector(1, 0))
    await index.close()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP TABLE quarterdeck_knowledge.former")
        connection.execute("UPDATE quarterdeck_knowledge.identity SET value = '1' WHERE name = 'schema'")

    index = await opened(postgres_url)
    await index.delete("acme", ["one"])
    await put(index, document("one", "beta"), vector(1, 0))

    assert await near(index, (1, 0)) == ["one-2"]
    await index.close()


async def test_a_login_that_may_not_make_the_index_is_told_what_it_needs(postgres_url: str) -> None:
    url = with_login(postgres_url)

    for space in (KEYWORDS, PLANE):
        with pytest.raises(Misconfigured, match="administrator"):
            await opened(url, space)


async def test_an_ordinary_login_uses_an_index_an_administrator_made(postgres_url: str) -> None:
    await (await opened(postgres_url)).close()

    index = await opened(with_login(postgres_url, role="quarterdeck_app"))

    await put(index, document("one", "alpha"), vector(1, 0))
    assert await near(index, (1, 0)) == ["one-1"]
    await index.close()


async def test_a_server_that_is_away_is_said_to_be_and_used_again_when_it_is_back(own_postgres: PostgresServer) -> None:
    index = await PostgresIndex.open(own_postgres.url(), PLANE, wait_s=2, answer_s=10)
    await put(index, document("one", "alpha"), vector(1, 0))

    own_postgres.stop()
    with pytest.raises(StoreUnavailable):
        await found(index, "alpha")
    with pytest.raises(StoreUnavailable):
        await put(index, document("two", "alpha"))
    with pytest.raises(StoreUnavailable):
        await PostgresIndex.open(own_postgres.url(), PLANE)
    own_postgres.start()

    assert await until_answered(index) == ["one-1"]
    await index.close()


async def until_answered(index: KnowledgeIndex) -> list[str]:
    with anyio.fail_after(30):
        while True:
            try:
                return await found(index, "alpha")
            except StoreUnavailable:
                await anyio.sleep(0.05)


async def test_a_url_that_is_none_is_refused_without_telling_it() -> None:
    with pytest.raises(Misconfigured) as refusal:
        await PostgresIndex.open("postgresql://user:geh@eim@host/x")

    assert "eim@" not in str(refusal.value)


async def test_a_change_that_fails_leaves_what_was_there(index: PostgresIndex) -> None:
    await put(index, document("one", "alpha"), vector(1, 0))
    rng = random.Random(3)
    endless = "".join(chr(rng.randrange(0x4E00, 0x9FFF)) for _ in range(20_000))

    with pytest.raises(InvalidInput):
        await put(index, document("one", "beta", groups={endless}), vector(0, 1))

    assert await found(index, "alpha") == ["one-1"]
    assert await near(index, (1, 0)) == ["one-1"]
    assert (await index.stats("acme")).generation == 1
