"""Workers in processes of their own, people who keep them busy, and a world outside that logs whatever arrives.

They are those of the crash tests: the product's loop, store and dispatcher, and a checker that compares the world's log with
the journals.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quarterdeck.core.runs import RunStatus
from quarterdeck.store.base import Entry
from quarterdeck.store.postgres import migrate_postgres
from tests.chaos import engines
from tests.chaos.checker import Verdict, check
from tests.chaos.people import People
from tests.chaos.plan import TENANT
from tests.chaos.processes import process, said
from tests.postgres_server import postgres_server

PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Attributes: where: The engine, as `tests.chaos.engines` names it. ledger: What arrived in the world, line by line."""

    where: str
    store: Any
    people: People
    ledger: Path
    port: str

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """A worker that is ready; killed without warning at the end of the block."""
        async with process("tests.chaos.worker", self.where, self.port, "none") as started:
            await said(started)
            yield started

    def arrived(self) -> int:
        """How many calls have reached the world."""
        return self.ledger.read_text().count('"arrived"')

    async def journals(self) -> Mapping[str, Sequence[Entry]]:
        """Events of every run that was begun."""
        return {run_id: await self.events(run_id) for run_id in self.people.begun}

    async def status(self, run_id: str) -> RunStatus | None:
        row = await self.store.journal.find(TENANT, run_id)
        return None if row is None else row.status

    async def events(self, run_id: str) -> list[Entry]:
        return [entry async for entry in self.store.journal.read(TENANT, run_id)]

    def verdict(self, journals: Mapping[str, Sequence[Entry]], troubles: int) -> Verdict:
        """What the checker says, where a worker was lost so many times."""
        return check([json.loads(line) for line in self.ledger.read_text().splitlines()], journals, troubles)


@asynccontextmanager
async def crew(where: str, folder: Path, *, delay_s: float) -> AsyncIterator[Crew]:
    """People who keep six runs going while the block lasts, and no worker yet.

    Args:
        where: An engine; its tables are there.
        folder: For the world's log.
        delay_s: How long a call takes in the world at most, halved before and after its effect.
    """
    ledger = folder / "ledger.jsonl"
    async with process("tests.chaos.world", str(ledger), str(delay_s)) as world:
        port = (await said(world)).strip()
        async with engines.store(where) as store, asyncio.TaskGroup() as tasks:
            people = People(store, ledger, random.Random(1))
            busy = tasks.create_task(people.keep_busy())
            try:
                yield Crew(where=where, store=store, people=people, ledger=ledger, port=port)
            finally:
                busy.cancel()


@asynccontextmanager
async def postgres() -> AsyncIterator[str]:
    """URL of a database nobody else uses. Raises NoPostgres where there is no Postgres."""
    with postgres_server() as server:
        url = server.new_database()
        await migrate_postgres(url)
        yield url
