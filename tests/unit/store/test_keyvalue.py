"""State in files: what others may do to them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from quarterdeck.core.errors import Misconfigured, StoreUnavailable
from quarterdeck.store.keyvalue import FolderKeyValue


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
