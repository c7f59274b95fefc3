"""Schema forward and back, and what is refused."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from quarterdeck.core.errors import Misconfigured, SchemaMismatch
from quarterdeck.store.migrate import Migration, applied, load, migrate
from quarterdeck.store.sqlite import SqliteDatabase, connect
from quarterdeck.store.sqlite_store import DATABASE_NAME, open_sqlite
from tests.contracts.stores import audit, begin, history, reply

SHIPPED = load("sqlite")


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    opened = connect(tmp_path / DATABASE_NAME)
    yield opened
    opened.close()


def tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


@pytest.mark.row("P2", part="sqlite")
async def test_up_down_up_keeps_what_the_lower_version_has(tmp_path: Path, connection: sqlite3.Connection) -> None:
    store = open_sqlite(tmp_path)
    claim = await begin(store.journal)
    await store.journal.append(claim, [reply(1)], folded=1, beside=[audit()])
    before = await history(store.journal)
    await store.close()

    migrate(connection, SHIPPED, 1)
    between = tables(connection)
    store = open_sqlite(tmp_path)

    assert between == {"runs", "events", "blobs", "schema_versions"}
    assert await history(store.journal) == before
    assert await store.records.audit_rows("acme") == []
    assert sorted(applied(connection)) == list(range(1, len(SHIPPED) + 1))
    await store.close()


def test_down_to_nothing_leaves_nothing(connection: sqlite3.Connection) -> None:
    migrate(connection, SHIPPED)
    migrate(connection, SHIPPED, 0)

    assert tables(connection) == {"schema_versions"}
    migrate(connection, SHIPPED)
    assert {"runs", "records", "keyvalue"} <= tables(connection)


def test_every_down_undoes_exactly_its_up(connection: sqlite3.Connection) -> None:
    def schema() -> list[tuple[str, ...]]:
        return connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()

    migrate(connection, SHIPPED, 0)
    for version in range(1, len(SHIPPED) + 1):
        migrate(connection, SHIPPED, version - 1)
        before = schema()
        migrate(connection, SHIPPED, version)
        migrate(connection, SHIPPED, version - 1)
        assert version == 1 or schema() == before
        migrate(connection, SHIPPED, version)


@pytest.mark.row("P2", part="sqlite")
def test_newer_schema_is_refused(tmp_path: Path, connection: sqlite3.Connection) -> None:
    later = Migration(version=len(SHIPPED) + 1, name="later", up="CREATE TABLE later (x);", down="DROP TABLE later;")
    migrate(connection, [*SHIPPED, later])

    with pytest.raises(SchemaMismatch, match=f"schema version {later.version}"):
        SqliteDatabase.open(tmp_path / DATABASE_NAME)

    assert "later" in tables(connection)


@pytest.mark.row("P2", part="sqlite")
def test_edited_migration_is_refused(connection: sqlite3.Connection) -> None:
    migrate(connection, SHIPPED)
    edited = replace(SHIPPED[1], up=SHIPPED[1].up + "CREATE TABLE smuggled (x);")

    with pytest.raises(SchemaMismatch, match="version 2"):
        migrate(connection, [SHIPPED[0], edited, *SHIPPED[2:]])


def test_comment_in_a_migration_may_be_mended(connection: sqlite3.Connection) -> None:
    migrate(connection, SHIPPED)
    commented = replace(SHIPPED[1], up="-- what this is for\n" + SHIPPED[1].up)

    migrate(connection, [SHIPPED[0], commented, *SHIPPED[2:]])

    assert set(applied(connection)) == set(range(1, len(SHIPPED) + 1))


def test_missing_version_is_refused(connection: sqlite3.Connection) -> None:
    migrate(connection, SHIPPED)
    connection.execute("DELETE FROM schema_versions WHERE version = 2")

    with pytest.raises(SchemaMismatch, match="lacks version 2"):
        migrate(connection, SHIPPED)


def test_database_of_another_program_is_left_alone(tmp_path: Path, connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE invoices (id)")

    with pytest.raises(SchemaMismatch, match="invoices"):
        SqliteDatabase.open(tmp_path / DATABASE_NAME)

    assert tables(connection) == {"invoices"}


def test_failing_migration_leaves_the_version_before_it(connection: sqlite3.Connection) -> None:
    broken = Migration(version=2, name="broken", up="CREATE TABLE half (x); CREATE TABLE half (x);", down="")

    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        migrate(connection, [SHIPPED[0], broken])

    assert sorted(applied(connection)) == [1]
    assert "half" not in tables(connection)


def test_version_that_does_not_exist_is_refused(connection: sqlite3.Connection) -> None:
    for wrong in (-1, len(SHIPPED) + 1):
        with pytest.raises(Misconfigured, match="no schema version"):
            migrate(connection, SHIPPED, wrong)


def test_triggers_are_one_statement(connection: sqlite3.Connection) -> None:
    up = """CREATE TABLE a (x TEXT); -- the first; really
    CREATE TRIGGER t AFTER INSERT ON a BEGIN UPDATE a SET x = ';'; DELETE FROM a WHERE x = 'y'; END;"""

    migrate(connection, [Migration(version=1, name="a", up=up, down="DROP TABLE a;")])

    assert connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'trigger'").fetchone() == (1,)
