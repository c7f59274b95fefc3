"""A worker frozen for longer than its silence is borne, whose runs another takes; then it wakes with its hands full.

On SQLite a server has its data folder for itself; there a second one is started over the same database, as nobody should.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from asyncio.subprocess import Process
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.measure import Measure, absolute, at_least, missing
from bench.reference.crew import PATIENCE_S, Crew, crew, postgres
from quarterdeck.core.runs import RunStatus
from tests.chaos.engines import STALLED_S
from tests.chaos.plan import TENANT
from tests.postgres_server import NoPostgres

DELAY_S = 0.2
AT_WORK = 20  # calls that have reached the world before it is frozen
WAKING_S = 2.0
TAKEN_OVER_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Attributes: frozen_s: How long the worker stands still; others miss it after two seconds here."""

    frozen_s: float = 60.0


SHORT = Load(frozen_s=12.0)
LONG = Load()


async def measure(load: Load = Load()) -> list[Measure]:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        found = await _frozen("SQLite", f"sqlite:{folder / 'data'}", folder, load)
    try:
        async with postgres() as url:
            with tempfile.TemporaryDirectory() as made:
                return found + await _frozen("Postgres", url, Path(made), load)
    except NoPostgres as error:
        return [*found, missing("frozen worker on Postgres", str(error))]


async def _frozen(engine: str, where: str, folder: Path, load: Load) -> list[Measure]:
    async with crew(where, folder, delay_s=DELAY_S) as ours:
        async with AsyncExitStack() as workers:
            frozen = await workers.enter_async_context(ours.worker())
            while ours.arrived() < AT_WORK:
                await asyncio.sleep(0.01)
            os.killpg(frozen.pid, signal.SIGSTOP)
            began = time.monotonic()
            held = [row.run_id for row in await ours.store.journal.runs(TENANT, status=RunStatus.RUNNING)]
            await workers.enter_async_context(ours.worker())
            taken_over_s = await _taken_over(ours, held, began)
            await asyncio.sleep(max(0.0, began + load.frozen_s - time.monotonic()))
            os.killpg(frozen.pid, signal.SIGCONT)
            refused = await _refused(frozen)
            ours.people.no_more_runs()
        async with ours.worker():
            await ours.people.wait_for_the_end(PATIENCE_S)
        verdict = ours.verdict(await ours.journals(), troubles=3)  # one froze, and it and the other were ended
    told = ", ".join(f"{value} {name}" for name, value in verdict.counts.items() if name != "kills")
    broken = "".join(f"; {violation}" for violation in verdict.violations[:1])
    return [
        absolute(
            f"runs of the frozen worker taken over on {engine}",
            taken_over_s,
            "s",
            budget=STALLED_S + TAKEN_OVER_S,
            note=f"all {len(held)} of them; it was frozen for {load.frozen_s:g} s",
        ),
        at_least(
            f"writes of it refused on {engine}", len(refused), "", budget=1, note=f"to {len(set(refused))} runs, as it woke"
        ),
        absolute(f"events or effects twice or lost on {engine}", len(verdict.violations), "", budget=0, note=told + broken),
    ]


async def _taken_over(ours: Crew, held: list[str], began: float) -> float:
    """Seconds until each run that was held has got on or ended in other hands."""
    stood = {run_id: len(await ours.events(run_id)) for run_id in held}
    async with asyncio.timeout(PATIENCE_S):
        while stood:
            await asyncio.sleep(0.05)
            stood = {run_id: head for run_id, head in stood.items() if len(await ours.events(run_id)) == head}
    return time.monotonic() - began


async def _refused(frozen: Process) -> list[str]:
    """Runs to which it tried to write while it woke, once for each write."""
    assert frozen.stdout is not None
    found: list[str] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(WAKING_S):
            async for line in frozen.stdout:
                word, run_id, _ = line.decode().split()
                found += [run_id] if word == "refused" else []
    return found
