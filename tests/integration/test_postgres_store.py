"""The Postgres store under what only a server of its own brings: others at the same time, restarts, silence, versions."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

import anyio
import psycopg
import pytest
from anyio import to_thread

from quarterdeck.core.errors import Conflict, Fenced, InvalidInput, Misconfigured, SchemaMismatch, StoreUnavailable
from quarterdeck.core.events import ModelReply, Steer
from quarterdeck.core.runs import RunStatus
from quarterdeck.store.audit import verify
from quarterdeck.store.base import Entry, Put
from quarterdeck.store.migrate import POSTGRES, Connection, load, migrate
from quarterdeck.store.postgres import migrate_postgres
from quarterdeck.store.postgres_store import PostgresStore, open_postgres
from tests.contracts.stores import audit, begin, history, message, record, reply, started
from tests.postgres_server import PostgresServer

SHIPPED = load("postgres")
SOMEBODYS_APPEND = """WITH r AS (UPDATE runs SET head = head + 1 RETURNING tenant, no, head)
INSERT INTO events (tenant, run, seq, at, kind, key, data) SELECT tenant, no, head, now(), 'unheard_of', %s, '{}' FROM r"""
PATIENT = 20.0  # the machine is shared by several test processes


@pytest.fixture
async def replicas(migrated_postgres_url: str) -> AsyncIterator[tuple[PostgresStore, PostgresStore]]:
    """The same database twice, as two processes see it."""
    one, two = [await open_postgres(migrated_postgres_url, wait_s=PATIENT, max_connections=5) for _ in range(2)]
    yield one, two
    await one.close()
    await two.close()


@pytest.fixture
async def guarded(own_postgres: PostgresServer) -> AsyncIterator[PostgresStore]:
    """A store on a server that may be stopped, with connections that have been used."""
    store = await open_postgres(own_postgres.new_database(), max_connections=5)
    async with anyio.create_task_group() as tasks:
        for n in range(20):
            tasks.start_soon(store.journal.create, "acme", f"early-{n}", started())
    yield store
    await store.close()


async def waiting_for_a_lock(watch: psycopg.AsyncConnection[tuple[int]]) -> None:
    while True:
        cursor = await watch.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        row = await cursor.fetchone()
        if row is not None and row[0]:
            return
        await anyio.sleep(0.005)


async def test_many_tasks_advance_many_runs_at_once(replicas: tuple[PostgresStore, PostgresStore]) -> None:
    async def work(store: PostgresStore, run_id: str) -> None:
        await store.journal.create("acme", run_id, started())
        for turn in range(1, 11):
            claim = await store.journal.claim("acme", run_id)
            assert claim is not None
            assert claim.head == turn
            await store.journal.append(claim, [reply(turn)], folded=claim.head, beside=[Put(record=record(run_id))])

    async with anyio.create_task_group() as tasks:
        for n in range(20):
            tasks.start_soon(work, replicas[n % 2], f"r{n}")

    for n in range(20):
        entries = await history(replicas[0].journal, f"r{n}")
        assert [entry.key for entry in entries] == [None, *(f"m:{turn}" for turn in range(1, 11))]
        found = await replicas[1].records.get("acme", "approval", f"r{n}")
        assert found is not None
        assert found.version == 10


@pytest.mark.row("L2", part="fencing between processes")
async def test_of_two_processes_on_one_run_the_later_claim_writes(replicas: tuple[PostgresStore, PostgresStore]) -> None:
    one, two = (store.journal for store in replicas)
    written: list[str] = []
    await one.create("acme", "r1", started())

    async def work(name: str) -> None:
        journal = one if name == "one" else two
        for turn in range(100):
            claim = await journal.claim("acme", "r1")
            assert claim is not None
            try:
                await journal.append(claim, [reply(claim.epoch, name)], folded=claim.head)
            except Fenced:
                continue
            written.append(f"m:{claim.epoch}")
            if turn > 20 and len(written) > 20:
                return

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work, "one")
        tasks.start_soon(work, "two")

    entries = await history(one)
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    assert {entry.key for entry in entries[1:]} == set(written)


async def test_fifty_at_once_create_one_run(replicas: tuple[PostgresStore, PostgresStore]) -> None:
    made: list[bool] = []

    async def create(n: int) -> None:
        made.append(await replicas[n % 2].journal.create("acme", "r1", started(f"attempt {n}"), beside=[audit(f"{n}")]))

    async with anyio.create_task_group() as tasks:
        for n in range(50):
            tasks.start_soon(create, n)

    assert sorted(made) == [False] * 49 + [True]
    assert len(await history(replicas[0].journal)) == 1
    assert len(await replicas[0].records.audit_rows("acme")) == 1


@pytest.mark.row("G7", part="chain between processes")
async def test_two_hundred_audit_rows_at_once_make_one_chain(replicas: tuple[PostgresStore, PostgresStore]) -> None:
    async def note(n: int) -> None:
        await replicas[n % 2].records.write("acme", [audit(f"call {n}"), Put(record=record(f"x{n % 3}"))])

    async with anyio.create_task_group() as tasks:
        for n in range(200):
            tasks.start_soon(note, n)

    rows = await replicas[0].records.audit_rows("acme")
    assert len(rows) == 200
    assert verify(rows, head=await replicas[1].records.audit_head("acme")) is None


async def test_records_locked_in_any_order_do_not_block_each_other_for_ever(
    replicas: tuple[PostgresStore, PostgresStore],
) -> None:
    names = ["a", "b", "c", "d"]

    async def write(n: int) -> None:
        order = names if n % 2 else names[::-1]
        await replicas[n % 2].records.write("acme", [audit(), *(Put(record=record(name)) for name in order)])

    async with anyio.create_task_group() as tasks:
        for n in range(40):
            tasks.start_soon(write, n)

    for name in names:
        found = await replicas[0].records.get("acme", "approval", name)
        assert found is not None
        assert found.version == 40


async def test_claim_that_waited_for_an_append_has_its_events(
    replicas: tuple[PostgresStore, PostgresStore], migrated_postgres_url: str
) -> None:
    journal = replicas[0].journal
    await begin(journal)
    async with (
        await psycopg.AsyncConnection.connect(migrated_postgres_url) as other,
        await psycopg.AsyncConnection.connect(migrated_postgres_url, autocommit=True) as watch,
    ):
        await other.execute(SOMEBODYS_APPEND, (None,))

        async with anyio.create_task_group() as tasks:
            taken: list[int] = []

            async def claim() -> None:
                claimed = await journal.claim("acme", "r1")
                assert claimed is not None
                taken.extend(entry.seq for entry in claimed.entries)

            tasks.start_soon(claim)
            await waiting_for_a_lock(watch)
            await other.commit()

    assert taken == [1, 2]


async def test_append_that_waited_leaves_out_a_key_that_was_taken_meanwhile(
    replicas: tuple[PostgresStore, PostgresStore], migrated_postgres_url: str
) -> None:
    journal = replicas[0].journal
    claim = await begin(journal)
    async with (
        await psycopg.AsyncConnection.connect(migrated_postgres_url) as other,
        await psycopg.AsyncConnection.connect(migrated_postgres_url, autocommit=True) as watch,
    ):
        await other.execute(SOMEBODYS_APPEND, ("m:2",))

        async with anyio.create_task_group() as tasks:
            heads: list[tuple[int, bool, list[str | None]]] = []

            async def append(beside: Put) -> None:
                done = await journal.append(claim, [reply(1), reply(2), reply(3)], folded=1, beside=[beside])
                heads.append((done.head, done.foreign, [entry.key for entry in done.entries]))

            tasks.start_soon(append, Put(record=record("x"), expect=0))
            await waiting_for_a_lock(watch)
            await other.commit()

    assert heads == [(4, True, ["m:1", "m:3"])]
    assert [(entry.seq, entry.key) for entry in await history(journal)] == [(1, None), (2, "m:2"), (3, "m:1"), (4, "m:3")]
    assert await replicas[0].records.get("acme", "approval", "x") is not None


async def test_run_is_not_done_over_an_event_its_append_waited_for(
    replicas: tuple[PostgresStore, PostgresStore], migrated_postgres_url: str
) -> None:
    journal = replicas[0].journal
    claim = await begin(journal)
    outcomes: list[str] = []
    async with (
        await psycopg.AsyncConnection.connect(migrated_postgres_url) as other,
        await psycopg.AsyncConnection.connect(migrated_postgres_url, autocommit=True) as watch,
    ):
        await other.execute(SOMEBODYS_APPEND, (None,))

        async def finish() -> None:
            try:
                await journal.append(claim, [reply(1)], folded=1, status=RunStatus.DONE)
            except Conflict:
                outcomes.append("conflict")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(finish)
            await waiting_for_a_lock(watch)
            await other.commit()

    assert outcomes == ["conflict"]
    assert [entry.seq for entry in await history(journal)] == [1, 2]


async def test_equal_posts_and_appends_of_two_processes_store_each_key_once(
    replicas: tuple[PostgresStore, PostgresStore],
) -> None:
    claim = await begin(replicas[0].journal)

    async def post() -> None:
        for turn in range(1, 31):
            said = Steer(by="anna", message=message("stop"))
            await replicas[1].journal.post("acme", "r1", Entry(event=said, key=f"m:{turn}"))

    async def work() -> None:
        for turn in range(1, 31):
            await replicas[0].journal.append(claim, [reply(turn), reply(turn + 1)], folded=1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(post)
        tasks.start_soon(work)

    entries = await history(replicas[0].journal)
    assert [entry.seq for entry in entries] == list(range(1, 33))
    assert {entry.key for entry in entries[1:]} == {f"m:{turn}" for turn in range(1, 32)}


async def test_cancelled_caller_costs_no_connection(replicas: tuple[PostgresStore, PostgresStore]) -> None:
    journal = replicas[0].journal
    claim = await begin(journal)

    for turn in range(1, 31):
        with anyio.move_on_after(0.0005 * (turn % 7)):
            await journal.append(claim, [reply(turn)], folded=1, beside=[audit()])

    entries = await history(journal)
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    assert len(await replicas[0].records.audit_rows("acme")) == len(entries) - 1


@pytest.mark.parametrize("name", ["nu\0l", "half\ud800", "".join(map(str, range(5000)))], ids=["nul", "surrogate", "long"])
async def test_what_the_database_cannot_hold_is_an_error_of_whoever_sent_it(
    replicas: tuple[PostgresStore, PostgresStore], name: str
) -> None:
    store = replicas[0]
    claim = await begin(store.journal)

    with pytest.raises(InvalidInput, match="cannot be stored"):
        await store.journal.append(claim, [reply(1)], folded=1, beside=[audit(), Put(record=record("x", owner=name))])
    with pytest.raises(InvalidInput, match="cannot be stored"):
        await store.journal.post("acme", "r1", Entry(event=Steer(by="anna", message=message("stop")), key=name))

    assert (await store.journal.append(claim, [reply(1)], folded=1)).head == 2
    assert await store.records.audit_rows("acme") == []


async def test_instants_are_the_databases(replicas: tuple[PostgresStore, PostgresStore]) -> None:
    claim = await begin(replicas[0].journal)

    appended = await replicas[0].journal.append(claim, [reply(1)], folded=1)

    at = appended.entries[0].at
    assert at is not None
    assert at.tzinfo is UTC
    assert abs(datetime.now(UTC) - at) < timedelta(minutes=1)


async def test_stopped_server_is_unavailable_within_a_second_and_comes_back_by_itself(
    own_postgres: PostgresServer, guarded: PostgresStore
) -> None:
    claim = await begin(guarded.journal)
    await to_thread.run_sync(own_postgres.stop)

    for attempt in range(3):
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="database"):
            await guarded.journal.create("acme", f"lost-{attempt}", started())
        assert time.monotonic() - began < 1.0
    with pytest.raises(StoreUnavailable):
        await guarded.journal.probe()
    with pytest.raises(StoreUnavailable):
        await guarded.journal.due()
    await to_thread.run_sync(own_postgres.start)
    began = time.monotonic()
    while True:
        try:
            await guarded.journal.probe()
            await guarded.journal.due()
        except StoreUnavailable:
            assert time.monotonic() - began < 5.0
        else:
            break

    assert (await guarded.journal.append(claim, [reply(1)], folded=1)).head == 2
    assert await guarded.journal.find("acme", "lost-0") is None
    assert await guarded.keyvalue.clear("health") == 0  # a probe that writes leaves every tenant's states alone


async def test_connections_that_died_in_the_pool_fail_nobody(own_postgres: PostgresServer, guarded: PostgresStore) -> None:
    await to_thread.run_sync(own_postgres.kill)
    await to_thread.run_sync(own_postgres.start)
    failed: list[StoreUnavailable] = []

    async def create(n: int) -> None:
        try:
            await guarded.journal.create("acme", f"late-{n}", started())
        except StoreUnavailable as error:
            failed.append(error)

    async with anyio.create_task_group() as tasks:
        for n in range(20):
            tasks.start_soon(create, n)

    assert failed == []
    assert await guarded.journal.find("acme", "early-3") is not None


async def test_server_that_does_not_answer_is_unavailable(own_postgres: PostgresServer) -> None:
    store = await open_postgres(own_postgres.new_database(), answer_s=0.3)
    await store.journal.create("acme", "r1", started())

    own_postgres.freeze()
    try:
        with pytest.raises(StoreUnavailable, match=r"within 0\.3 s"):
            await store.journal.create("acme", "r2", started())
    finally:
        own_postgres.thaw()

    began = time.monotonic()
    while True:
        try:
            await store.journal.create("acme", "r3", started())
        except StoreUnavailable:
            assert time.monotonic() - began < 5.0
        else:
            break
    await store.close()


async def test_nothing_tells_the_password(own_postgres: PostgresServer) -> None:
    url = own_postgres.url().replace("postgres@", "postgres:hunter2@")
    own_postgres.stop()

    for wrong, error in ((url, StoreUnavailable), (f"{url}?nonsense=hunter2", Misconfigured)):
        with pytest.raises(error) as caught:
            await open_postgres(wrong)
        assert "hunter2" not in f"{caught.value} {caught.value.__cause__}"


@pytest.mark.parametrize("password", ["hun@ter2", "hun/ter2"])
async def test_nothing_tells_a_piece_of_a_password_that_was_not_escaped(password: str) -> None:
    with pytest.raises(Misconfigured, match="@ is written %40") as caught:
        await open_postgres(f"postgresql://quarterdeck:{password}@127.0.0.1:1/quarterdeck")

    assert not any(piece in str(caught.value) for piece in ("hun", "ter2"))


@pytest.mark.row("P2", part="postgres")
async def test_up_down_up_keeps_what_the_lower_version_has(postgres_url: str) -> None:
    store = await open_postgres(postgres_url)
    claim = await begin(store.journal)
    await store.journal.append(claim, [reply(1, "x" * 20_000)], folded=1, beside=[audit()])
    before = await history(store.journal)
    await store.close()

    await migrate_postgres(postgres_url, 1)
    store = await open_postgres(postgres_url)

    assert await history(store.journal) == before
    assert isinstance(before[1].event, ModelReply)
    assert await store.records.audit_rows("acme") == []
    await store.close()


async def test_down_to_nothing_leaves_nothing(postgres_url: str) -> None:
    await migrate_postgres(postgres_url)
    await migrate_postgres(postgres_url, 0)

    with psycopg.connect(postgres_url) as connection:
        tables = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        ).fetchall()
    assert tables == [("schema_versions",)]
    store = await open_postgres(postgres_url)
    assert await store.journal.create("acme", "r1", started())
    await store.close()


@pytest.mark.row("P2", part="postgres")
async def test_replicas_that_start_together_migrate_once(postgres_url: str) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(migrate_postgres, postgres_url)

    with psycopg.connect(postgres_url) as connection:
        versions = connection.execute("SELECT version, checksum FROM schema_versions ORDER BY version").fetchall()
    assert versions == [(migration.version, migration.checksum) for migration in SHIPPED]


@pytest.mark.row("P2", part="postgres")
async def test_schema_of_another_version_is_refused(postgres_url: str) -> None:
    with pytest.raises(SchemaMismatch, match="this program needs"):
        await open_postgres(postgres_url, migrate=False)
    await migrate_postgres(postgres_url)
    changes = {
        "UPDATE schema_versions SET checksum = 'edited' WHERE version = 2": "version 2",
        f"INSERT INTO schema_versions VALUES ({len(SHIPPED) + 1}, 'later', 'x', 0)": f"schema version {len(SHIPPED) + 1}",
    }

    for change, told in changes.items():
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(change)  # type: ignore[call-overload]  # a constant
        for ours in (True, False):
            with pytest.raises(SchemaMismatch, match=told):
                await open_postgres(postgres_url, migrate=ours)
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("UPDATE schema_versions SET checksum = %s WHERE version = 2", (SHIPPED[1].checksum,))


async def test_database_of_another_program_is_left_alone(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE invoices (id int)")

    with pytest.raises(SchemaMismatch, match="invoices"):
        await open_postgres(postgres_url)


async def test_failing_migration_leaves_the_version_before_it(postgres_url: str) -> None:
    broken = replace(SHIPPED[1], up="CREATE TABLE half (x int); CREATE TABLE half (x int);")

    with psycopg.connect(postgres_url, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.DuplicateTable):
            migrate(cast(Connection, connection), [SHIPPED[0], broken], dialect=POSTGRES)

        assert connection.execute("SELECT to_regclass('half')").fetchone() == (None,)
        assert connection.execute("SELECT max(version) FROM schema_versions").fetchone() == (1,)


async def test_what_wants_a_worker_is_found_among_ten_thousand_that_wait(
    replicas: tuple[PostgresStore, PostgresStore], migrated_postgres_url: str
) -> None:
    with psycopg.connect(migrated_postgres_url, autocommit=True) as connection:
        connection.execute("""INSERT INTO runs (tenant, run_id, agent, user_id, status, head, epoch, attempts, wake_at,
            created_at, updated_at)
            SELECT 'acme', 'r' || n, 'a', 'anna', 'waiting', 1, 1, 0, now() + interval '7 days', now(), now()
            FROM generate_series(1, 10000) AS n""")
        connection.execute("ANALYZE runs")
    await replicas[0].journal.create("beta", "new", started())

    due = await replicas[0].journal.due(stalled_s=10)

    assert due == [("beta", "new")]
