"""What every store of state by key promises (row R12)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quarterdeck.core.errors import InvalidInput
from quarterdeck.store.keyvalue import FolderKeyValue, MemoryKeyValue, SqliteKeyValue
from quarterdeck.store.sqlite import SqliteDatabase

States = FolderKeyValue | MemoryKeyValue | SqliteKeyValue

pytestmark = pytest.mark.row("R12", part="embedded")


@pytest.fixture(params=["memory", "folder", "signed folder", "sqlite"])
async def states(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[States]:
    match request.param:
        case "memory":
            yield MemoryKeyValue()
        case "folder":
            yield FolderKeyValue(tmp_path / "states")
        case "signed folder":
            yield FolderKeyValue(tmp_path / "states", secret=b"a secret")
        case _:
            database = SqliteDatabase.open(tmp_path / "states.db")
            yield SqliteKeyValue(database)
            await database.close()


async def test_saved_bytes_are_loaded_and_replaced(states: States) -> None:
    await states.save("acme", "agent-1", b"old" * 1000)
    await states.save("acme", "agent-1", bytes(range(256)))

    assert await states.load("acme", "agent-1") == bytes(range(256))
    assert await states.load("acme", "agent-2") is None


async def test_empty_payload_is_not_nothing(states: States) -> None:
    await states.save("acme", "empty", b"")

    assert await states.load("acme", "empty") == b""


@pytest.mark.row("L3", part="folder")
async def test_uri_leads_back_to_the_payload_but_only_its_tenant(states: States) -> None:
    uri = await states.save("acme", "agents/a1/memory", b"payload")

    assert await states.load_uri("acme", uri) == b"payload"
    assert await states.load_uri("evil", uri) is None


async def test_uri_of_another_kind_is_refused(states: States) -> None:
    for wrong in ("", "nowhere", "ftp://acme/a", f"{states.scheme}://acme", f"{states.scheme}://acme/../evil/a"):
        with pytest.raises(InvalidInput):
            await states.load_uri("acme", wrong)


async def test_key_and_longer_path_do_not_meet(states: States) -> None:
    await states.save("acme", "a", b"1")
    await states.save("acme", "a/b", b"2")

    assert await states.load("acme", "a") == b"1"
    assert await states.load("acme", "a/b") == b"2"


async def test_clearing_one_key_leaves_the_others(states: States) -> None:
    for key in ("a", "a/b", "c"):
        await states.save("acme", key, b"x")

    first, second = await states.clear("acme", "a"), await states.clear("acme", "a")

    assert (first, second) == (1, 0)
    assert await states.load("acme", "a") is None
    assert await states.load("acme", "a/b") == b"x"


async def test_clearing_without_a_key_forgets_all_of_that_tenant_only(states: States) -> None:
    for key in ("a", "a/b", "c"):
        await states.save("acme", key, b"x")
    await states.save("beta", "a", b"y")

    first, second = await states.clear("acme"), await states.clear("acme")

    assert (first, second) == (3, 0)
    assert await states.load("acme", "a/b") is None
    assert await states.load("beta", "a") == b"y"


@pytest.mark.parametrize(
    "key", ["", "/", "a//b", "../x", "a/../b", "/etc/passwd", "A", "a.b", "a\0", "a\n", "x" * 65, "a/" * 9]
)
async def test_key_that_is_no_path_of_ids_is_refused(states: States, key: str) -> None:
    with pytest.raises(InvalidInput):
        await states.save("acme", key, b"x")
    with pytest.raises(InvalidInput):
        await states.load("acme", key)
    with pytest.raises(InvalidInput):
        await states.clear("acme", key)


@pytest.mark.parametrize("tenant", ["", "..", "a/b", "A"])
async def test_tenant_that_is_no_id_is_refused(states: States, tenant: str) -> None:
    with pytest.raises(InvalidInput):
        await states.save(tenant, "a", b"x")
    with pytest.raises(InvalidInput):
        await states.load(tenant, "a")
    with pytest.raises(InvalidInput):
        await states.clear(tenant)
