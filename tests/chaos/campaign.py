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
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.chaos import engines
from tests.chaos.checker import Verdict, check
from tests.chaos.engines import STALLED_S
from tests.chaos.people import People
from tests.chaos.plan import TENANT
from tests.chaos.processes import process, said

WORLD_DELAY_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a campaign went.

    Attributes:
        fallen: How many workers ended by themselves.
        ending_s: Seconds from the last trouble until every run had ended.
        silence_s: The longest time within them in which nothing was stored.
    """

    sabotage: str
    engine: str
    workers: int
    seed: int
    seconds: float
    fallen: int
    ending_s: float
    silence_s: float
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        return {
            "sabotage": self.sabotage,
            "engine": self.engine,
            "workers": self.workers,
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "fallen": self.fallen,
            "ending_s": round(self.ending_s, 1),
            "silence_s": round(self.silence_s, 1),
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
    """Kill workers `kills` times, then let the last ones finish what is open.

    Args:
        patience_s: How long nothing may be stored in any run that is open then, before the rest counts as lost.
        where: The engine, see `engines`; SQLite in `folder` by default.
        nemesis: What else is done.
        database: Needed for outages.
    """
    began = time.monotonic()
    chance = random.Random(seed)
    ledger = folder / "ledger.jsonl"
    where = where or f"sqlite:{folder / 'data'}"
    nemesis = nemesis or Nemesis(kills=kills)
    async with process("tests.chaos.world", str(ledger), str(WORLD_DELAY_S)) as world:
        port = (await said(world)).strip()
        async with engines.store(where) as store:
            people = People(store, ledger, chance)
            async with asyncio.TaskGroup() as tasks:
                clients = tasks.create_task(people.keep_busy())
                crew = _Crew((where, port, sabotage), nemesis, chance)
                try:
                    await crew.suffer(database)
                    people.no_more_runs()
                    await crew.recover()
                    ending = time.monotonic()
                    silence_s = await people.wait_for_the_end(patience_s)
                    ending_s = time.monotonic() - ending
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
        fallen=crew.fallen,
        ending_s=ending_s,
        silence_s=silence_s,
        verdict=verdict,
    )


class _Crew:
    """The workers, and what is done to them.

    Attributes:
        fallen: How many ended by themselves.
    """

    def __init__(self, arguments: tuple[str, ...], nemesis: Nemesis, chance: random.Random) -> None:
        self._arguments = arguments
        self._nemesis = nemesis
        self._chance = chance
        self._stack: list[tuple[contextlib.AsyncExitStack, asyncio.subprocess.Process]] = []
        self.fallen = 0

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
        _, worker = self._chance.choice(self._stack)
        os.killpg(worker.pid, signal.SIGSTOP)
        await asyncio.sleep(self._nemesis.freeze_s)
        os.killpg(worker.pid, signal.SIGCONT)

    async def recover(self) -> None:
        """As many workers as there shall be. Those that ended by themselves are replaced."""
        for one in [one for one in self._stack if one[1].returncode is not None]:
            self._stack.remove(one)
            self.fallen += 1
            await one[0].aclose()
        while len(self._stack) < self._nemesis.workers:
            stack = contextlib.AsyncExitStack()
            worker = await stack.enter_async_context(process("tests.chaos.worker", *self._arguments))
            self._stack.append((stack, worker))
            await said(worker)  # the first moment that counts is after its start

    async def leave(self) -> None:
        for stack, worker in self._stack:
            self.fallen += worker.returncode is not None
            await stack.aclose()
