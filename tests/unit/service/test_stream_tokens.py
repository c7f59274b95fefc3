from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Unauthenticated
from quarterdeck.service.access import Access, User
from quarterdeck.service.stream_tokens import StreamTokens
from quarterdeck.store.memory import MemoryStore
from quarterdeck.store.sqlite_store import SqliteStore, open_sqlite

EMMA = User(id="emma", tenant="acme", scopes=("chat",), groups=("everyone",))


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MemoryStore | SqliteStore]:
    store = MemoryStore() if request.param == "memory" else open_sqlite(tmp_path)
    yield store
    await store.journal.close()


def tokens_of(store: MemoryStore | SqliteStore, clock: Clock, *users: User) -> StreamTokens:
    return StreamTokens(store.records, Access(users or (EMMA,), {}, keyless=False), clock)


@pytest.mark.row("S6", part="tokens")
async def test_token_is_good_once_however_many_come_with_it_at_the_same_moment(store: MemoryStore | SqliteStore) -> None:
    tokens = tokens_of(store, Clock())
    made = await tokens.make(EMMA.principal)
    admitted: list[Principal] = []
    refused: list[Unauthenticated] = []

    async def come() -> None:
        try:
            admitted.append((await tokens.redeem(made.token)).principal)
        except Unauthenticated as error:
            refused.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(come)

    assert (admitted, len(refused)) == ([EMMA.principal], 9)


async def test_tokens_made_at_the_same_moment_are_all_good(store: MemoryStore | SqliteStore) -> None:
    tokens = tokens_of(store, Clock())
    made: list[str] = []

    async def make() -> None:
        made.append((await tokens.make(EMMA.principal)).token)

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(make)

    assert [(await tokens.redeem(token)).principal for token in made] == [EMMA.principal] * 8


async def test_open_tokens_that_come_back_at_the_same_moment_are_all_good(store: MemoryStore | SqliteStore) -> None:
    tokens = tokens_of(store, Clock())
    made = [(await tokens.make(EMMA.principal)).token for _ in range(32)]
    admitted: list[Principal] = []

    async def come(token: str) -> None:
        admitted.append((await tokens.redeem(token)).principal)

    async with anyio.create_task_group() as tasks:
        for token in made:
            tasks.start_soon(come, token)

    assert admitted == [EMMA.principal] * 32


async def test_token_is_good_for_a_minute(store: MemoryStore | SqliteStore) -> None:
    clock = Clock()
    tokens = tokens_of(store, clock)
    young, old = await tokens.make(EMMA.principal), await tokens.make(EMMA.principal)

    clock.now += timedelta(seconds=59)
    found = (await tokens.redeem(young.token)).principal
    clock.now += timedelta(seconds=1)

    assert found == EMMA.principal
    assert old.expires_at == clock.now
    with pytest.raises(Unauthenticated):
        await tokens.redeem(old.token)


async def test_token_of_somebody_who_is_gone_is_worth_nothing(store: MemoryStore | SqliteStore) -> None:
    made = await tokens_of(store, Clock()).make(EMMA.principal)

    with pytest.raises(Unauthenticated):
        await tokens_of(store, Clock(), User(id="omar", tenant="acme")).redeem(made.token)


async def test_token_gives_the_rights_of_the_moment_and_no_more_than_its_maker_came_with(
    store: MemoryStore | SqliteStore,
) -> None:
    both = User(id="emma", tenant="acme", scopes=("chat", "operate"))
    of_less = await tokens_of(store, Clock(), both).make(EMMA.principal)
    of_more = await tokens_of(store, Clock(), both).make(both.principal)

    promoted = (await tokens_of(store, Clock(), both).redeem(of_less.token)).principal
    demoted = (await tokens_of(store, Clock()).redeem(of_more.token)).principal

    assert promoted.scopes == demoted.scopes == ("chat",)


async def test_token_of_one_tenant_opens_nothing_in_another(store: MemoryStore | SqliteStore) -> None:
    tokens = tokens_of(store, Clock())
    made = await tokens.make(EMMA.principal)

    with pytest.raises(Unauthenticated):
        await tokens.redeem(made.token.replace("qs_acme.", "qs_globex."))


@pytest.mark.parametrize("token", ["", "qs_", "qs_acme", "qs_acme.x", "qs_acme.x.y", "\0", "qs_\0.x.y", "." * 300, "\ud800"])
async def test_what_is_no_token_is_refused(store: MemoryStore | SqliteStore, token: str) -> None:
    with pytest.raises(Unauthenticated):
        await tokens_of(store, Clock()).redeem(token)


async def test_nothing_kept_lets_its_reader_in(store: MemoryStore | SqliteStore) -> None:
    made = await tokens_of(store, Clock()).make(EMMA.principal)

    kept = [repr(record) for record in await store.records.find("acme", "stream_token")]

    assert len(kept) == 1
    assert made.token.rsplit(".", 1)[1] not in kept[0]


async def test_person_holds_so_many_tokens_and_the_newest_are_good(store: MemoryStore | SqliteStore) -> None:
    clock = Clock()
    tokens = tokens_of(store, clock)
    made = []
    for _ in range(40):
        made.append(await tokens.make(EMMA.principal))
        clock.now += timedelta(milliseconds=1)

    assert (await tokens.redeem(made[-1].token)).principal == EMMA.principal
    with pytest.raises(Unauthenticated):
        await tokens.redeem(made[0].token)
    (record,) = await store.records.find("acme", "stream_token")
    assert len(record.data["tokens"]) <= 32
