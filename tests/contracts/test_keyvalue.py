"""What every store of state by key promises (row R12)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import pytest

from quarterdeck.core.errors import Forbidden, InvalidInput, NotFound
from quarterdeck.store.base import KeyValue
from quarterdeck.store.keyvalue import FolderKeyValue
from quarterdeck.store.keyvalue_redis import RedisKeyValue
from quarterdeck.store.keyvalue_s3 import S3KeyValue
from quarterdeck.store.snapshots import Snapshots
from tests.contracts.stores import STORES, Clock

SECRET = b"a secret of these tests"


@asynccontextmanager
async def _folder(request: pytest.FixtureRequest) -> AsyncIterator[KeyValue]:
    yield FolderKeyValue(request.getfixturevalue("tmp_path") / "states")


@asynccontextmanager
async def _sealed_folder(request: pytest.FixtureRequest) -> AsyncIterator[KeyValue]:
    states = await FolderKeyValue.open(f"file://{request.getfixturevalue('tmp_path')}/my%20states", secret=SECRET)
    yield states
    await states.close()


@asynccontextmanager
async def _redis(request: pytest.FixtureRequest) -> AsyncIterator[KeyValue]:
    states = await RedisKeyValue.open(request.getfixturevalue("redis_url"), secret=SECRET)
    yield states
    await states.close()


@asynccontextmanager
async def _s3(request: pytest.FixtureRequest) -> AsyncIterator[KeyValue]:
    states = await S3KeyValue.open(request.getfixturevalue("s3_url"), secret=SECRET)
    yield states
    await states.close()


ENGINES: dict[str, Callable[[pytest.FixtureRequest], AbstractAsyncContextManager[KeyValue]]] = {
    "folder": _folder,
    "sealed folder": _sealed_folder,
    "redis": _redis,
    "s3": _s3,
}


@pytest.fixture(
    params=[
        pytest.param("memory", marks=pytest.mark.row("R12", part="embedded")),
        pytest.param("sqlite", marks=pytest.mark.row("R12", part="embedded")),
        pytest.param("postgres", marks=pytest.mark.row("R12", part="postgres")),
        pytest.param("folder", marks=[pytest.mark.row("R12", part="folder"), pytest.mark.row("L3", part="folder")]),
        pytest.param("sealed folder", marks=[pytest.mark.row("R12", part="folder"), pytest.mark.row("L3", part="folder")]),
        pytest.param("redis", marks=pytest.mark.row("R12", part="redis")),
        pytest.param("s3", marks=[pytest.mark.row("R12", part="s3"), pytest.mark.row("L3", part="s3")]),
    ]
)
async def states(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[KeyValue]:
    if request.param in ENGINES:
        async with ENGINES[request.param](request) as opened:
            yield opened
    else:  # those of a database come with its store
        async with STORES[request.param](request, clock) as store:
            yield store.keyvalue


async def test_saved_bytes_are_loaded_and_replaced(states: KeyValue) -> None:
    await states.save("acme", "agent-1", b"old" * 1000)
    await states.save("acme", "agent-1", bytes(range(256)))

    assert await states.load("acme", "agent-1") == bytes(range(256))
    assert await states.load("acme", "agent-2") is None


async def test_empty_payload_is_not_nothing(states: KeyValue) -> None:
    await states.save("acme", "empty", b"")

    assert await states.load("acme", "empty") == b""


async def test_uri_leads_back_to_the_payload_but_only_its_tenant(states: KeyValue) -> None:
    uri = await states.save("acme", "agents/a1/memory", b"payload")

    assert await states.load_uri("acme", uri) == b"payload"
    assert await states.load_uri("evil", uri) is None


async def test_uri_of_another_kind_is_refused(states: KeyValue) -> None:
    for wrong in ("", "nowhere", "ftp://acme/a", f"{states.scheme}://acme", f"{states.scheme}://acme/../evil/a"):
        with pytest.raises(InvalidInput):
            await states.load_uri("acme", wrong)


async def test_key_and_longer_path_do_not_meet(states: KeyValue) -> None:
    await states.save("acme", "a", b"1")
    await states.save("acme", "a/b", b"2")

    assert await states.load("acme", "a") == b"1"
    assert await states.load("acme", "a/b") == b"2"


async def test_clearing_one_key_leaves_the_others(states: KeyValue) -> None:
    for key in ("a", "a/b", "c"):
        await states.save("acme", key, b"x")

    first, second = await states.clear("acme", "a"), await states.clear("acme", "a")

    assert (first, second) == (1, 0)
    assert await states.load("acme", "a") is None
    assert await states.load("acme", "a/b") == b"x"


async def test_clearing_without_a_key_forgets_all_of_that_tenant_only(states: KeyValue) -> None:
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
async def test_key_that_is_no_path_of_ids_is_refused(states: KeyValue, key: str) -> None:
    with pytest.raises(InvalidInput):
        await states.save("acme", key, b"x")
    with pytest.raises(InvalidInput):
        await states.load("acme", key)
    with pytest.raises(InvalidInput):
        await states.clear("acme", key)


@pytest.mark.parametrize("tenant", ["", "..", "a/b", "A"])
async def test_tenant_that_is_no_id_is_refused(states: KeyValue, tenant: str) -> None:
    with pytest.raises(InvalidInput):
        await states.save(tenant, "a", b"x")
    with pytest.raises(InvalidInput):
        await states.load(tenant, "a")
    with pytest.raises(InvalidInput):
        await states.clear(tenant)


async def test_payload_of_ten_megabytes_comes_back(states: KeyValue) -> None:
    payload = bytes(range(256)) * 40_000

    await states.save("acme", "large", payload)

    assert await states.load("acme", "large") == payload


async def test_saves_of_one_key_at_once_leave_one_of_them_whole(states: KeyValue) -> None:
    payloads = [bytes([n]) * 50_000 for n in range(10)]

    async with anyio.create_task_group() as tasks:
        for payload in payloads:
            tasks.start_soon(states.save, "acme", "a", payload)

    assert await states.load("acme", "a") in payloads
    assert await states.clear("acme") == 1


async def test_tenant_whose_name_begins_like_another_is_left_alone(states: KeyValue) -> None:
    for tenant in ("acme", "acme2", "acme-a"):
        await states.save(tenant, "a", tenant.encode())

    await states.clear("acme")

    assert await states.load("acme2", "a") == b"acme2"
    assert await states.load("acme-a", "a") == b"acme-a"


async def test_snapshot_comes_back_from_its_uri(states: KeyValue) -> None:
    snapshots = Snapshots(states)
    first = await snapshots.persist_state("acme", "agents/a1", b"old")
    second = await snapshots.persist_state("acme", "agents/a1", b"line\nanother\n\0")
    empty = await snapshots.persist_state("acme", "agents/a2", b"")

    assert first == second != empty
    assert await snapshots.restore_state("acme", first) == b"line\nanother\n\0"
    assert await snapshots.restore_state("acme", empty) == b""


async def test_snapshot_of_another_tenant_is_forbidden_whether_it_is_there_or_not(states: KeyValue) -> None:
    snapshots = Snapshots(states)
    uri = await snapshots.persist_state("acme", "a", b"payload")

    for theirs in (uri, uri + "-nothing"):
        with pytest.raises(Forbidden):
            await snapshots.restore_state("evil", theirs)


async def test_snapshot_that_is_not_there_is_not_found(states: KeyValue) -> None:
    snapshots = Snapshots(states)
    uri = await snapshots.persist_state("acme", "a", b"payload")
    saved_by_key = await states.save("acme", "a", b"no snapshot")

    forgotten = (await snapshots.forget("acme", "a"), await snapshots.forget("acme", "a"))

    assert forgotten == (True, False)
    for missing in (uri, saved_by_key):
        with pytest.raises(NotFound):
            await snapshots.restore_state("acme", missing)


async def test_forgetting_a_tenant_forgets_its_snapshots(states: KeyValue) -> None:
    snapshots = Snapshots(states)
    mine, theirs = [await snapshots.persist_state(tenant, "a", b"payload") for tenant in ("acme", "beta")]

    await states.clear("acme")

    with pytest.raises(NotFound):
        await snapshots.restore_state("acme", mine)
    assert await snapshots.restore_state("beta", theirs) == b"payload"
