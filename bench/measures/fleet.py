"""The whole fleet under load while its parts restart one after the other: does a request fail, and what does one cost?

Sessions of five questions each, with a pause after every answer; a simulated provider that takes its time for each of the
two model calls of a question. Every request is sent once: what fails at a replica that stops is for nginx to repeat, which
it may because of the Idempotency-Key. Everything, the clients too, shares the processors of this machine.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import aiohttp
import psutil

from bench.measure import Measure, absolute
from deploy.processes import Identity
from deploy.record import RESTARTABLE, Record, restart

ROOT = Path(__file__).parents[2]
HOME = ROOT / "build" / "fleet-bench"
QUESTIONS = (
    "How do I report phishing?",
    "How long does a VPN session last before I have to sign in again?",
    "On how many devices can I use it at the same time?",
    "The printer on the third floor does not print. What can I do?",
    "What is the status of ticket T-1001?",
)
QUIET_S = 5.0  # at the beginning and at the end nothing is restarted
RESTART_EVERY_S = 10.0
SAMPLED_S = 0.5
ANSWER_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    sessions: int = 200
    think_s: float = 2.0
    duration_s: float = 120.0
    model_ms: int = 300


SHORT = Load(sessions=20, think_s=1.0, duration_s=45.0)


@dataclass(slots=True)
class Seen:
    """What the clients saw."""

    took_s: list[float] = field(default_factory=list)
    runs: set[str] = field(default_factory=set)
    failed: Counter[str] = field(default_factory=Counter)


async def measure(load: Load = Load()) -> list[Measure]:
    async with _fleet(load) as (url, key), _client(key) as client:
        meter, seen = _Meter(), Seen()
        begun = time.monotonic()
        stop_at = begun + load.duration_s
        async with asyncio.TaskGroup() as tasks:
            for number in range(load.sessions):
                tasks.create_task(_session(client, url, load, seen, number, stop_at))
            watching = tasks.create_task(meter.watch())
            restarts = tasks.create_task(_restarts(stop_at - QUIET_S))
            await asyncio.sleep(load.duration_s)
            restarted = await restarts
            watching.cancel()
        wall_s = time.monotonic() - begun
        unfinished = await _unfinished(client, url)
    requests = len(seen.took_s) + seen.failed.total()
    answered = max(1, len(seen.took_s))
    waits = sorted(seen.took_s) or [0.0]
    what = f"{load.sessions} sessions, {load.think_s:g} s think time, {load.duration_s:g} s, model {load.model_ms} ms"
    why = "; ".join(f"{reason}: {times}" for reason, times in seen.failed.most_common(3))
    return [
        absolute("fleet requests", requests, "requests", note=f"{what}; {restarted} parts restarted meanwhile"),
        absolute("fleet requests failed", seen.failed.total(), "requests", budget=0, note=why),
        absolute("fleet runs lost", len(seen.took_s) - len(seen.runs) + unfinished, "runs", budget=0),
        absolute("fleet throughput", answered / wall_s, "per s"),
        *(
            absolute(f"fleet answer p{part}", statistics.quantiles(waits, n=100)[part - 1] * 1e3, "ms")
            for part in (50, 95, 99)
            if len(waits) > 1
        ),
        *(
            absolute(
                f"fleet {kind}",
                spent_s * 1e3 / answered,
                "ms CPU",
                note="per request, starts included" if kind in RESTARTABLE else "per request",
            )
            for kind, spent_s in sorted(meter.spent_s().items())
        ),
    ]


async def _session(client: aiohttp.ClientSession, url: str, load: Load, seen: Seen, number: int, stop_at: float) -> None:
    """One person after the other, until the time is over."""
    chance = random.Random(number)
    await asyncio.sleep(chance.uniform(0, load.think_s))
    session_id: str | None = None
    for place in cycle(range(len(QUESTIONS))):
        if time.monotonic() >= stop_at:
            return
        if place == 0:
            session_id = None
        session_id = await _ask(client, url, QUESTIONS[place], session_id, seen)
        await asyncio.sleep(load.think_s * chance.uniform(0.5, 1.5))


async def _ask(client: aiohttp.ClientSession, url: str, question: str, session_id: str | None, seen: Seen) -> str | None:
    body = {"message": question, **({"session_id": session_id} if session_id else {})}
    begun = time.monotonic()
    try:
        async with client.post(f"{url}/chat", json=body, headers={"Idempotency-Key": uuid.uuid4().hex}) as reply:
            told = await reply.json()
    except (aiohttp.ClientError, TimeoutError) as error:
        seen.failed[type(error).__name__] += 1
        return session_id
    if reply.status != 200 or told["stop_reason"] != "completed":
        seen.failed[f"{reply.status} {told.get('stop_reason') or told['error']['code']}"] += 1
        return session_id
    seen.took_s.append(time.monotonic() - begun)
    seen.runs.add(told["run_id"])
    return str(told["session_id"])


async def _restarts(until: float) -> int:
    """Restart replicas and workers in turn until then; returns how many."""
    await asyncio.sleep(QUIET_S)
    record = Record.read(HOME)
    assert record is not None
    count = 0
    for name in cycle([part.name for part in record.parts if part.kind in RESTARTABLE]):
        if time.monotonic() >= until:
            return count
        pause = asyncio.create_task(asyncio.sleep(RESTART_EVERY_S))
        await asyncio.to_thread(_restart, name)
        await pause
        count += 1
    return count


def _restart(name: str) -> None:
    assert list(restart(HOME, (name,))) == [name]


async def _unfinished(client: aiohttp.ClientSession, url: str) -> int:
    """Runs that did not end, seen by somebody who sees all of the tenant's."""
    count = 0
    for status in ("ready", "running", "waiting", "paused", "failed"):
        async with client.get(f"{url}/api/v1/runs", params={"status": status}) as reply:
            told = await reply.json()
            count += len(told["runs"])
    return count


class _Meter:
    """CPU seconds of everybody who ever was part of the fleet, by kind."""

    def __init__(self) -> None:
        self._first: dict[Identity, float] = {}
        self._last: dict[tuple[str, Identity], float] = {}
        self._own_s = time.process_time()

    async def watch(self) -> None:
        for part, spent in self._parts():  # what was spent before the load does not count
            self._first[part[1]] = spent
        while True:
            self._last.update(self._parts())
            await asyncio.sleep(SAMPLED_S)

    def spent_s(self) -> dict[str, float]:
        spent: dict[str, float] = defaultdict(float)
        for (kind, identity), seconds in self._last.items():
            spent[kind] += seconds - self._first.get(identity, 0.0)
        return {**spent, "clients": time.process_time() - self._own_s}

    def _parts(self) -> Iterator[tuple[tuple[str, Identity], float]]:
        record = Record.read(HOME)
        for part in record.parts if record is not None else ():
            process = part.identity.process() if part.identity is not None else None
            if process is not None and part.identity is not None:
                with suppress(psutil.NoSuchProcess):
                    yield (part.kind, part.identity), _cpu_s(process)


def _cpu_s(process: psutil.Process) -> float:
    """User and system time of a process, of children that ended, and of those that live."""
    seconds = float(sum(process.cpu_times()[:4]))
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            seconds += sum(child.cpu_times()[:4])
    return seconds


@asynccontextmanager
async def _fleet(load: Load) -> AsyncIterator[tuple[str, str]]:
    """Address of a fleet, and the key of somebody who may ask and look at everything."""
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / "fleet.log").open("wb") as log:
        fleet = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "deploy.fleet", "--home", str(HOME), "--port", "0", "--json",
            "--model-latency-ms", str(load.model_ms), cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=log,
        )  # fmt: skip
    try:
        assert fleet.stdout is not None
        line = await fleet.stdout.readline()
        if not line:
            raise RuntimeError((HOME / "fleet.log").read_text())
        told = json.loads(line)
        keys = dict(row.split() for row in Path(told["keys_file"]).read_text().splitlines())
        yield told["url"], keys["omar"]
    finally:
        if fleet.returncode is None:
            fleet.terminate()
        await fleet.wait()


@asynccontextmanager
async def _client(key: str) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        connector=connector,
        headers={"Authorization": f"Bearer {key}"},
        timeout=aiohttp.ClientTimeout(total=ANSWER_S + 30),
    ) as client:
        yield client
