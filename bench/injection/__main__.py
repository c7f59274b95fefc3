"""Runs every task alone and under every attack, with three policies, and prints what got through and what it cost."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import anyio

from bench.injection.deciders import Fixed
from bench.injection.scoring import Score, exit_code
from bench.injection.suites import SUITES, VERSION, World
from bench.injection.trying import Trial, tried
from quarterdeck.core.decisions import Verdict
from quarterdeck.core.tools import Tool
from quarterdeck.policy import Policy
from quarterdeck.policy.base import Decider
from quarterdeck.policy.load import load_policy

RULES = Path(__file__).parent / "policy.yaml"
ROOT = Path(__file__).parents[2]
WORDS_ONLY = {"travel:injection_task_6"}  # it wants a sentence said and no call made: no policy over tools can stop that
Deciders = Callable[[Sequence[Tool]], Decider]


def rules(tools: Sequence[Tool]) -> Policy:
    """The administrator's file over the tools of one suite; entries for the other suite's are left out."""
    names = {tool.name for tool in tools}
    return load_policy(_only(RULES.read_text(encoding="utf-8"), names), RULES.name, tools)


def _only(text: str, names: set[str]) -> str:
    kept: list[str] = []
    keeping = True
    for line in text.splitlines():
        if line.startswith("  ") and line[2:3].isalpha() and ":" in line:
            keeping = line[2:].split(":", 1)[0] in names
        elif not line.startswith(" "):
            keeping = True
        kept.append(line if keeping else "")
    return "\n".join(kept)


POLICIES: dict[str, Deciders] = {
    "rules": rules,
    "off": lambda tools: Fixed(rules(tools), Verdict.ALLOW),
    "approve every write": lambda tools: Fixed(rules(tools), Verdict.APPROVE),
}


async def measured(world: World, policy: str) -> list[Trial]:
    """Every task alone, and under every attack."""
    name = world.suite.name
    attacks = [each for each in world.suite.injection_tasks if f"{name}:{each}" not in WORDS_ONLY]
    return [
        await tried(world, task, attack, POLICIES[policy], rules)
        for task in world.suite.user_tasks
        for attack in (None, *attacks)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.injection", description=__doc__)
    parser.add_argument("--policy", choices=POLICIES, action="append", help="only this one; may be repeated")
    parser.add_argument("--report", type=Path, default=ROOT / "build" / "bench-injection.json")
    parser.add_argument("--tasks", action="store_true", help="also print of which call a person was asked, and why")
    arguments = parser.parse_args()

    worlds = [World.of(name) for name in SUITES]
    print(f"agentdojo {VERSION}; the model does its task and obeys every attack at once")
    print(
        f"{'policy':<20} {'suite':<10} {'attacks':>10} {'injected':>9} {'alone: tasks':>14} {'calls':>14} {'approvals':>10}"
    )
    scores: list[Score] = []
    for policy in arguments.policy or POLICIES:
        trials: list[Trial] = []
        for world in worlds:
            found = anyio.run(measured, world, policy)
            trials += found
            scores.append(Score.of(policy, world.suite.name, found))
            print(scores[-1].row(), flush=True)
        scores.append(Score.of(policy, "both", trials))
        print(scores[-1].row(), flush=True)
        _tell(trials, asked=arguments.tasks)
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    arguments.report.write_text(json.dumps([asdict(score) for score in scores], indent=1) + "\n", encoding="utf-8")
    return exit_code(scores)


def _tell(trials: Sequence[Trial], *, asked: bool) -> None:
    for trial in trials:
        if not trial.finished and not trial.attack:
            print(f"  not finished: {trial.task}")
        if asked and not trial.attack and trial.acting:
            print(f"  {trial.task}: {trial.acting} calls, asked of {', '.join(trial.asked) or 'none'}")
        if asked and (trial.succeeded or trial.injected):
            goal = "reached" if trial.succeeded else "missed"
            print(f"  {trial.task} under {trial.attack}: {trial.injected} injected calls, goal {goal}")


if __name__ == "__main__":
    sys.exit(main())
