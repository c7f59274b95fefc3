"""Precision and recall of the signs of injection on public texts; CPU of all guards in a tool turn beside one without.

The texts are those of BIPIA: its clean e-mails, tables and questions about code, each as it is (negative) and with one of
its attacks at the beginning, in the middle or at the end (positive). Guards were written with its training attacks at hand
and are measured with the test attacks. Most of these are harmless requests in themselves, such as to translate a sentence.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.host import Host, Rule, host, wire_model
from bench.measure import Measure, Work, absolute, interleaved, missing, relative
from bench.measures.http_loop import INSTRUCTIONS, MODEL_CALLS, QUESTION, look_up
from bench.reference.chat_server import chat_server
from quarterdeck.app.guards import guards_of
from quarterdeck.policy.guards.injection import Injection
from quarterdeck.settings.guards import GuardSettings
from quarterdeck.store.sqlite_store import open_sqlite

RUNS = 10
REPETITIONS = 15
BUDGET_COST = 1.15
_TASKS = {"email": "text", "table": "text", "code": "code"}


async def measure() -> list[Measure]:
    cost = await _cost()
    folder = Path(os.environ.get("BENCH_DATA", "")) / "security"
    if not folder.is_dir():
        note = "BENCH_DATA names no folder with security/"
        return [cost, missing("signs of injection", note)]
    return [cost, *_found(folder)]


async def _cost() -> Measure:
    """Turns of a model call over HTTP and a tool that gives 1 kB, durable, with all guards of the default and with none."""
    guards = guards_of(GuardSettings(), ["a known secret"], ["bench"])("bench")
    with tempfile.TemporaryDirectory() as folder:
        async with chat_server(MODEL_CALLS - 1) as url, wire_model(url) as model:
            store = open_sqlite(folder)
            rules = Rule(), Rule(guards=guards)
            hosts = [await host(store, model, [look_up], instructions=INSTRUCTIONS, rule=each) for each in rules]

            def runs(ours: Host) -> Work:
                async def work() -> None:
                    for _ in range(RUNS):
                        await ours.ask(QUESTION)

                return work

            bare, guarded = await interleaved([runs(each) for each in hosts], repetitions=REPETITIONS)
            await store.close()
    turns = RUNS * MODEL_CALLS
    return relative("tool turn with guards", guarded / turns, "ms CPU", reference=bare / turns, budget=BUDGET_COST)


def _found(folder: Path) -> Iterator[Measure]:
    guard = Injection()
    hits: dict[str, list[int]] = {}
    false = clean = found = attacked = 0
    for task, kind in _TASKS.items():
        contexts = [_text(json.loads(line)["context"]) for line in _lines(folder, task)]
        attacks: dict[str, list[str]] = json.loads((folder / f"{kind}_attack_test.json").read_text("utf-8"))
        wrong = sum(bool(guard.signs(context)) for context in contexts)
        false, clean = false + wrong, clean + len(contexts)
        for name, sentences in attacks.items():
            for number, attack in enumerate(sentences):
                for context in contexts[number::5]:
                    for place in range(3):
                        seen = bool(guard.signs(_with(context, attack, place)))
                        hits.setdefault(name, []).append(seen)
                        found, attacked = found + seen, attacked + 1
    yield absolute("signs of injection, false alarms", false / clean, "share", note=f"{false} of {clean} clean texts")
    balanced = found / attacked
    yield absolute("signs of injection, recall", balanced, "share", note=f"{found} of {attacked} attacked texts")
    yield absolute(
        "signs of injection, precision",
        balanced / (balanced + false / clean),
        "share",
        note="with as many clean as attacked",
    )
    for name, seen in sorted(hits.items()):
        print(f"    {name}: {sum(seen) / len(seen):.2f}")


def _lines(folder: Path, task: str) -> list[str]:
    return (folder / "bipia-benign" / f"{task}.test.jsonl").read_text("utf-8").splitlines()


def _text(context: object) -> str:
    return "\n".join(map(str, context)) if isinstance(context, list) else str(context)


def _with(context: str, attack: str, place: int) -> str:
    lines = context.split("\n")
    at = (0, len(lines) // 2, len(lines))[place]
    return "\n".join([*lines[:at], attack, *lines[at:]])
