"""A measure in a process of its own: what one imported, cached or grew must not flatter or burden the next."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bench.measure import Measure

ROOT = Path(__file__).parents[1]
TIME_LIMIT_S = 1200


def measured(name: str, size: str = "") -> list[Measure]:
    """Take a measure.

    Args:
        name: Module of bench.measures.
        size: Name of the value in that module that says how much is done; the module's own choice if it has none.

    Raises:
        RuntimeError: It could not be taken; with what it wrote.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bench.one", name, *([size] if size else [])],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{name} took longer than {TIME_LIMIT_S} s") from error
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-6000:])
    return [Measure(**fields) for fields in json.loads(done.stdout.splitlines()[-1])]
