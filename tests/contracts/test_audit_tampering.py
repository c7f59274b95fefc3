"""A log in which rows were changed behind the program's back is found out in every database, and the first bad one named."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest

from quarterdeck.service.auditing import checked
from quarterdeck.store.base import Audit
from quarterdeck.store.sqlite_store import DATABASE_NAME
from tests.contracts.stores import STORES, Clock, Store, audit

ROWS = 12
Behind = Callable[..., None]

PUT_IN = (
    "INSERT INTO audit SELECT tenant, {}, at, 'x', 'x', 'x', 'x', 'x', '', prev, hash"
    " FROM audit WHERE tenant = 'acme' AND seq = {}"
)
MOVED = "UPDATE audit SET seq = {} WHERE tenant = 'acme' AND seq = {}"


@pytest.fixture(params=["sqlite", "postgres"])
async def log(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[tuple[Store, Behind]]:
    """A log of some rows, and how its table is changed by somebody with every right."""
    async with STORES[request.param](request, clock) as store:
        await store.records.write("acme", [audit(f"t{n}") for n in range(ROWS)])
        await store.records.write("beta", [audit("other")])
        if request.param == "sqlite":
            path: Path = request.getfixturevalue("tmp_path") / DATABASE_NAME
            yield store, lambda *statements: _in_sqlite(path, statements)
        else:
            url: str = request.getfixturevalue("migrated_postgres_url")
            yield store, lambda *statements: _in_postgres(url, statements)


def _in_sqlite(path: Path, statements: tuple[str, ...]) -> None:
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def _in_postgres(url: str, statements: tuple[Any, ...]) -> None:
    with psycopg.connect(url) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.mark.row("G7", part="tampering")
@pytest.mark.parametrize(
    ("statements", "bad"),
    [
        pytest.param(["UPDATE audit SET decision = 'deny' WHERE tenant = 'acme' AND seq = 5"], 5, id="flip"),
        pytest.param(["UPDATE audit SET actor = 'user:eve' WHERE tenant = 'acme' AND seq = 12"], 12, id="flip last"),
        pytest.param(["DELETE FROM audit WHERE tenant = 'acme' AND seq = 1"], 1, id="drop first"),
        pytest.param(["DELETE FROM audit WHERE tenant = 'acme' AND seq = 7"], 7, id="drop"),
        pytest.param([MOVED.format(99, 3), MOVED.format(3, 4), MOVED.format(4, 99)], 3, id="reorder"),
        pytest.param(["DELETE FROM audit WHERE tenant = 'acme' AND seq > 8"], 9, id="truncate"),
        pytest.param(["DELETE FROM audit WHERE tenant = 'acme'"], 1, id="empty"),
        pytest.param(["DELETE FROM audit_heads WHERE tenant = 'acme'"], 1, id="no head"),
        pytest.param(["UPDATE audit_heads SET seq = 8 WHERE tenant = 'acme'"], 9, id="old head"),
        pytest.param([PUT_IN.format(13, 12)], 13, id="insert behind"),
        pytest.param([PUT_IN.format(-4, 2)], -4, id="insert before"),
        pytest.param(
            [MOVED.format(98, 12), MOVED.format(12, 11), MOVED.format(13, 98), PUT_IN.format(11, 1)], 11, id="insert between"
        ),
    ],
)
async def test_the_first_bad_row_is_named(log: tuple[Store, Behind], statements: list[str], bad: int) -> None:
    store, behind = log

    behind(*statements)

    verdict = await checked(store.records, "acme")
    other = await checked(store.records, "beta")
    assert verdict.bad == bad
    assert (other.bad, other.rows) == (None, 1)


NO_ROW_HAS = {
    "sqlite": [
        "actor = CAST(x'ff' AS TEXT)",
        "object = CAST(object AS BLOB)",
        "at = 'x'",
        "at = 9223372036854775807",
        "hash = 'x'",
    ],
    "postgres": ["at = 'infinity'", "at = '-infinity'", "at = '294276-01-01'", "at = '0044-03-15 BC'", "hash = ''"],
}


@pytest.mark.row("G7", part="tampering")
@pytest.mark.parametrize(
    ("log", "value"), [(kind, value) for kind, values in NO_ROW_HAS.items() for value in values], indirect=["log"]
)
async def test_a_row_with_a_value_that_no_row_has_is_named(log: tuple[Store, Behind], value: str) -> None:
    store, behind = log

    behind(f"UPDATE audit SET {value} WHERE tenant = 'acme' AND seq = 5")

    assert (await checked(store.records, "acme")).bad == 5
    assert json.dumps(await store.records.audit_rows("acme"), ensure_ascii=False).encode()  # it can be handed out


@pytest.mark.row("G7", part="tampering")
@pytest.mark.parametrize("log", ["sqlite"], indirect=True)
@pytest.mark.parametrize("value", ["seq = 'x'", "hash = CAST(x'ff' AS TEXT)"])
async def test_an_end_that_no_log_has_is_a_bad_row(log: tuple[Store, Behind], value: str) -> None:
    store, behind = log

    behind(f"UPDATE audit_heads SET {value} WHERE tenant = 'acme'")

    assert (await checked(store.records, "acme")).bad is not None
    assert await store.records.audit_heads() != {}


async def test_a_log_nobody_touched_holds(log: tuple[Store, Behind]) -> None:
    store, _ = log

    verdict = await checked(store.records, "acme")

    assert (verdict.bad, verdict.rows) == (None, ROWS)
    assert await store.records.audit_head("acme") == (ROWS, verdict.head)
    assert (await checked(store.records, "nobody")).bad is None


async def test_texts_that_no_database_takes_are_cleaned_before_they_are_chained(log: tuple[Store, Behind]) -> None:
    store, _ = log
    hostile = Audit(actor="a\0b", subject="\ud83d", action="\ude00", object="é\0", decision="\U000e0041", args_hash="")

    await store.records.write("acme", [hostile])

    *_, row = await store.records.audit_rows("acme")
    told = [row[name] for name in ("actor", "subject", "action", "object", "decision")]
    assert told == ["ab", "\ufffd", "\ufffd", "é", "\U000e0041"]
    assert (await checked(store.records, "acme")).bad is None


async def test_rows_that_are_written_at_once_by_many_are_one_chain(log: tuple[Store, Behind]) -> None:
    store, _ = log

    async with anyio.create_task_group() as group:
        for n in range(100):
            group.start_soon(store.records.write, "acme", [audit(f"at once {n}")])

    verdict = await checked(store.records, "acme")
    assert (verdict.bad, verdict.rows) == (None, ROWS + 100)
