"""A log in which anything was changed behind the program's back is found out, and the first bad row named."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.service.auditing import checked
from quarterdeck.store.sqlite_store import DATABASE_NAME, SqliteStore, open_sqlite
from tests.contracts.stores import audit

pytestmark = pytest.mark.row("G7", part="tampering")

ROWS = 12
COLUMNS = ("at", "actor", "subject", "action", "object", "decision", "args_hash", "prev", "hash")
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.integers(-(2**62), 2**62), st.text(max_size=8), st.binary(max_size=40), st.floats(allow_nan=False)
)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = open_sqlite(tmp_path)
    await store.records.write("acme", [audit(f"t{n}") for n in range(ROWS)])
    await store.records.write("beta", [audit("other")])
    yield store
    await store.close()


def behind(folder: Path, *statements: tuple[str, tuple[Any, ...]]) -> None:
    connection = sqlite3.connect(folder / DATABASE_NAME)
    with connection:
        for statement, values in statements:
            connection.execute(statement, values)
    connection.close()


def unchanged(folder: Path) -> bool:
    """Whether the table still says what its copy says."""
    connection = sqlite3.connect(folder / DATABASE_NAME)
    (more,) = connection.execute("SELECT count(*) FROM (SELECT * FROM audit EXCEPT SELECT * FROM kept)").fetchone()
    connection.close()
    return bool(more == 0)


PUT_IN = "INSERT INTO audit SELECT tenant, {}, at, 'x', 'x', 'x', 'x', 'x', '', prev, hash FROM audit WHERE seq = {}"
MOVED = "UPDATE audit SET seq = ? WHERE tenant = 'acme' AND seq = ?"


@pytest.mark.parametrize(
    ("statements", "bad"),
    [
        ([("UPDATE audit SET decision = 'deny' WHERE tenant = 'acme' AND seq = 5", ())], 5),
        ([("UPDATE audit SET at = at + 1 WHERE tenant = 'acme' AND seq = 12", ())], 12),
        ([("DELETE FROM audit WHERE tenant = 'acme' AND seq = 1", ())], 1),
        ([("DELETE FROM audit WHERE tenant = 'acme' AND seq = 7", ())], 7),
        ([(MOVED, (99, 3)), (MOVED, (3, 4)), (MOVED, (4, 99))], 3),
        ([("DELETE FROM audit WHERE tenant = 'acme' AND seq > 8", ())], 9),
        ([("DELETE FROM audit WHERE tenant = 'acme'", ())], 1),
        ([("DELETE FROM audit_heads WHERE tenant = 'acme'", ())], 1),
        ([("UPDATE audit_heads SET seq = 8 WHERE tenant = 'acme'", ())], 9),
        (
            [
                (
                    PUT_IN.format(13, 12),
                    (),
                )
            ],
            13,
        ),
        (
            [
                (
                    PUT_IN.format(-4, 2),
                    (),
                )
            ],
            -4,
        ),
    ],
    ids=[
        "flip",
        "flip last",
        "drop first",
        "drop",
        "reorder",
        "truncate",
        "empty",
        "no head",
        "old head",
        "append",
        "before",
    ],
)
async def test_the_first_bad_row_is_named(
    store: SqliteStore, tmp_path: Path, statements: list[tuple[str, tuple[Any, ...]]], bad: int
) -> None:
    behind(tmp_path, *statements)

    verdict = await checked(store.records, "acme")
    other = await checked(store.records, "beta")

    assert verdict.bad == bad
    assert (other.bad, other.rows) == (None, 1)


async def test_a_log_nobody_touched_holds(store: SqliteStore) -> None:
    verdict = await checked(store.records, "acme")

    assert (verdict.bad, verdict.rows) == (None, ROWS)
    assert await store.records.audit_head("acme") == (ROWS, verdict.head)
    assert (await checked(store.records, "nobody")).bad is None


def test_whatever_value_is_put_into_whatever_column_of_whatever_row_it_is_named(tmp_path: Path) -> None:
    async def prepare() -> None:
        store = open_sqlite(tmp_path)
        await store.records.write("acme", [audit(f"t{n}") for n in range(ROWS)])
        await store.close()

    async def check() -> int | None:
        store = open_sqlite(tmp_path)
        try:
            return (await checked(store.records, "acme")).bad
        finally:
            await store.close()

    anyio.run(prepare)

    @given(seq=st.integers(1, ROWS), column=st.sampled_from(COLUMNS), value=VALUES)
    def mutated(seq: int, column: str, value: Any) -> None:
        behind(tmp_path, ("CREATE TABLE kept AS SELECT * FROM audit", ()))
        try:
            behind(tmp_path, (f"UPDATE audit SET {column} = ? WHERE tenant = 'acme' AND seq = ?", (value, seq)))
            same = unchanged(tmp_path)

            bad = anyio.run(check)

            assert bad == (None if same else seq)
        finally:
            behind(
                tmp_path,
                ("DELETE FROM audit", ()),
                ("INSERT INTO audit SELECT * FROM kept", ()),
                ("DROP TABLE kept", ()),
            )

    mutated()
