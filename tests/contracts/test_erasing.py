"""What every database promises that takes a person's things away."""

from __future__ import annotations

import pytest

from quarterdeck.core.errors import NotFound
from quarterdeck.core.runs import RunStatus
from quarterdeck.store.base import Put, Record, ref_of
from quarterdeck.store.postgres_store import PostgresStore
from quarterdeck.store.sqlite_store import SqliteStore
from tests.contracts.stores import STORES, audit, history, record, reply, started

pytestmark = pytest.mark.row("G11", part="sqlite and postgres")

Kept = SqliteStore | PostgresStore
STORES_THAT_LAST = [name for name in STORES if name != "memory"]


@pytest.fixture(params=STORES_THAT_LAST)
async def lasting(request: pytest.FixtureRequest, clock):  # type: ignore[no-untyped-def]  # a fixture of the suite
    async with STORES[request.param](request, clock) as opened:
        yield opened


async def run(
    store: Kept, run_id: str, *, user: str = "anna", tenant: str = "acme", text: str = "", ended: bool = True
) -> None:
    assert await store.journal.create(tenant, run_id, started(user=user, tenant=tenant))
    claim = await store.journal.claim(tenant, run_id)
    assert claim is not None
    status = RunStatus.DONE if ended else None
    await store.journal.append(claim, [reply(1, text)], folded=claim.head, status=status)
    await store.records.write(tenant, [Put(record=record(f"of-{run_id}", ref=run_id))])


async def test_ended_runs_go_with_their_records_and_their_blobs_and_nothing_else_does(lasting: Kept) -> None:
    store = lasting
    big, shared = "x" * 200_000, "y" * 200_000
    await run(store, "r1", text=big)
    await run(store, "r2", text=shared)
    await run(store, "r3", text=shared, user="bo")
    await run(store, "r4", ended=False)
    await run(store, "r1", tenant="beta", text=big)
    order = await store.journal.put_blob("acme", b"what anna ordered")
    await store.records.write("acme", [audit()])

    count = await store.erasing.erase_runs("acme", ["r1", "r2", "r4"], [order])
    again = await store.erasing.erase_runs("acme", ["r1", "r2", "r4"], [order])

    assert (count, again) == (2, 0)
    left = {row.run_id for row in await store.journal.runs("acme")}
    assert left == {"r3", "r4"}
    assert await history(store.journal, "r1") == []
    assert await store.records.get("acme", "approval", "of-r1") is None
    assert await store.records.get("acme", "approval", "of-r3") is not None
    assert len(await history(store.journal, "r3")) == 2  # its blob is there
    assert len(await history(store.journal, "r1", "beta")) == 2
    assert len(await store.records.audit_rows("acme")) == 1
    with pytest.raises(NotFound):
        await store.journal.get_blob("acme", order)


async def test_records_of_an_owner_or_of_the_tenant_are_told_and_deleted_but_for_kinds_that_are_kept(lasting: Kept) -> None:
    store = lasting
    rows = [
        record("a", owner="anna"),
        Record(kind="delegation", id="d", data={}, owner="bo", ref=ref_of("anna")),
        record("b", owner="bo"),
        Record(kind="budget", id="c", data={}, owner="anna"),
    ]
    await store.records.write("acme", [Put(record=row) for row in rows])
    await store.records.write("beta", [Put(record=rows[0])])

    told = await store.erasing.records_of("acme", "anna", {"budget"})
    deleted = await store.erasing.erase_records("acme", "anna", {"budget"})
    rest = await store.erasing.records_of("acme", None, ())
    await store.erasing.scrub()
    everything = await store.erasing.erase_records("acme", None, ())

    assert [each.id for each in told] == ["a", "d"]
    assert (deleted, everything) == (2, 2)
    assert sorted(each.id for each in rest) == ["b", "c"]
    assert await store.records.get("beta", "approval", "a") is not None
