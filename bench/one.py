"""Runs one measure and prints its figures as a line of JSON: ``python -m bench.one imports``."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from dataclasses import asdict


def main() -> None:
    measures = asyncio.run(importlib.import_module(f"bench.measures.{sys.argv[1]}").measure())
    print(json.dumps([asdict(measure) for measure in measures]))


if __name__ == "__main__":
    main()
