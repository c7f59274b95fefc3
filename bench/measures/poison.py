"""A run that kills every worker that takes it, among others that do not: what becomes of it, and what of them.

Workers that are gone are started again at once, as whatever watches over them does.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.measure import Measure, absolute, missing
from bench.reference.crew import PATIENCE_S, Crew, crew, postgres
from quarterdeck.core.runs import RunStatus
from quarterdeck.store.base import Entry
from tests.chaos.engines import STALLED_S
from tests.chaos.plan import DEADLY, TENANT
from tests.postgres_server import NoPostgres

DELAY_S = 0.2
CRASHES = 3
LONGER_S = CRASHES * STALLED_S + 10.0  # a run may have been with each of the workers that were lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Attributes: usual_s: How long others run before there is trouble, and after it is over."""

    usual_s: float = 60.0


SHORT = Load(usual_s=10.0)
LONG = Load()


async def measure(load: Load = Load()) -> list[Measure]:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        found = await _poisoned("SQLite, 1 worker", f"sqlite:{folder / 'data'}", folder, 1, load)
    try:
        async with postgres() as url:
            with tempfile.TemporaryDirectory() as made:
                return found + await _poisoned("Postgres, 3 workers", url, Path(made), 3, load)
    except NoPostgres as error:
        return [*found, missing("poison on Postgres", str(error))]


async def _poisoned(setting: str, where: str, folder: Path, workers: int, load: Load) -> list[Measure]:
    async with crew(where, folder, delay_s=DELAY_S) as ours, asyncio.TaskGroup() as tasks:
        watch = _Watch(ours)
        watching = [tasks.create_task(watch.keep()) for _ in range(workers)]
        await asyncio.sleep(load.usual_s)
        deadly = await ours.people.begin(DEADLY)
        ours.people.begun.remove(deadly)  # what is checked are the others
        while await ours.status(deadly) is not RunStatus.FAILED:
            await asyncio.sleep(0.05)
        crashes = watch.crashes
        await asyncio.sleep(load.usual_s)
        ours.people.no_more_runs()
        await ours.people.wait_for_the_end(PATIENCE_S)
        for task in watching:
            task.cancel()
        letters = await ours.store.journal.runs(TENANT, status=RunStatus.FAILED, code="poison")
        last_days, journals = await ours.events(deadly), await ours.journals()
    verdict = ours.verdict(journals, troubles=watch.crashes * workers)
    broken = "".join(f"; {violation}" for violation in verdict.violations[:1])
    told = f"{(last_days[-1].at - last_days[0].at).total_seconds():.1f} s"
    return [
        absolute(f"crashes until it was set aside on {setting}", crashes, "", budget=CRASHES, note=told),
        absolute(f"crashes after that on {setting}", watch.crashes - crashes, "", budget=0),
        absolute(f"other runs taken for poison on {setting}", len(letters) - 1, "runs", budget=0),
        absolute(
            f"promises broken to others on {setting}",
            len(verdict.violations),
            "",
            budget=0,
            note=f"{len(journals)} runs{broken}",
        ),
        *_took(setting, journals, last_days),
    ]


def _took(setting: str, journals: Mapping[str, Sequence[Entry]], deadly: Sequence[Entry]) -> list[Measure]:
    """How long others took that were open while workers were killed, beside those that ended before."""
    spans = [(entries[0].at, entries[-1].at) for entries in journals.values()]
    usual = [(until - since).total_seconds() for since, until in spans if until < deadly[0].at]
    meanwhile = [
        (until - since).total_seconds() for since, until in spans if until >= deadly[0].at and since <= deadly[-1].at
    ]
    longest = max(meanwhile) - max(usual)
    medians = f"median {statistics.median(meanwhile):.1f} s, of {len(usual)} before {statistics.median(usual):.1f} s"
    note = f"{len(meanwhile)} runs; {medians}"
    return [absolute(f"longer than usual, the longest of the others on {setting}", longest, "s", budget=LONGER_S, note=note)]


class _Watch:
    """Starts workers, and each again that is gone. Attributes: crashes: How many were gone."""

    def __init__(self, ours: Crew) -> None:
        self._ours = ours
        self.crashes = 0

    async def keep(self) -> None:
        while True:
            async with self._ours.worker() as worker:
                await worker.wait()
            self.crashes += 1
