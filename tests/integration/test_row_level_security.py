"""What the database itself refuses, whoever asks: as a login that owns nothing, and as one that may do everything."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import psycopg
import pytest
from psycopg import errors, sql

from quarterdeck.core.errors import Misconfigured
from quarterdeck.store.base import Put
from quarterdeck.store.postgres_store import open_postgres
from quarterdeck.workflow.dispatch_procrastinate import ProcrastinateDispatcher
from tests.contracts.stores import audit, begin, history, record, reply
from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.row("G8", part="row-level security")

TABLES = ("runs", "events", "blobs", "records", "audit", "audit_heads", "keyvalue")
NEW_ROWS = {
    "runs": """INSERT INTO runs (tenant, run_id, agent, user_id, status, head, epoch, attempts, created_at, updated_at)
        VALUES (%s, 'r9', 'a', 'u', 'ready', 1, 0, 0, now(), now())""",
    "events": "INSERT INTO events (tenant, run, seq, at, kind, data) VALUES (%s, 1, 99, now(), 'steer', '{}')",
    "blobs": "INSERT INTO blobs (tenant, sha256, bytes, created_at) VALUES (%s, 'x', 'x', now())",
    "records": """INSERT INTO records (tenant, kind, id, status, owner, ref, version, created_at, updated_at, data)
        VALUES (%s, 'approval', 'x9', '', '', '', 1, now(), now(), '{}')""",
    "audit": """INSERT INTO audit (tenant, seq, at, actor, subject, action, object, decision, args_hash, prev, hash)
        VALUES (%s, 99, now(), '', '', '', '', '', '', '', '')""",
    "audit_heads": "INSERT INTO audit_heads (tenant, seq, hash) VALUES (%s, 99, 'x')",
    "keyvalue": "INSERT INTO keyvalue (tenant, key, bytes, updated_at) VALUES (%s, 'k9', '', now())",
}


@pytest.fixture
def url(migrated_postgres_url: str) -> str:
    """Of a database in which two tenants have a row in every table."""
    anyio.run(_fill, migrated_postgres_url)
    return migrated_postgres_url


async def _fill(url: str) -> None:
    store = await open_postgres(url)
    for tenant in ("acme", "beta"):
        claim = await begin(store.journal, tenant=tenant)
        rows = [Put(record=record("x", owner=tenant)), audit(tenant)]
        await store.journal.append(claim, [reply(1, tenant * 10_000)], folded=1, beside=rows)
        await store.keyvalue.save(tenant, "k", tenant.encode())
    await store.close()


@pytest.fixture
def plain(url: str) -> str:
    """URL for a login that is neither owner nor superuser."""
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("SELECT FROM pg_roles WHERE rolname = 'plain'").fetchone() is None:
            connection.execute("CREATE ROLE plain LOGIN")
        connection.execute("GRANT quarterdeck_app, quarterdeck_dispatch TO plain")
    return url.replace("postgres@", "plain@")


@pytest.fixture(params=["plain", "superuser"])
def app(request: pytest.FixtureRequest, url: str, plain: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection that has taken on the role the store works under."""
    with psycopg.connect(plain if request.param == "plain" else url, autocommit=True) as connection:
        connection.execute("SET ROLE quarterdeck_app")
        yield connection


@pytest.fixture
def dispatch(plain: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute("SET ROLE quarterdeck_dispatch")
        yield connection


def become(connection: psycopg.Connection[tuple[object, ...]], tenant: str) -> None:
    connection.execute("SELECT set_config('quarterdeck.tenant', %s, false)", (tenant,))


def tenants(connection: psycopg.Connection[tuple[object, ...]], table: str) -> set[object]:
    return {row[0] for row in connection.execute(sql.SQL("SELECT tenant FROM {}").format(sql.Identifier(table)))}


@pytest.mark.parametrize("table", TABLES)
def test_without_a_tenant_there_is_no_row(app: psycopg.Connection[tuple[object, ...]], table: str) -> None:
    unset = tenants(app, table)
    become(app, "")

    assert (unset, tenants(app, table)) == (set(), set())


@pytest.mark.parametrize("table", TABLES)
def test_tenant_sees_its_own_rows_only(app: psycopg.Connection[tuple[object, ...]], table: str) -> None:
    become(app, "acme")
    own = tenants(app, table)
    become(app, "evil")

    assert (own, tenants(app, table)) == ({"acme"}, set())


@pytest.mark.parametrize("table", TABLES)
def test_row_of_another_tenant_cannot_be_written(app: psycopg.Connection[tuple[object, ...]], table: str) -> None:
    become(app, "acme")

    with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
        app.execute(NEW_ROWS[table], ("gamma",))
    become(app, "")
    with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
        app.execute(NEW_ROWS[table], ("",))


@pytest.mark.parametrize("table", ["runs", "blobs", "records", "audit_heads", "keyvalue"])
def test_row_cannot_be_given_to_another_tenant(app: psycopg.Connection[tuple[object, ...]], table: str) -> None:
    become(app, "acme")
    name = sql.Identifier(table)

    with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
        app.execute(sql.SQL("UPDATE {} SET tenant = 'gamma'").format(name))
    if table != "audit_heads":
        assert app.execute(sql.SQL("DELETE FROM {} WHERE tenant = 'beta'").format(name)).rowcount == 0


@pytest.mark.row("G7", part="append only")
def test_what_happened_cannot_be_changed(app: psycopg.Connection[tuple[object, ...]]) -> None:
    become(app, "acme")

    for statement in (
        "UPDATE audit SET decision = 'allow'",
        "DELETE FROM audit",
        "DELETE FROM audit_heads",
        "UPDATE events SET data = '{}'",
    ):
        with pytest.raises(errors.InsufficientPrivilege):
            app.execute(statement)


def test_dispatch_sees_which_runs_there_are_and_nothing_else(dispatch: psycopg.Connection[tuple[object, ...]]) -> None:
    seen = dispatch.execute("SELECT tenant, run_id, status, head, wake_at, updated_at FROM runs ORDER BY tenant").fetchall()

    assert [row[:4] for row in seen] == [("acme", "r1", "running", 2), ("beta", "r1", "running", 2)]
    dispatch.execute("SELECT tenant, kind, id, wake_at FROM records")  # which of them are due, and not what they say
    for statement in (
        "SELECT user_id FROM runs",
        "SELECT * FROM runs",
        "SELECT bytes FROM blobs",
        "SELECT tenant FROM events",
        "SELECT owner FROM records",
        "SELECT data FROM records",
        "DELETE FROM records",
        "SELECT tenant FROM audit",
        "SELECT tenant FROM keyvalue",
        "UPDATE runs SET status = 'done'",
        "DELETE FROM runs",
        "INSERT INTO runs (tenant, run_id) VALUES ('acme', 'x')",
    ):
        with pytest.raises(errors.InsufficientPrivilege):
            dispatch.execute(statement)


async def test_store_works_for_a_login_that_owns_nothing(plain: str) -> None:
    store = await open_postgres(plain, migrate=False)
    claim = await store.journal.claim("acme", "r1")
    assert claim is not None
    await store.journal.append(claim, [reply(2)], folded=claim.head, beside=[audit()])

    assert len(await history(store.journal)) == 3
    assert await store.journal.due() == []
    assert await store.journal.heads([("beta", "r1"), ("gamma", "r1")]) == {("beta", "r1"): (2, "running")}
    await store.close()


async def test_store_works_for_an_owner_with_a_schema_of_its_own_name(own_postgres: PostgresServer) -> None:
    with psycopg.connect(own_postgres.url(), autocommit=True) as connection:
        connection.execute("CREATE ROLE owner LOGIN CREATEROLE")
        connection.execute("CREATE SCHEMA owner AUTHORIZATION owner")
    url = own_postgres.url(user="owner")

    store = await open_postgres(url)
    claim = await begin(store.journal)
    async with ProcrastinateDispatcher.opened(url, store.journal) as dispatcher:
        workers = await dispatcher.workers()

    assert claim.head == 1
    assert workers == ()
    assert await store.journal.due() == []
    await store.close()


async def test_statement_of_one_tenant_finds_nothing_of_another_even_if_it_asks(url: str) -> None:
    store = await open_postgres(url, max_connections=1)

    async def unit(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> set[object]:
        return {row[0] for row in await (await connection.execute("SELECT tenant FROM events")).fetchall()}

    seen = [await store.database.run(tenant, unit) for tenant in ("acme", "beta", "acme", "evil")]

    assert seen == [{"acme"}, {"beta"}, {"acme"}, set()]
    await store.close()


async def test_failure_leaves_no_connection_with_another_tenant_than_it_believes(url: str) -> None:
    store = await open_postgres(url, max_connections=1)

    async def unit(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> object:
        row = await (await connection.execute("SELECT current_setting('quarterdeck.tenant', true)")).fetchone()
        return row and row[0]

    async def failing(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
        async with connection.transaction():
            await connection.execute("SELECT set_config('quarterdeck.tenant', 'evil', true)")
            raise LookupError

    seen = [await store.database.run("acme", unit)]
    for tenant in ("beta", "acme", "beta"):
        with pytest.raises(LookupError):
            await store.database.run(tenant, failing)
        seen.append(await store.database.run(tenant, unit))

    assert seen == ["acme", "beta", "acme", "beta"]
    await store.close()


async def test_login_that_may_not_take_on_the_roles_is_told_so(url: str, plain: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("REVOKE quarterdeck_dispatch FROM plain")

    with pytest.raises(Misconfigured, match="GRANT quarterdeck_dispatch"):
        await open_postgres(plain, migrate=False)


def test_no_table_and_no_index_forgets_the_tenant(url: str) -> None:
    with psycopg.connect(url) as connection:
        tables = connection.execute("""SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity
            FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant'
            WHERE c.relkind = 'r' ORDER BY 1""").fetchall()
        indexes = connection.execute("""SELECT indexrelid::regclass::text
            FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attname = 'tenant'
              AND i.indkey[0] <> a.attnum
            JOIN pg_class c ON c.oid = i.indrelid AND c.relkind = 'r'""").fetchall()

    assert dict(tables) == dict.fromkeys(TABLES, True)
    assert sorted(indexes) == [("records_due",), ("runs_open",)]  # both are looked for across tenants
