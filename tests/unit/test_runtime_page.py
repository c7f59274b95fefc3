"""The page about the runtime says what the runtime says."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from quarterdeck.core.events import KINDS, ChildFinished, ChildStarted, NodeSkipped, NodeStarted
from quarterdeck.core.messages import ToolResult
from quarterdeck.core.runs import Limits, StopReason

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "agent-runtime.md").read_text(encoding="utf-8")
HTTP = (DOCS / "reference" / "http.md").read_text(encoding="utf-8")


def rows(heading: str, page: str = PAGE) -> list[list[str]]:
    """Cells of the table under a heading."""
    part = page.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line.startswith("| `")]


def test_every_limit_stands_there_with_its_default() -> None:
    told = {re.sub("`", "", name): default for name, default, _ in rows("Limits")}

    assert told == {limit.name: "none" if limit.default is None else str(limit.default) for limit in fields(Limits)}


def test_every_stop_reason_stands_there_and_no_other() -> None:
    told = {name for names, _ in rows("Why a run stopped") for name in re.findall(r"`(\w+)`", names)}

    assert told | {"client_tools"} == {*StopReason.__members__.values(), "client_tools"}


def test_every_error_of_a_call_stands_there_and_no_other() -> None:
    told = {name for names, _ in rows("Tools") for name in re.findall(r"`(\w+)`", names)}
    listed = re.search(r"Stable code of the failure \(([^)]*)\)", str(ToolResult.__doc__))

    assert listed is not None
    assert told == set(re.split(r",\s+", listed[1]))


def test_every_kind_of_event_a_run_may_have_stands_on_the_page_of_streams_and_no_other() -> None:
    told = {name for names, _ in rows("Event streams", HTTP) for name in re.findall(r"`(\w+)`", names)}
    of_topologies = {
        kind.kind for kind in (NodeStarted, NodeSkipped, ChildStarted, ChildFinished)
    }  # nothing writes them yet

    assert told == KINDS.keys() - of_topologies
