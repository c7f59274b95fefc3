"""States in Redis and in a bucket: bytes changed by others, and servers that do not answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
import redis

from quarterdeck.core.errors import Misconfigured, StoreUnavailable
from quarterdeck.store.base import KeyValue
from quarterdeck.store.keyvalue import FolderKeyValue
from quarterdeck.store.keyvalue_redis import PREFIX, RedisKeyValue
from quarterdeck.store.keyvalue_s3 import S3KeyValue
from tests.redis_server import RedisServer
from tests.s3_server import S3Server

SECRET = b"a secret of these tests"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Of somebody who lets connect and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.mark.row("R12", part="redis")
async def test_bytes_changed_or_moved_in_redis_are_refused(redis_url: str) -> None:
    states = await RedisKeyValue.open(redis_url, secret=SECRET)
    await states.save("acme", "a", b"payload")
    with redis.Redis.from_url(redis_url) as client:
        kept = client.hget(PREFIX + "acme", "a")
        assert isinstance(kept, bytes)
        client.hset(PREFIX + "acme", mapping={"changed": kept[:-1] + b"D", "moved": kept, "cut": kept[:10], "gone": b""})
        client.hset(PREFIX + "evil", "a", kept)

    for tenant, key in (("acme", "changed"), ("acme", "moved"), ("acme", "cut"), ("acme", "gone"), ("evil", "a")):
        with pytest.raises(Misconfigured, match="changed outside"):
            await states.load(tenant, key)
    await states.close()


@pytest.mark.row("R12", part="s3")
async def test_bytes_changed_or_moved_in_a_bucket_are_refused(s3_server: S3Server, s3_bucket: str) -> None:
    states = await S3KeyValue.open(s3_server.url(s3_bucket), secret=SECRET)
    await states.save("acme", "a", b"payload")
    kept = s3_server.get(s3_bucket, "acme/a.bin")
    places = {"acme/changed.bin": kept[:-1] + b"D", "acme/b/moved.bin": kept, "acme/gone.bin": b"", "evil/a.bin": kept}
    for path, data in places.items():
        s3_server.put(s3_bucket, path, data)

    for tenant, key in (("acme", "changed"), ("acme", "b/moved"), ("acme", "gone"), ("evil", "a")):
        with pytest.raises(Misconfigured, match="changed outside"):
            await states.load(tenant, key)


async def test_another_secret_is_refused(redis_url: str, s3_url: str) -> None:
    pairs: list[tuple[KeyValue, KeyValue]] = [
        (await RedisKeyValue.open(redis_url, secret=b"one"), await RedisKeyValue.open(redis_url, secret=b"two")),
        (await S3KeyValue.open(s3_url, secret=b"one"), await S3KeyValue.open(s3_url, secret=b"two")),
    ]

    for one, two in pairs:
        await one.save("acme", "a", b"payload")
        with pytest.raises(Misconfigured, match="another secret"):
            await two.load("acme", "a")
        if isinstance(one, RedisKeyValue) and isinstance(two, RedisKeyValue):
            await one.close()
            await two.close()


@pytest.mark.row("R12", part="s3")
async def test_a_thousand_and_more_states_of_a_tenant_are_forgotten(s3_server: S3Server, s3_bucket: str) -> None:
    states = await S3KeyValue.open(s3_server.url(s3_bucket, "states"), secret=SECRET)
    for n in range(1_005):
        s3_server.put(s3_bucket, f"states/acme/k{n}.bin", b"")
    await states.save("beta", "a", b"stays")

    assert await states.clear("acme") == 1_005
    assert await states.clear("acme") == 0
    assert await states.load("beta", "a") == b"stays"


@pytest.mark.row("R12", part="redis")
async def test_redis_that_is_silent_or_gone_is_unavailable_and_comes_back_by_itself(own_redis: RedisServer) -> None:
    states = await RedisKeyValue.open(own_redis.url, secret=SECRET, timeout_s=0.2)
    await states.save("acme", "a", b"payload")

    own_redis.freeze()
    with anyio.fail_after(5), pytest.raises(StoreUnavailable):
        await states.load("acme", "a")
    own_redis.thaw()
    assert await states.load("acme", "a") == b"payload"

    own_redis.stop()
    for call in (states.save("acme", "a", b"x"), states.load("acme", "a"), states.clear("acme", "a"), states.clear("acme")):
        with anyio.fail_after(5), pytest.raises(StoreUnavailable):
            await call
    own_redis.start()
    assert await states.load("acme", "a") is None  # this Redis keeps nothing on disk
    await states.close()


async def test_redis_that_refuses_the_password_is_a_matter_of_configuration(own_redis: RedisServer) -> None:
    with own_redis.client() as client:
        client.config_set("requirepass", "right")
    states = await RedisKeyValue.open(own_redis.url.replace("//", "//:wrong@"), secret=SECRET, timeout_s=2)

    with pytest.raises(Misconfigured) as refused:
        await states.save("acme", "a", b"x")

    assert "wrong" not in str(refused.value)
    await states.close()


@pytest.mark.row("R12", part="s3")
async def test_bucket_that_is_silent_or_gone_is_unavailable(silent_port: int, free_port: int) -> None:
    for port in (silent_port, free_port):
        server = S3Server(host="127.0.0.1", port=port)
        states = await S3KeyValue.open(server.url("bucket"), secret=SECRET, timeout_s=0.3)
        calls = (states.save("acme", "a", b"x"), states.load("acme", "a"), states.clear("acme", "a"), states.clear("acme"))

        for call in calls:
            with anyio.fail_after(10), pytest.raises(StoreUnavailable):
                await call


async def test_bucket_there_is_not_is_a_matter_of_configuration(s3_server: S3Server) -> None:
    states = await S3KeyValue.open(s3_server.url("nowhere"), secret=SECRET)

    for call in (states.save("acme", "a", b"x"), states.load("acme", "a"), states.clear("acme")):
        with pytest.raises(Misconfigured, match="no such bucket"):
            await call


async def test_folder_copied_into_a_bucket_is_read_there(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> None:
    folder = await FolderKeyValue.open(f"file://{tmp_path}", secret=SECRET)
    bucket = await S3KeyValue.open(s3_server.url(s3_bucket), secret=SECRET)
    await folder.save("acme", "agents/a1", b"payload")

    for file in tmp_path.rglob("*.bin"):
        s3_server.put(s3_bucket, file.relative_to(tmp_path).as_posix(), file.read_bytes())

    assert await bucket.load("acme", "agents/a1") == b"payload"
