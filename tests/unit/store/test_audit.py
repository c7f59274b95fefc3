"""A log in which anything was changed behind the program's back is found out, and the first bad row named."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.service.auditing import checked
from quarterdeck.store.audit import GENESIS, audit_row, row_hash
from quarterdeck.store.base import Audit
from quarterdeck.store.sqlite_store import DATABASE_NAME, open_sqlite
from tests.contracts.stores import audit

pytestmark = pytest.mark.row("G7", part="tampering")

ROWS = 12
COLUMNS = ("at", "actor", "subject", "action", "object", "decision", "args_hash", "prev", "hash")
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.integers(-(2**62), 2**62), st.text(max_size=8), st.binary(max_size=40), st.floats(allow_nan=False)
)


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


@given(tenant=st.text(max_size=8), seq=st.integers(1, 2**62), texts=st.lists(st.text(max_size=12), min_size=6, max_size=6))
def test_a_row_gets_the_hash_it_is_checked_by_whatever_its_texts(tenant: str, seq: int, texts: list[str]) -> None:
    names = ("actor", "subject", "action", "object", "decision", "args_hash")
    entry = Audit(**dict(zip(names, texts, strict=True)))

    row = audit_row(tenant, seq, datetime(2026, 11, 21, tzinfo=UTC), entry, GENESIS)

    assert row["hash"] == row_hash(row)
