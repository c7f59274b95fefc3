"""The page about the runtime says what the runtime says."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from quarterdeck.core.runs import Limits, StopReason

PAGE = (Path(__file__).parents[2] / "docs" / "agent-runtime.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """Cells of the table under a heading."""
    part = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line.startswith("| `")]


def test_every_limit_stands_there_with_its_default() -> None:
    told = {re.sub("`", "", name): default for name, default, _ in rows("Limits")}

    assert told == {limit.name: "none" if limit.default is None else str(limit.default) for limit in fields(Limits)}


def test_every_stop_reason_stands_there_and_no_other() -> None:
    told = {name for names, _ in rows("Why a run stopped") for name in re.findall(r"`(\w+)`", names)}

    assert told | {"client_tools"} == {*StopReason.__members__.values(), "client_tools"}
