"""CPU of a tool turn with everything that governs it, beside the same turn with as little of that as there can be.

A turn is a model call over HTTP and a tool that gives 1 kB, durable. Governed it has a policy of 40 rules, all of one
kind, that its tool's entry, its arguments and its label are held against, a result nobody trusts, so that the argument
of a write must stand in the user's words, the guards of the default at the question, the tool and the answer, a limit
on the tool's rate, traffic tags, and rows of the audit log. The other one has the policy that its tool declares of
itself, trusted, and nothing else of these: labels, a decision by the kind of effect and the start of a write in the
journal are there in both.

Where a process happens to have its objects in memory moves the ratio by more than what is looked for: of one program it was
1.10 to 1.20 in fourteen processes. So the figure is the middle one of several processes.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace

from bench.host import PERSON, Host, Rule, host, wire_model
from bench.measure import Measure, Work, paired, relative
from bench.measures.http_loop import INSTRUCTIONS, MODEL_CALLS, look_up
from bench.processes import ROOT
from bench.reference.chat_server import chat_server
from bench.reference.turns import KILOBYTE
from quarterdeck import tool
from quarterdeck.app.guards import guards_of
from quarterdeck.core.runs import RunStatus
from quarterdeck.core.tools import Tool
from quarterdeck.policy import Policy
from quarterdeck.policy.load import load_policy
from quarterdeck.service.limits import LimitRule, RateLimits
from quarterdeck.settings.guards import GuardSettings
from quarterdeck.store.limits import MemoryLimits, Rate
from quarterdeck.store.sqlite_store import open_sqlite

RUNS = 5
PROCESSES = 9
REPETITIONS = 41  # pairs in each of them
ALONE = True  # the size of what one of them measures
RULES = 40
BUDGET = 1.15
QUESTION = f"What are the values of {', '.join(map(str, range(MODEL_CALLS)))}? Write each down."
TAGS = {"tenant_tier": "gold", "experiment": "b", "source": "portal"}


@tool(effect="write", trusted=True, idempotent=True, identity=("number",))
async def write_down(number: int) -> str:
    """Write the value of a number down.

    Args:
        number: Which one.
    """
    return f"The value of number {number} is written down. {KILOBYTE}"


async def measure(alone: bool = False) -> list[Measure]:
    """
    Args:
        alone: In this process only.
    """
    if alone:
        return [await _turn("read", look_up), await _turn("write", write_down)]
    taken = [await _in_another() for _ in range(PROCESSES)]
    return [_middle(figures) for figures in zip(*taken, strict=True)]


async def _in_another() -> list[Measure]:
    """What one more process measures. It is of this one's session, and so ends with it."""
    command = (sys.executable, "-m", "bench.one", "governance", "ALONE")
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    try:
        told, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise RuntimeError(f"a process that measures governance ended with {process.returncode}")
    return [Measure(**fields) for fields in json.loads(told.splitlines()[-1])]


def _middle(figures: Sequence[Measure]) -> Measure:
    """Of one figure from several processes that of the process in the middle, and how far they lie apart."""
    ordered = sorted(figures, key=lambda figure: figure.ratio or 0.0)
    least, middle, most = ordered[0], ordered[len(ordered) // 2], ordered[-1]
    span = f"{least.ratio:.2f} to {most.ratio:.2f} x in {len(ordered)} processes, of which the one in the middle counts"
    return replace(middle, note=f"{middle.note}; {span}")


async def _turn(kind: str, one: Tool) -> Measure:
    guards = guards_of(GuardSettings(), ["a known secret"], ["bench"])("bench")
    everything = Rule(policy=_policy(one), guards=guards, rates=_rates(), tags=TAGS)
    least = Rule(audited=False)
    with tempfile.TemporaryDirectory() as folder:
        async with chat_server(MODEL_CALLS - 1) as url, wire_model(url) as model:
            store = open_sqlite(folder)
            hosts = [await host(store, model, [one], instructions=INSTRUCTIONS, rule=rule) for rule in (least, everything)]
            for ours in hosts:
                assert await ours.status(await ours.ask(QUESTION)) is RunStatus.DONE
            assert await store.records.audit_rows(PERSON.tenant, limit=1), "nothing is audited"
            bare, governed, ratio = await paired(*(_runs(each) for each in hosts), repetitions=REPETITIONS)
            await store.close()
    turns = RUNS * MODEL_CALLS
    return relative(
        f"tool turn, governed, a {kind}", governed / turns, "ms CPU", reference=bare / turns, ratio=ratio, budget=BUDGET,
        note="beside one with declared effects alone, pair by pair",
    )  # fmt: skip


def _runs(ours: Host) -> Work:
    async def work() -> None:
        for _ in range(RUNS):
            await ours.ask(QUESTION)

    return work


def _policy(one: Tool) -> Policy:
    """An entry for the tool, and rules of which most are about other tools, other arguments or worse labels."""
    entry = f"""tools:
  {one.name}:
    effect: {one.effect}
    risk: {one.risk}
    identity: [number]
    bounds: {{number: {{min: 0, max: 1000}}}}
    max_calls: 100
    result: {{integrity: untrusted}}
"""
    every = [
        f"  - {{id: R{n}, when: {{tool: '{name}', label.integrity: untrusted, args.number: '>={1000 + n}'}}, then: deny}}"
        for n, name in zip(range(RULES), (one.name, "send_*", "*_account", "*") * RULES, strict=False)
    ]
    return load_policy("\n".join(("policy: v1", entry, "rules:", *every)), "policy.yaml", [one])


def _rates() -> RateLimits:
    often = Rate(amount=1_000_000, window_s=60.0, burst=1_000_000)
    return RateLimits([LimitRule(scope="tool", rate=often)], MemoryLimits())
