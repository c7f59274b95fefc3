"""What every store of records promises, its audit log included."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import anyio
import pytest

from quarterdeck.core.errors import Conflict, InvalidInput
from quarterdeck.store.audit import verify
from quarterdeck.store.base import Put, Record
from tests.contracts.stores import Clock, Store, audit, record


async def put(store: Store, *records: Record, tenant: str = "acme") -> None:
    await store.records.write(tenant, [Put(record=each) for each in records])


async def test_record_comes_back_stamped(store: Store, clock: Clock) -> None:
    data = {"text": "zwölf 十二", "none": None, "list": [1, 2.5, True], "nested": {"a": {}}}

    await put(store, Record(kind="session", id="s1", data=data, status="active", owner="anna", ref="a1"))

    found = await store.records.get("acme", "session", "s1")
    assert found == Record(
        kind="session",
        id="s1",
        data=data,
        status="active",
        owner="anna",
        ref="a1",
        version=1,
        created_at=clock.now,
        updated_at=clock.now,
    )
    assert await store.records.get("acme", "approval", "s1") is None


async def test_putting_again_raises_the_version_and_keeps_the_day_of_birth(store: Store, clock: Clock) -> None:
    await put(store, record("x", status="waiting", owner="anna"))
    born = clock.now
    clock.pass_by(minutes=1)

    await put(store, record("x", status="waiting", owner="anna"))
    await put(store, Record(kind="approval", id="x", data={"n": 2}, status="approved"))

    found = await store.records.get("acme", "approval", "x")
    assert found is not None
    assert (found.version, found.created_at, found.updated_at) == (3, born, clock.now)
    assert (found.data, found.status, found.owner) == ({"n": 2}, "approved", "")
    assert await store.records.find("acme", "approval", status="waiting") == []


async def test_expected_version_must_stand(store: Store) -> None:
    await store.records.write("acme", [Put(record=record("x"), expect=0)])
    await store.records.write("acme", [Put(record=record("x"), expect=1)])

    for wrong in (0, 1, 3):
        with pytest.raises(Conflict, match="version 2"):
            await store.records.write("acme", [Put(record=record("x"), expect=wrong)])
    with pytest.raises(Conflict):
        await store.records.write("acme", [Put(record=record("missing"), expect=1)])


async def test_rows_of_one_write_see_each_other(store: Store) -> None:
    rows = [Put(record=record("x"), expect=0), Put(record=record("x"), expect=1)]

    await store.records.write("acme", rows)
    with pytest.raises(Conflict):
        await store.records.write("acme", [Put(record=record("y"), expect=0), Put(record=record("y"), expect=0)])

    found = await store.records.get("acme", "approval", "x")
    assert found is not None
    assert found.version == 2
    assert await store.records.get("acme", "approval", "y") is None


async def test_conflict_undoes_the_whole_write(store: Store) -> None:
    await put(store, record("x"))

    with pytest.raises(Conflict):
        await store.records.write("acme", [Put(record=record("y")), audit(), Put(record=record("x"), expect=0)])

    assert await store.records.get("acme", "approval", "y") is None
    assert await store.records.audit_rows("acme") == []


async def test_one_of_many_deciders_wins(store: Store) -> None:
    await put(store, record("x", status="waiting"))
    outcomes: list[str] = []

    async def decide(user: str) -> None:
        try:
            await store.records.write("acme", [Put(record=record("x", status="approved", owner=user), expect=1)])
        except Conflict:
            outcomes.append("late")
        else:
            outcomes.append(user)

    async with anyio.create_task_group() as tasks:
        for n in range(10):
            tasks.start_soon(decide, f"user{n}")

    found = await store.records.get("acme", "approval", "x")
    (winner,) = {outcome for outcome in outcomes if outcome != "late"}
    assert found is not None
    assert (found.owner, outcomes.count("late")) == (winner, 9)


async def test_records_are_found_by_each_column_newest_first(store: Store, clock: Clock) -> None:
    for name, status, owner, ref in [
        ("a", "waiting", "anna", "r1"),
        ("b", "approved", "anna", "r1"),
        ("c", "waiting", "bo", "r2"),
        ("d", "waiting", "anna", "r2"),
    ]:
        await put(store, record(name, status=status, owner=owner, ref=ref))
        clock.pass_by(seconds=1)
    await put(store, Record(kind="session", id="e", data={}, status="waiting", owner="anna", ref="r1"))

    async def ids(**filters: Any) -> list[str]:
        return [found.id for found in await store.records.find("acme", "approval", **filters)]

    assert await ids() == ["d", "c", "b", "a"]
    assert await ids(status="waiting") == ["d", "c", "a"]
    assert await ids(owner="anna") == ["d", "b", "a"]
    assert await ids(ref="r1") == ["b", "a"]
    assert await ids(owner="anna", status="waiting") == ["d", "a"]
    assert await ids(owner="anna", status="waiting", ref="r2") == ["d"]
    assert await ids(status="waiting", before="d", limit=1) == ["c"]
    assert await ids(before="b") == ["a"]
    assert await ids(before="unknown") == []


async def test_records_of_one_instant_are_ordered_by_id(store: Store) -> None:
    await put(store, record("b"), record("a"), record("c"))

    first = await store.records.find("acme", "approval", limit=2)
    rest = await store.records.find("acme", "approval", before=first[-1].id)

    assert [found.id for found in first + rest] == ["c", "b", "a"]


@pytest.mark.row("G8", part="records")
async def test_tenants_do_not_see_each_others_rows(store: Store) -> None:
    await put(store, record("x", owner="anna", ref="r1", status="waiting"))
    await store.records.write("acme", [audit()])

    assert await store.records.get("evil", "approval", "x") is None
    for filters in ({}, {"owner": "anna"}, {"ref": "r1"}, {"status": "waiting"}):
        assert await store.records.find("evil", "approval", **filters) == []
    assert await store.records.audit_rows("evil") == []
    await store.records.write("evil", [Put(record=record("x"), expect=0)])


async def test_what_is_no_json_is_refused_by_name(store: Store) -> None:
    for wrong in ({"a": object()}, {"a": float("nan")}, {"a": {1, 2}}):
        with pytest.raises(InvalidInput, match="JSON"):
            await put(store, Record(kind="approval", id="x", data=wrong))


async def test_changing_what_was_given_or_found_changes_nothing(store: Store) -> None:
    data: dict[str, Any] = {"list": [1]}
    await put(store, Record(kind="approval", id="x", data=data))

    data["list"].append(2)
    found = await store.records.get("acme", "approval", "x")
    assert found is not None
    found.data["list"].append(3)

    again = await store.records.get("acme", "approval", "x")
    assert again is not None
    assert again.data == {"list": [1]}


async def test_nul_and_surrogates_are_cleaned_from_records(store: Store) -> None:
    await put(store, Record(kind="approval", id="x", data={"a\0": ["b\0c", "\ud83d x"]}))

    found = await store.records.get("acme", "approval", "x")
    assert found is not None
    assert found.data == {"a": ["bc", "\ufffd x"]}


@pytest.mark.row("G7", part="chain")
async def test_audit_rows_are_chained_per_tenant(store: Store, clock: Clock) -> None:
    await store.records.write("acme", [audit("one"), audit("two")])
    await store.records.write("beta", [audit("other")])
    clock.pass_by(seconds=1)
    await store.records.write("acme", [audit("three")])

    rows = await store.records.audit_rows("acme")

    assert [(row["seq"], row["object"]) for row in rows] == [(1, "one"), (2, "two"), (3, "three")]
    assert rows[1]["prev"] == rows[0]["hash"]
    assert rows[2]["at"] == clock.now.isoformat()
    assert verify(rows, head=await store.records.audit_head("acme")) is None
    assert verify(rows[2:], after=2, prev=rows[1]["hash"]) is None
    assert await store.records.audit_rows("acme", after=1, limit=1) == [rows[1]]
    assert len(await store.records.audit_rows("beta")) == 1


@pytest.mark.row("G7", part="chain")
async def test_any_tampering_with_the_chain_is_found_at_its_row(store: Store) -> None:
    await store.records.write("acme", [audit(f"call {n}") for n in range(5)])
    rows = [dict(row) for row in await store.records.audit_rows("acme")]
    head = await store.records.audit_head("acme")

    for field in ("actor", "subject", "action", "object", "decision", "args_hash", "at", "tenant", "hash", "prev"):
        changed = [dict(row) for row in rows]
        value = changed[2][field]
        changed[2][field] = value[:-1] + ("0" if value[-1:] != "0" else "1")
        assert verify(changed, head=head) == 3, field
    assert verify(rows[:1] + rows[2:], head=head) == 2
    assert verify([rows[1], rows[0], *rows[2:]], head=head) == 1
    assert verify(rows[:3], head=head) == 4
    assert verify([], head=head) == 1
    assert verify(rows, head=(4, rows[3]["hash"])) == 5
    assert verify(rows, head=(5, rows[3]["hash"])) == 5


@pytest.mark.row("L2", part="retention")
async def test_only_old_records_of_a_kind_and_status_are_forgotten_in_every_tenant(store: Store, clock: Clock) -> None:
    rows = [Put(record=record(f"old{n}", status="done")) for n in range(150)]
    await store.records.write("acme", [*rows, Put(record=record("open", status="open"))])
    await store.records.write("globex", [Put(record=record("old", status="free", ref="r1"))])
    await store.records.write("globex", [Put(record=Record(kind="session", id="s", data={}, status="done"))])
    clock.pass_by(days=10)
    await store.records.write("acme", [Put(record=record("old0", status="done")), Put(record=record("new", status="done"))])

    forgotten = await store.records.forget("approval", ("done", "free"), clock.now - timedelta(days=9))

    assert forgotten == 150
    assert {row.id for row in await store.records.find("acme", "approval")} == {"open", "old0", "new"}
    assert await store.records.find("globex", "approval") == []
    assert [row.id for row in await store.records.find("globex", "session")] == ["s"]


async def test_due_records_are_found_across_tenants_longest_due_first(store: Store, clock: Clock) -> None:
    later, first = clock.now + timedelta(seconds=20), clock.now + timedelta(seconds=10)
    await put(store, Record(kind="approval", id="a", data={}, status="waiting", wake_at=later))
    await put(store, Record(kind="approval", id="b", data={}, wake_at=first), tenant="globex")
    await put(store, Record(kind="session", id="c", data={}, wake_at=first), record("never"))

    assert await store.records.due("approval") == []
    clock.pass_by(seconds=20)

    assert await store.records.due("approval") == [("globex", "b"), ("acme", "a")]
    assert await store.records.due("approval", 1) == [("globex", "b")]
    found = await store.records.get("acme", "approval", "a")
    assert found is not None
    assert found.wake_at == later


async def test_record_is_due_no_more_once_it_was_put_off(store: Store, clock: Clock) -> None:
    await put(store, Record(kind="approval", id="a", data={}, status="waiting", wake_at=clock.now))
    await put(store, Record(kind="approval", id="b", data={}, status="waiting", wake_at=clock.now))

    put_off = Record(kind="approval", id="a", data={}, status="waiting", wake_at=clock.now + timedelta(seconds=30))
    await store.records.write("acme", [Put(record=put_off, expect=1)])
    await put(store, Record(kind="approval", id="b", data={}, status="waiting"))

    assert await store.records.due("approval") == []
    clock.pass_by(seconds=30)
    assert await store.records.due("approval") == [("acme", "a")]


@pytest.mark.row("G7", part="chain")
async def test_the_heads_of_all_tenants_are_told_at_once(store: Store) -> None:
    await store.records.write("acme", [audit("a"), audit("b")])
    await store.records.write("beta", [audit("c")])

    heads = await store.records.audit_heads()

    assert heads == {"acme": await store.records.audit_head("acme"), "beta": await store.records.audit_head("beta")}
    assert {tenant: seq for tenant, (seq, _) in heads.items()} == {"acme": 2, "beta": 1}
