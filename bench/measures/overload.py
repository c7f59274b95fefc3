"""A server under more than it can serve: what is accepted stays quick, the rest is refused at once, nobody is starved.

One worker advances `PLACES` runs at once, and a model takes `WAIT_S` for each, so that it serves `PLACES / WAIT_S` a second
whatever the machine; requests come at fixed times, whether or not earlier ones were answered.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass

from bench.measure import Measure, absolute, at_least, or_missing, relative
from bench.reference.slow_server import slow_server
from bench.stage import CAPACITY, PLACES, QUESTION, Stage, median_ms, p99, per_second, posted, staged

SETTLE_S, QUIET_S = 8.0, 7.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    overload_s: float = 18.0


LONG = Load(overload_s=60.0)


async def measure(load: Load = Load()) -> list[Measure]:
    async with slow_server() as provider, staged(provider) as stage:
        await stage.load("quiet", 4, 2.0)  # what is slow once only
        alone = await stage.load("quiet", 4, QUIET_S)
        usual_s = p99(alone)
        return [
            *await or_missing("9 overload", _overloaded(stage, usual_s, load.overload_s)),
            *await or_missing("10 noisy tenant", _noisy(stage, usual_s)),
            *await or_missing("11 people beside a batch", _lanes(stage)),
            *await or_missing("12 deadlines", _too_late(stage)),
            *await or_missing("18 callers who leave", _left(stage)),
        ]


async def _overloaded(stage: Stage, usual_s: float, overload_s: float) -> list[Measure]:
    peak = await stage.peak(QUIET_S)
    replies = await stage.load("noisy", 3 * CAPACITY, overload_s)
    late = [reply for reply in replies if reply.at >= SETTLE_S]
    served = [reply for reply in late if reply.status == 200]
    refused = [reply for reply in late if reply.status == 429]
    share = 100 * per_second(replies, SETTLE_S, overload_s) / peak
    other = len(replies) - sum(reply.status in (200, 429) for reply in replies)
    untold = sum(not reply.retry_after for reply in refused)
    return [
        at_least("9 goodput at 3 x capacity", share, "%", budget=90, note=f"of {peak:.1f}/s"),
        relative("9 p99 of accepted", p99(served), "s", reference=usual_s, budget=2, note="reference: without a crowd"),
        absolute(
            "9 median time to refuse", median_ms(refused), "ms", budget=10,
            note=f"p99 {p99(refused) * 1e3:.0f} ms, as its client sees it",
        ),
        absolute("9 refused without Retry-After", untold, "requests", budget=0, note=f"of {len(refused)}"),
        absolute("9 answers other than 200 and 429", other, "requests", budget=0, note=f"of {len(replies)}"),
    ]  # fmt: skip


async def _noisy(stage: Stage, usual_s: float) -> list[Measure]:
    async with asyncio.TaskGroup() as tasks:
        noisy = tasks.create_task(stage.load("noisy", 10 * CAPACITY / 2, QUIET_S + 2))
        await asyncio.sleep(1.0)
        quiet = tasks.create_task(stage.load("quiet", 4, QUIET_S))
    failed = sum(reply.status != 200 for reply in quiet.result())
    served = [reply for reply in quiet.result() if reply.status == 200]
    away = sum(reply.status == 429 for reply in noisy.result())
    return [
        relative(
            "10 p99 of a quiet tenant", p99(served), "s", reference=usual_s, budget=1.2,
            note=f"beside one at ten times its share, of which {away} of {len(noisy.result())} were sent away",
        ),
        absolute("10 quiet tenant sent away or failed", failed, "requests", budget=0, note=f"of {len(quiet.result())}"),
    ]  # fmt: skip


async def _lanes(stage: Stage) -> list[Measure]:
    async with asyncio.TaskGroup() as tasks:
        batch = tasks.create_task(stage.load("noisy", 3 * CAPACITY, QUIET_S, **{"X-Lane": "batch"}))
        await asyncio.sleep(0.5)
        people = tasks.create_task(stage.load("noisy", 4, QUIET_S - 1))
    good = sum(reply.status == 200 for reply in people.result())
    shed = sum(reply.status == 429 for reply in batch.result())
    share = 100 * good / len(people.result())
    return [
        at_least("11 people served beside a batch", share, "%", budget=99, note="of one tenant"),
        at_least("11 batch requests sent away", shed, "requests", budget=1, note=f"of {len(batch.result())}"),
    ]


async def _too_late(stage: Stage) -> list[Measure]:
    """More than all places are taken for 3 s; what comes then has half a second."""
    before = (await stage.seen())["asked"]
    long = {"message": "Where is the printer? wait=3"}
    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(PLACES):
            tasks.create_task(stage.ask("noisy", long, began))
        await asyncio.sleep(1.0)
        hurried = [
            tasks.create_task(stage.ask("noisy", QUESTION, began, **{"X-Request-Timeout-Ms": "500"})) for _ in range(5)
        ]
    replies = [task.result() for task in hurried]
    begun = (await stage.seen())["asked"] - before - PLACES
    slack = max(abs(reply.took_s - 0.5) for reply in replies)
    untold = sum(reply.status != 504 for reply in replies)
    return [
        absolute("12 runs begun past their deadline", begun, "runs", budget=0, note=f"of {len(replies)}"),
        absolute("12 not told 504", untold, "requests", budget=0, note=f"of {len(replies)}"),
        absolute("12 deadline missed by", slack * 1e3, "ms", budget=250, note="of requests that waited for a worker"),
    ]


async def _left(stage: Stage) -> list[Measure]:
    """Callers who hang up after a second of a run of five."""
    closed_ms, otherwise = [], {"cancel": 0, "detach": 0}
    for how in ("cancel", "detach"):
        for _ in range(3):
            before = await stage.seen()
            left_at, run_id = await _hang_up(stage, how)
            if how == "cancel":
                while len((now := await stage.seen())["closed"]) == len(before["closed"]):
                    if time.monotonic() > left_at + 10:
                        raise RuntimeError("the model call of a caller that left was not cut within 10 s")
                    await asyncio.sleep(0.02)
                closed_ms.append((now["closed"][-1] - left_at) * 1e3)
            otherwise[how] += (await _ended(stage, run_id)) != {"cancel": "cancelled", "detach": "done"}[how]
    return [
        absolute("18 model call cut after the caller left", max(closed_ms), "ms", budget=500, note="on_disconnect=cancel"),
        absolute("18 runs to be cancelled that were not", otherwise["cancel"], "runs", budget=0, note="of 3"),
        absolute("18 detached runs that did not complete", otherwise["detach"], "runs", budget=0, note="of 3"),
    ]


async def _hang_up(stage: Stage, how: str) -> tuple[float, str]:
    """When the connection was closed, and the run that was begun over it."""
    reader, writer = await posted(stage, f"/api/v1/agent/stream?on_disconnect={how}", {"query": "Where? wait=3"}, "quiet")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    found = re.search(rb"(?i)x-run-id: (\S+)", head)
    assert found is not None, head
    await asyncio.sleep(1.0)
    writer.close()
    return time.monotonic(), found[1].decode()


async def _ended(stage: Stage, run_id: str) -> str:
    """The status a run ends with."""
    until = time.monotonic() + 20
    while (status := (await stage.run(run_id))["status"]) not in ("done", "failed", "cancelled"):
        if time.monotonic() > until:
            raise RuntimeError(f"run {run_id} is {status} after 20 s")
        await asyncio.sleep(0.05)
    return str(status)
