"""How many packages `pip install quarterdeck` brings."""

from __future__ import annotations

import re
from importlib import metadata

from packaging.requirements import Requirement

from bench.measure import Measure, absolute

BUDGET = 16


def closure(package: str) -> set[str]:
    """The package and all it needs on this platform without extras, by normalised name."""
    found: set[str] = set()
    waiting = [package]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        found.add(name)
        for line in metadata.requires(name) or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found


async def measure() -> list[Measure]:
    names = sorted(closure("quarterdeck"))
    return [absolute("library install", len(names), "packages", budget=BUDGET, note=" ".join(names))]
