"""Snapshots: what a state store may hold that is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from quarterdeck.core.errors import InvalidInput, Misconfigured, SchemaMismatch
from quarterdeck.store.keyvalue import FolderKeyValue, MemoryKeyValue
from quarterdeck.store.snapshots import Snapshots

pytestmark = pytest.mark.row("L3", part="folder")


@pytest.mark.parametrize(
    "data", [b"", b"payload", b"\npayload", b"[]\npayload", b'{"contract":1.', b'{"v":1}\n', b"9" * 5000 + b"\n"]
)
async def test_bytes_that_are_no_snapshot_are_refused(data: bytes) -> None:
    states = MemoryKeyValue()
    uri = await states.save("acme", "snapshots/a", data)

    with pytest.raises(Misconfigured, match="no snapshot"):
        await Snapshots(states).restore_state("acme", uri)


async def test_snapshot_of_a_later_minor_version_is_read_and_of_another_major_version_is_not() -> None:
    states = MemoryKeyValue()
    minor = await states.save("acme", "snapshots/a", b'{"contract":"1.9","more":true}\npayload')
    major = await states.save("acme", "snapshots/b", b'{"contract":"2.0"}\npayload')

    assert await Snapshots(states).restore_state("acme", minor) == b"payload"
    with pytest.raises(SchemaMismatch, match=r"2\.0"):
        await Snapshots(states).restore_state("acme", major)


async def test_changed_snapshot_is_refused(tmp_path: Path) -> None:
    snapshots = Snapshots(FolderKeyValue(tmp_path, secret=b"secret"))
    uri = await snapshots.persist_state("acme", "a", b"payload")
    file = tmp_path / "acme" / "snapshots" / "a.bin"

    file.write_bytes(file.read_bytes().replace(b"payload", b"another"))

    with pytest.raises(Misconfigured, match="changed outside"):
        await snapshots.restore_state("acme", uri)


@pytest.mark.parametrize("state_id", ["", "../a", "A", "a b", "a/" * 8 + "a"])
async def test_id_that_is_no_path_of_ids_is_refused(state_id: str) -> None:
    with pytest.raises(InvalidInput):
        await Snapshots(MemoryKeyValue()).persist_state("acme", state_id, b"payload")


@pytest.mark.parametrize("uri", ["", "a", "s3-state://acme/a", "memory://acme", "memory://acme/../beta/a"])
async def test_text_that_is_no_uri_of_this_store_is_refused(uri: str) -> None:
    with pytest.raises(InvalidInput):
        await Snapshots(MemoryKeyValue()).restore_state("acme", uri)
