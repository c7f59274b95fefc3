"""How many packages `pip install quarterdeck` brings, and how much `quarterdeck[server]` takes on disk."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from bench.measure import Measure, absolute

ROOT = Path(__file__).parents[2]
PACKAGES_BUDGET = 16
SERVER_BUDGET_MB = 150.0


def closure(package: str, extra: str = "") -> set[str]:
    """The package and all it needs on this platform, by normalised name; `extra` is one of its own extras."""
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(package, frozenset({"", extra}))]
    while waiting:
        name, extras = waiting.pop()
        name = re.sub(r"[-_.]+", "-", name).lower()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        for line in metadata.requires(name) or ():
            requirement = Requirement(line)
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": one}) for one in extras):
                waiting.append((requirement.name, frozenset({"", *requirement.extras})))
    return {name for name, _ in seen}


def installed_mb(package: str) -> float:
    """Megabytes of a package's files, compiled ones included."""
    files = metadata.distribution(package).files or ()
    return sum(path.stat().st_size for file in files if (path := Path(str(file.locate()))).is_file()) / 1e6


def source_mb() -> float:
    """Megabytes of the project itself, which is installed as a reference to this folder."""
    return sum(path.stat().st_size for path in (ROOT / "quarterdeck").rglob("*") if path.is_file()) / 1e6


async def measure() -> list[Measure]:
    names = sorted(closure("quarterdeck"))
    server = closure("quarterdeck", "server")
    size_mb = source_mb() + sum(installed_mb(name) for name in server - {"quarterdeck"})
    return [
        absolute("library install", len(names), "packages", budget=PACKAGES_BUDGET, note=" ".join(names)),
        absolute("install with [server]", size_mb, "MB disk", budget=SERVER_BUDGET_MB, note=f"{len(server)} packages"),
    ]
