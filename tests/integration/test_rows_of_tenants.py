"""Row-level security of every table with a tenant, found in the catalogue of a database that everything has used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import anyio
import psycopg
import pytest
from psycopg import errors, sql

from quarterdeck.knowledge.indexes.postgres import PostgresIndex
from quarterdeck.store.base import Put
from quarterdeck.store.postgres_store import open_postgres
from quarterdeck.workflow.dispatch_procrastinate import ProcrastinateDispatcher
from tests.contracts.indexes import PLANE, document, put, vector
from tests.contracts.stores import audit, begin, record, reply

pytestmark = pytest.mark.row("G8", part="every table")

Connection = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True)
class Table:
    """A table with a tenant. Attributes: given: Columns a row is made with; the others the database fills itself."""

    schema: str
    name: str
    guarded: bool
    given: tuple[str, ...]

    @property
    def sql(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


@pytest.fixture(scope="module")
def url(_shared_postgres: object, request: pytest.FixtureRequest) -> str:
    """Of a database in which two tenants have a row in every table."""
    url: str = request.getfixturevalue("_shared_postgres").new_database()
    anyio.run(_fill, url)
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("SELECT FROM pg_roles WHERE rolname = 'bystander'").fetchone() is None:
            connection.execute("CREATE ROLE bystander LOGIN")
        connection.execute("GRANT quarterdeck_app TO bystander")
    return url


async def _fill(url: str) -> None:
    store = await open_postgres(url)
    index = await PostgresIndex.open(url, PLANE, wait_s=20, answer_s=20)
    async with ProcrastinateDispatcher.opened(url, store.journal):
        for tenant in ("acme", "beta"):
            claim = await begin(store.journal, tenant=tenant)
            rows = [Put(record=record("x", owner=tenant)), audit(tenant)]
            await store.journal.append(claim, [reply(1, tenant * 10_000)], folded=1, beside=rows)
            await store.keyvalue.save(tenant, "k", tenant.encode())
            await put(index, document("gone", "beta", tenant=tenant), vector(0, 1))
            await index.delete(tenant, ["gone"])
            await put(index, document("one", "alpha", tenant=tenant), vector(1, 0))
            await put(index, document("one", "alpha\n\nagain", tenant=tenant), vector(1, 0), vector(0, 1))
    await index.close()
    await store.close()


def tables(url: str) -> list[Table]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("""
            SELECT n.nspname, c.relname, c.relrowsecurity AND c.relforcerowsecurity,
                   array_agg(g.attname::text) FILTER (WHERE g.attgenerated = '' AND g.attidentity <> 'a')
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname IN ('tenant', 'tenant_id') AND NOT a.attisdropped
            JOIN pg_attribute g ON g.attrelid = c.oid AND g.attnum > 0 AND NOT g.attisdropped
            WHERE c.relkind IN ('r', 'p', 'm', 'f') AND n.nspname NOT LIKE 'pg_%' AND n.nspname <> 'information_schema'
            GROUP BY 1, 2, 3 ORDER BY 1, 2""").fetchall()
    return [Table(str(schema), str(name), bool(guarded), tuple(given)) for schema, name, guarded, given in rows]


@pytest.fixture
def bystander(url: str) -> Iterator[Connection]:
    """A login that owns nothing, in the role the product works under."""
    with psycopg.connect(url.replace("postgres@", "bystander@"), autocommit=True) as connection:
        connection.execute("SET ROLE quarterdeck_app")
        yield connection


def become(connection: Connection, tenant: str) -> None:
    connection.execute("SELECT set_config('quarterdeck.tenant', %s, false)", (tenant,))


def seen(connection: Connection, table: Table) -> set[object]:
    return {row[0] for row in connection.execute(sql.SQL("SELECT tenant FROM {}").format(table.sql))}


def test_every_table_with_a_tenant_is_under_forced_row_level_security_and_was_used(url: str) -> None:
    found = tables(url)

    with psycopg.connect(url) as everybody:
        used = {table.name: seen(everybody, table) for table in found}

    assert {"runs", "audit", "passage", "vector"} <= used.keys()
    assert [table.name for table in found if not table.guarded] == []
    assert [name for name, tenants in used.items() if tenants != {"acme", "beta"}] == []


def test_in_every_table_a_tenant_sees_its_own_rows_and_nobody_sees_any(url: str, bystander: Connection) -> None:
    without = {table.name: seen(bystander, table) for table in tables(url)}
    become(bystander, "")
    unnamed = {table.name: seen(bystander, table) for table in tables(url)}
    become(bystander, "acme")
    own = {table.name: seen(bystander, table) for table in tables(url)}
    become(bystander, "evil")
    foreign = {table.name: seen(bystander, table) for table in tables(url)}

    assert set().union(*without.values(), *unnamed.values(), *foreign.values()) == set()
    assert [name for name, tenants in own.items() if tenants != {"acme"}] == []


def test_into_no_table_a_row_of_another_tenant_can_be_written(url: str, bystander: Connection) -> None:
    become(bystander, "acme")
    written = []

    for table in tables(url):
        columns = sql.SQL(", ").join(map(sql.Identifier, table.given))
        copied = sql.SQL(
            "INSERT INTO {table} ({columns}) SELECT {columns} FROM jsonb_populate_record(NULL::{table}, "
            '(SELECT to_jsonb(one) || \'{{"tenant": "beta"}}\' FROM {table} one LIMIT 1))'
        ).format(table=table.sql, columns=columns)
        moved = sql.SQL("UPDATE {} SET tenant = 'beta'").format(table.sql)
        for statement in (copied, moved):
            try:
                bystander.execute(statement)
            except errors.InsufficientPrivilege:
                continue
            written.append(table.name)

    assert written == []
