"""A run's journal leaves the database and comes back entry by entry, or not at all."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import pytest

from quarterdeck.core.errors import Forbidden, InvalidInput, Misconfigured, NotFound, SchemaMismatch
from quarterdeck.core.events import Steer, Unknown
from quarterdeck.service.export import Exports
from quarterdeck.store.base import Entry
from quarterdeck.store.memory import MemoryStore
from quarterdeck.store.snapshots import Snapshots
from tests.contracts.stores import Clock, begin, history, message, reply

pytestmark = pytest.mark.row("L3", part="run")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A store with a run in it, and what exports from it."""

    store: MemoryStore
    snapshots: Snapshots
    exports: Exports


@pytest.fixture
async def place() -> Place:
    store = MemoryStore(clock=Clock())
    claim = await begin(store.journal)
    odd = '<\r\n\u2028\u2029\x85 " \\ \u4f60\u597d \U0001f600>'
    entries = [
        reply(0, odd * 100),
        Entry(event=Unknown(kind="of_the_future", data='{"v":7,\r\n "n":1.5,"text":"a\\nb"}')),
        Entry(event=Steer(message=message(odd), by="anna"), key="a client's key"),
    ]
    await store.journal.append(claim, entries, folded=1)
    snapshots = Snapshots(store.keyvalue)
    return Place(
        store=store, snapshots=snapshots, exports=Exports(journal=store.journal, records=store.records, snapshots=snapshots)
    )


async def test_exported_run_is_read_entry_by_entry_after_the_run_is_gone(place: Place) -> None:
    uri = await place.exports.export_run("acme", "r1", by="user:anna")

    came_back = await place.exports.read_run("acme", uri)

    kept = await history(place.store.journal)
    assert [(e.seq, e.at, e.key) for e in came_back] == [(e.seq, e.at, e.key) for e in kept]
    known = [n for n, e in enumerate(kept) if not isinstance(e.event, Unknown)]
    assert len(known) == 3
    assert [came_back[n] for n in known] == [kept[n] for n in known]
    future = came_back[2].event
    assert isinstance(future, Unknown)
    assert future.kind == "of_the_future"
    assert json.loads(str(future.data)) == {"v": 7, "n": 1.5, "text": "a\nb"}


async def test_the_first_line_tells_what_follows(place: Place) -> None:
    uri = await place.exports.export_run("acme", "r1", by="user:anna")

    header, *lines = (await place.snapshots.restore_state("acme", uri)).decode().split("\n")[:-1]

    told = json.loads(header)
    body = "".join(line + "\n" for line in lines).encode()
    assert (told["format"], told["version"], told["run_id"], told["entries"]) == ("quarterdeck.run", 1, "r1", 4)
    assert told["sha256"] == hashlib.sha256(body).hexdigest()
    assert [json.loads(line)["seq"] for line in lines] == [1, 2, 3, 4]


async def test_an_export_is_audited_by_who_made_it_and_what_left(place: Place) -> None:
    uri = await place.exports.export_run("acme", "r1", by="user:anna")

    (row,) = await place.store.records.audit_rows("acme")
    header = (await place.snapshots.restore_state("acme", uri)).partition(b"\n")[0]
    assert (row["actor"], row["action"], row["object"]) == ("user:anna", "export", "run:r1")
    assert row["args_hash"] == json.loads(header)["sha256"]


async def test_run_there_is_not_or_of_another_tenant_is_not_found_and_not_audited(place: Place) -> None:
    for tenant, run_id in (("acme", "r2"), ("evil", "r1")):
        with pytest.raises(NotFound):
            await place.exports.export_run(tenant, run_id, by="user:eve")

    assert await place.store.records.audit_rows("evil") == []


async def test_export_of_another_tenant_is_forbidden(place: Place) -> None:
    uri = await place.exports.export_run("acme", "r1", by="user:anna")

    with pytest.raises(Forbidden):
        await place.exports.read_run("evil", uri)


@pytest.mark.parametrize("payload", [b"", b"payload", b"{}", b"[]\n", b'{"format":"other"}\n', b"\xff\n"])
async def test_snapshot_of_something_else_is_no_export(place: Place, payload: bytes) -> None:
    uri = await place.snapshots.persist_state("acme", "a", payload)

    with pytest.raises(InvalidInput, match="no export"):
        await place.exports.read_run("acme", uri)


async def test_export_that_was_changed_cut_or_reordered_is_refused(place: Place) -> None:
    uri = await place.exports.export_run("acme", "r1", by="user:anna")
    header, *lines = (await place.snapshots.restore_state("acme", uri)).split(b"\n")[:-1]
    changed = [lines[0].replace(b"hello", b"jello"), *lines[1:]]
    whole = b"".join(line + b"\n" for line in [header, *lines])

    for wrong in (
        [header, *changed],
        [header, *lines[:-1]],
        [header, lines[1], lines[0], *lines[2:]],
        [header, *lines, b""],
    ):
        payload = b"".join(line + b"\n" for line in wrong)
        assert payload != whole
        other = await place.snapshots.persist_state("acme", "changed", payload)
        with pytest.raises(Misconfigured, match="changed, or is damaged"):
            await place.exports.read_run("acme", other)


async def test_export_of_a_newer_version_is_a_mismatch(place: Place) -> None:
    uri = await place.snapshots.persist_state("acme", "a", b'{"format":"quarterdeck.run","version":2}\n')

    with pytest.raises(SchemaMismatch, match="version 2"):
        await place.exports.read_run("acme", uri)
