"""State in files: what others may do to them; and the URLs of states elsewhere."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from quarterdeck.core.errors import Misconfigured, StoreUnavailable
from quarterdeck.store.keyvalue import FolderKeyValue
from quarterdeck.store.keyvalue_redis import RedisKeyValue
from quarterdeck.store.keyvalue_s3 import S3KeyValue


async def test_changed_file_is_refused(tmp_path: Path) -> None:
    states = FolderKeyValue(tmp_path, secret=b"secret")
    await states.save("acme", "a", b"payload")
    path = tmp_path / "acme" / "a.bin"

    for changed in (path.read_bytes()[:-1] + b"D", path.read_bytes()[:10], b""):
        path.write_bytes(changed)
        with pytest.raises(Misconfigured, match="acme/a was changed"):
            await states.load("acme", "a")


async def test_file_moved_to_another_tenant_or_key_is_refused(tmp_path: Path) -> None:
    states = FolderKeyValue(tmp_path, secret=b"secret")
    for tenant, key in (("acme", "a"), ("acme", "b"), ("beta", "a")):
        await states.save(tenant, key, f"{tenant} {key}".encode())
    signed = (tmp_path / "acme" / "a.bin").read_bytes()

    for other in (tmp_path / "acme" / "b.bin", tmp_path / "beta" / "a.bin"):
        other.write_bytes(signed)

    with pytest.raises(Misconfigured):
        await states.load("acme", "b")
    with pytest.raises(Misconfigured):
        await states.load("beta", "a")


async def test_another_secret_is_refused(tmp_path: Path) -> None:
    await FolderKeyValue(tmp_path, secret=b"one").save("acme", "a", b"payload")

    with pytest.raises(Misconfigured, match="another secret"):
        await FolderKeyValue(tmp_path, secret=b"two").load("acme", "a")


async def test_nothing_is_left_beside_the_file_and_only_its_owner_may_read(tmp_path: Path) -> None:
    states = FolderKeyValue(tmp_path / "states")
    for _ in range(3):
        await states.save("acme", "a", b"x")

    files = [path for path in (tmp_path / "states").rglob("*") if path.is_file()]
    assert [path.name for path in files] == ["a.bin"]
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600


async def test_folder_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "acme").write_text("a file where a folder should be")
    states = FolderKeyValue(tmp_path)

    with pytest.raises(StoreUnavailable, match=r"a\.bin"):
        await states.save("acme", "a", b"x")


@pytest.mark.parametrize("url", ["", "states", "file:states", "file:///", "file://host/states", "s3://bucket"])
async def test_url_that_names_no_folder_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured, match="file:///"):
        await FolderKeyValue.open(url, secret=b"secret")


@pytest.mark.parametrize(
    "url", ["", "bucket", "s3:bucket", "s3:///prefix", "s3://key:password@bucket", "https://bucket/prefix"]
)
async def test_url_that_names_no_bucket_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured, match="s3://") as refused:
        await S3KeyValue.open(url, secret=b"secret")

    assert "password" not in str(refused.value)


@pytest.mark.parametrize("options", ["regoin=eu", "skip_signature=perhaps&secret_access_key=hidden"])
async def test_options_a_bucket_does_not_know_are_refused_without_telling_secrets(options: str) -> None:
    with pytest.raises(Misconfigured, match="options") as refused:
        await S3KeyValue.open(f"s3://bucket/prefix?{options}", secret=b"secret")

    assert "hidden" not in str(refused.value)


async def test_url_that_names_no_redis_is_refused_without_telling_the_password() -> None:
    for url in ("", "host:6379", "http://:hidden@host", "redis://:hidden@host:port/0"):
        with pytest.raises(Misconfigured, match="redis://") as refused:
            await RedisKeyValue.open(url, secret=b"secret")

        assert "hidden" not in str(refused.value)


async def test_state_elsewhere_without_a_secret_is_refused() -> None:
    with pytest.raises(Misconfigured, match="secret"):
        await FolderKeyValue.open("file:///states", secret=b"")
    with pytest.raises(Misconfigured, match="secret"):
        await S3KeyValue.open("s3://bucket", secret=b"")
    with pytest.raises(Misconfigured, match="secret"):
        await RedisKeyValue.open("redis://127.0.0.1", secret=b"")
