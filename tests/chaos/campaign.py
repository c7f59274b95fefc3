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
from typing import Any, Protocol

from quarterdeck.core.decisions import DraftStatus
from quarterdeck.core.errors import Conflict, StoreUnavailable
from quarterdeck.core.events import RunStarted
from quarterdeck.core.ids import new_id
from quarterdeck.core.labels import Integrity, Label, Readers
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.core.runs import RunStatus
from quarterdeck.store.base import Entry
from quarterdeck.tools.registry import Registry
from quarterdeck.workflow.approvals import Approvals
from quarterdeck.workflow.effects import Effects
from tests.chaos import engines
from tests.chaos.checker import Verdict, check
from tests.chaos.engines import STALLED_S
from tests.chaos.plan import APPROVER, ASKER, CONFIG_HASH, SPEC, TENANT

OPEN_RUNS = 6  # how many are kept going while there is killing
WORLD_DELAY_S = 0.02
REPO = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a campaign went."""

    sabotage: str
    engine: str
    workers: int
    seed: int
    seconds: float
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        return {
            "sabotage": self.sabotage,
            "engine": self.engine,
            "workers": self.workers,
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "violations": list(self.verdict.violations),
            "counts": dict(self.verdict.counts),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Nemesis:
    """What is done to the workers and to the database.

    Attributes:
        kills: How often a worker is killed without warning.
        workers: How many there are at once; SQLite has one.
        apart_s: Seconds between two kills, at least and at most.
        freezes: How often a worker is stopped for longer than its silence is borne, and then continued.
        outages: How often the database is stopped and started again.
        freeze_s: Seconds a frozen worker is stopped.
    """

    kills: int
    workers: int = 1
    apart_s: tuple[float, float] = (0.02, 0.45)
    freezes: int = 0
    outages: int = 0
    freeze_s: float = STALLED_S * 2


class Outage(Protocol):
    """A database that can be stopped and started again."""

    def stop(self) -> None: ...

    def start(self) -> None: ...


async def campaign(
    folder: Path,
    *,
    kills: int,
    seed: int,
    sabotage: str = "none",
    patience_s: float = 60.0,
    where: str = "",
    nemesis: Nemesis | None = None,
    database: Outage | None = None,
) -> Report:
    """Kill workers `kills` times, then let the last ones finish what is open, for at most `patience_s` seconds.

    Args:
        where: The engine, see `engines`; SQLite in `folder` by default.
        nemesis: What else is done.
        database: Needed for outages.
    """
    began = time.monotonic()
    chance = random.Random(seed)
    ledger = folder / "ledger.jsonl"
    where = where or f"sqlite:{folder / 'data'}"
    nemesis = nemesis or Nemesis(kills=kills)
    async with _process("tests.chaos.world", str(ledger), str(WORLD_DELAY_S)) as world:
        port = (await _line(world)).strip()
        async with engines.store(where) as store:
            people = _People(store, ledger, chance)
            async with asyncio.TaskGroup() as tasks:
                clients = tasks.create_task(people.keep_busy())
                crew = _Crew((where, port, sabotage), nemesis, chance)
                try:
                    await crew.suffer(database)
                    people.no_more_runs()
                    await crew.recover()
                    await people.wait_for_the_end(patience_s)
                    clients.cancel()
                finally:
                    await crew.leave()
            journals = {run_id: [entry async for entry in store.journal.read(TENANT, run_id)] for run_id in people.begun}
            journals = {run_id: entries for run_id, entries in journals.items() if entries or run_id not in people.unsure}
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    troubles = nemesis.kills + (nemesis.freezes + nemesis.outages) * nemesis.workers
    verdict = check(lines, journals, troubles)
    return Report(
        sabotage=sabotage,
        engine=where.partition(":")[0],
        workers=nemesis.workers,
        seed=seed,
        seconds=time.monotonic() - began,
        verdict=verdict,
    )


class _Crew:
    """The workers, and what is done to them."""

    def __init__(self, arguments: tuple[str, ...], nemesis: Nemesis, chance: random.Random) -> None:
        self._arguments = arguments
        self._nemesis = nemesis
        self._chance = chance
        self._stack: list[tuple[contextlib.AsyncExitStack, asyncio.subprocess.Process]] = []

    async def suffer(self, database: Outage | None) -> None:
        """All the kills, freezes and outages, in a seeded order."""
        todo = ["kill"] * self._nemesis.kills + ["freeze"] * self._nemesis.freezes + ["outage"] * self._nemesis.outages
        self._chance.shuffle(todo)
        await self.recover()
        for what in todo:
            await asyncio.sleep(self._chance.uniform(*self._nemesis.apart_s))
            if what == "kill":
                await self._kill()
            elif what == "freeze":
                await self._freeze()
            else:
                assert database is not None
                await asyncio.to_thread(database.stop)
                await asyncio.sleep(self._chance.uniform(0.2, 1.5))
                database.start()  # not in a thread: a server may end with the thread that started it
            await self.recover()

    async def _kill(self) -> None:
        """Now and then all of them, so that for a while people act while no worker lives."""
        all_at_once = len(self._stack) == 1 or self._chance.random() < 0.2
        victims = list(self._stack) if all_at_once else [self._chance.choice(self._stack)]
        for victim in victims:
            self._stack.remove(victim)
            await victim[0].aclose()
        await asyncio.sleep(self._chance.choice((0.0, 0.0, 0.15)))

    async def _freeze(self) -> None:
        """Stop a worker for longer than its silence is borne: others take its runs, and its late writes must be refused."""
        _, process = self._chance.choice(self._stack)
        os.killpg(process.pid, signal.SIGSTOP)
        await asyncio.sleep(self._nemesis.freeze_s)
        os.killpg(process.pid, signal.SIGCONT)

    async def recover(self) -> None:
        """As many workers as there shall be. Those that ended by themselves are replaced."""
        for one in [one for one in self._stack if one[1].returncode is not None]:
            self._stack.remove(one)
            await one[0].aclose()
        while len(self._stack) < self._nemesis.workers:
            stack = contextlib.AsyncExitStack()
            process = await stack.enter_async_context(_process("tests.chaos.worker", *self._arguments))
            self._stack.append((stack, process))
            await _line(process)  # the first moment that counts is after its start

    async def leave(self) -> None:
        for stack, _ in self._stack:
            await stack.aclose()


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

    def __init__(self, store: Any, ledger: Path, chance: random.Random) -> None:
        self._store = store
        self._ledger = ledger
        self._chance = chance
        self._begin_more = True
        self.begun: list[str] = []
        self.unsure: set[str] = set()
        self._approvals = Approvals(
            journal=store.journal, records=store.records, dispatcher=_Unattended(), toolbox=Registry([])
        )
        self._effects = Effects(journal=store.journal, records=store.records, dispatcher=_Unattended())

    def no_more_runs(self) -> None:
        self._begin_more = False

    async def keep_busy(self) -> None:
        while True:
            with contextlib.suppress(StoreUnavailable):  # people come again
                if self._begin_more and len(await self._open()) < OPEN_RUNS:
                    await self._begin()
                await self._decide()
                await self._resolve()
            await asyncio.sleep(0.03)

    async def wait_for_the_end(self, patience_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while True:
                    with contextlib.suppress(StoreUnavailable):
                        if not await self._open():
                            return
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
        self.begun.append(run_id)
        try:
            await self._store.journal.create(TENANT, run_id, Entry(event=event))
        except StoreUnavailable:
            self.unsure.add(run_id)  # nobody was told that it began; if it did, it must end all the same
            raise

    async def _decide(self) -> None:
        drafts = list(await self._approvals.list(APPROVER, status=DraftStatus.WAITING))
        self._chance.shuffle(drafts)
        for draft in drafts:
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
