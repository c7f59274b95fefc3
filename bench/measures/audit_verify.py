"""How long `audit verify` takes for a million rows of one tenant's log, on SQLite and on Postgres.

The rows are written as the product writes them, each with its place in the chain, and read and checked as the command does.
Of fewer rows the time is told for a million: it grows with their number and with nothing else.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bench.measure import Measure, absolute, missing
from quarterdeck.core.ids import content_hash
from quarterdeck.service.auditing import checked
from quarterdeck.store.base import Audit, Records
from quarterdeck.store.postgres import migrate_postgres
from quarterdeck.store.postgres_store import open_postgres
from quarterdeck.store.sqlite_store import open_sqlite
from tests.postgres_server import NoPostgres, postgres_server

TENANT = "acme"
MILLION = 1_000_000
BUDGET_S = 60.0
TOGETHER = 1_000  # rows of one transaction, while they are made


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Attributes: rows: Of the log that is checked, a multiple of 1,000."""

    rows: int = 100_000


SHORT = Load(rows=20_000)
LONG = Load(rows=MILLION)


async def measure(load: Load = Load()) -> list[Measure]:
    async with _sqlite() as records:
        figures = [await _taken("sqlite", records, load.rows)]
    try:
        async with _postgres() as records:
            return [*figures, await _taken("postgres", records, load.rows)]
    except NoPostgres as error:
        return [*figures, missing(_name("postgres"), str(error))]


@asynccontextmanager
async def _sqlite() -> AsyncIterator[Records]:
    with tempfile.TemporaryDirectory() as folder:
        store = open_sqlite(folder)
        try:
            yield store.records
        finally:
            await store.close()


@asynccontextmanager
async def _postgres() -> AsyncIterator[Records]:
    with postgres_server() as server:
        url = server.new_database()
        await migrate_postgres(url)
        store = await open_postgres(url)
        try:
            yield store.records
        finally:
            await store.close()


async def _taken(engine: str, records: Records, rows: int) -> Measure:
    for first in range(0, rows, TOGETHER):
        await records.write(TENANT, [_audit(number) for number in range(first, first + TOGETHER)])
    wall_s, cpu_s = time.monotonic(), time.process_time()
    verdict = await checked(records, TENANT)
    wall_s, cpu_s = time.monotonic() - wall_s, time.process_time() - cpu_s
    assert (verdict.bad, verdict.rows) == (None, rows), verdict
    scale = MILLION / rows
    note = f"{rows:,} rows in {wall_s:.1f} s; {cpu_s * scale:.1f} s CPU of this process for a million"
    return absolute(_name(engine), wall_s * scale, "s", budget=BUDGET_S, note=note)


def _name(engine: str) -> str:
    return f"audit verify, a million rows, {engine}"


def _audit(number: int) -> Audit:
    """A row of the kinds and lengths of a run's."""
    decided = number % 2 == 0
    return Audit(
        actor="agent:helpdesk",
        subject=f"user:person-{number % 500}",
        action="decision" if decided else "effect",
        object=f"{number // 10:032x}:t{number % 10 + 1}c0:ticket_create",
        decision="allow:context.grounded" if decided else "ok",
        args_hash=content_hash(number),
    )
