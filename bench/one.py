"""Runs one measure and prints its figures as a line of JSON: ``python -m bench.one imports``.

A second word names the value in the measure's module that says how much is done: ``python -m bench.one soak SHORT``.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from dataclasses import asdict


def main() -> None:
    name, *sizes = sys.argv[1:]
    module = importlib.import_module(f"bench.measures.{name}")
    chosen = [getattr(module, size) for size in sizes if hasattr(module, size)]
    measures = asyncio.run(module.measure(*chosen))
    print(json.dumps([asdict(measure) for measure in measures]))


if __name__ == "__main__":
    main()
