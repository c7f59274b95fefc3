"""A campaign: runs are begun, workers are killed at seeded random moments, people decide; at the end the checker speaks.

Kill times are seeded, interleavings are not: counts vary from campaign to campaign, verdicts must not.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quarterdeck.core.decisions import DraftStatus
from quarterdeck.core.errors import Conflict
from quarterdeck.core.events import RunStarted
from quarterdeck.core.ids import new_id
from quarterdeck.core.labels import Integrity, Label, Readers
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.core.runs import RunStatus
from quarterdeck.store.base import Entry
from quarterdeck.store.sqlite_store import SqliteStore, open_sqlite
from quarterdeck.tools.registry import Registry
from quarterdeck.workflow.approvals import Approvals
from quarterdeck.workflow.effects import Effects
from tests.chaos.checker import Verdict, check
from tests.chaos.plan import APPROVER, ASKER, CONFIG_HASH, SPEC, TENANT

OPEN_RUNS = 6  # how many are kept going while there is killing
WORLD_DELAY_S = 0.02
REPO = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a campaign went."""

    sabotage: str
    seed: int
    seconds: float
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        return {
            "sabotage": self.sabotage,
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "violations": list(self.verdict.violations),
            "counts": dict(self.verdict.counts),
        }


async def campaign(folder: Path, *, kills: int, seed: int, sabotage: str = "none", patience_s: float = 60.0) -> Report:
    """Kill the worker `kills` times, then let the last one finish what is open, for at most `patience_s` seconds."""
    began = time.monotonic()
    chance = random.Random(seed)
    ledger = folder / "ledger.jsonl"
    async with _process("tests.chaos.world", str(ledger), str(WORLD_DELAY_S)) as world:
        port = (await _line(world)).strip()
        store = open_sqlite(folder / "data")
        try:
            people = _People(store, ledger, chance)
            async with asyncio.TaskGroup() as tasks:
                clients = tasks.create_task(people.keep_busy())
                await _kill(folder / "data", port, sabotage, kills, chance)
                people.no_more_runs()
                async with _process("tests.chaos.worker", str(folder / "data"), port, sabotage):
                    await people.wait_for_the_end(patience_s)
                    clients.cancel()
            journals = {run_id: [entry async for entry in store.journal.read(TENANT, run_id)] for run_id in people.begun}
        finally:
            await store.close()
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    verdict = check(lines, journals, kills)
    return Report(sabotage=sabotage, seed=seed, seconds=time.monotonic() - began, verdict=verdict)


async def _kill(data: Path, port: str, sabotage: str, kills: int, chance: random.Random) -> None:
    for _ in range(kills):
        async with _process("tests.chaos.worker", str(data), port, sabotage) as worker:
            await _line(worker)  # the first moment that counts is after its start
            await asyncio.sleep(chance.uniform(0.02, 0.45))
        await asyncio.sleep(chance.choice((0.0, 0.0, 0.15)))  # now and then people act while no worker lives


@contextlib.asynccontextmanager
async def _process(module: str, *args: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python process in a group of its own, killed without warning at the end of the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *args, stdout=asyncio.subprocess.PIPE, start_new_session=True, cwd=REPO
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 30)
    if not line:
        raise RuntimeError(f"process {process.pid} ended before it said it was ready")
    return line.decode()


class _Unattended:
    """A dispatcher in another process than the worker: the worker's own scan finds what is due."""

    async def wake(self, tenant: str, run_id: str, *, priority: int = 0) -> None: ...

    async def serve(self, advance: object, *, concurrency: int = 50) -> None: ...

    async def stop(self, grace_s: float) -> None: ...


class _People:
    """Those outside: they begin runs, decide drafts, three in ten of them twice, and say what became of started writes."""

    def __init__(self, store: SqliteStore, ledger: Path, chance: random.Random) -> None:
        self._store = store
        self._ledger = ledger
        self._chance = chance
        self._begin_more = True
        self.begun: list[str] = []
        self._approvals = Approvals(
            journal=store.journal, records=store.records, dispatcher=_Unattended(), toolbox=Registry([])
        )
        self._effects = Effects(journal=store.journal, dispatcher=_Unattended())

    def no_more_runs(self) -> None:
        self._begin_more = False

    async def keep_busy(self) -> None:
        while True:
            if self._begin_more and len(await self._open()) < OPEN_RUNS:
                await self._begin()
            await self._decide()
            await self._resolve()
            await asyncio.sleep(0.03)

    async def wait_for_the_end(self, patience_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while await self._open():
                    await asyncio.sleep(0.05)

    async def _open(self) -> list[str]:
        found = []
        for status in (RunStatus.READY, RunStatus.RUNNING, RunStatus.WAITING):
            found += [row.run_id for row in await self._store.journal.runs(TENANT, status=status, limit=1000)]
        return found

    async def _begin(self) -> None:
        run_id = new_id()
        label = Label(integrity=Integrity.TRUSTED, readers=Readers.of(f"user:{ASKER.user}"))
        event = RunStarted(
            input=Message(role=Role.USER, parts=(Text(text="Do your work.", label=label),)),
            agent=SPEC.name,
            config_hash=CONFIG_HASH,
            tenant=TENANT,
            principal=ASKER,
        )
        await self._store.journal.create(TENANT, run_id, Entry(event=event))
        self.begun.append(run_id)

    async def _decide(self) -> None:
        for draft in await self._approvals.list(APPROVER, status=DraftStatus.WAITING):
            if self._chance.random() < 0.4:
                continue  # this one waits a little longer
            for _ in range(2 if self._chance.random() < 0.3 else 1):
                with contextlib.suppress(Conflict):
                    await self._approvals.decide(APPROVER, draft.id, approved=True)

    async def _resolve(self) -> None:
        """A person looks at the outside world and says what happened there."""
        for doubt in await self._effects.doubts(APPROVER):
            happened = any(
                line["what"] == "applied" and line["run"] == doubt.run_id and line["call"] == doubt.call_id
                for line in map(json.loads, self._ledger.read_text().splitlines())
            )
            with contextlib.suppress(Conflict):  # the worker that started it may still be at it
                await self._effects.resolve(APPROVER, doubt.run_id, doubt.call_id, "done" if happened else "repeat")
