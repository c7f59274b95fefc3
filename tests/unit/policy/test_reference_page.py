"""The page about policy files and tools names every key there is, and what it says of defaults is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from quarterdeck.core.extraction import LONGEST_TEXT
from quarterdeck.core.tools import Effect, Tool
from quarterdeck.policy import decide, extracts, load
from quarterdeck.policy.sinks import SINKS
from quarterdeck.tools.decorator import ToolOptions, tool

pytestmark = pytest.mark.row("G4", part="reference")

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "policy.md").read_text(encoding="utf-8")
WORDS = frozenset(re.findall(r"`([^`\n]+)`", PAGE))


def part(heading: str) -> frozenset[str]:
    """What is named in the first cells of the tables below a heading."""
    text = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return frozenset(name for cell in cells for name in re.findall(r"`([^`]+)`", cell))


def test_every_key_of_an_entry_and_of_a_rule_stands_there() -> None:
    assert part("Each of `tools`") >= load._Entry.model_fields.keys()
    assert part("Each of `rules`") >= load._Rule.model_fields.keys()
    assert part("The file") == load._File.model_fields.keys() | load._Defaults.model_fields.keys()


@pytest.mark.parametrize(
    "section", [load._Bound, load._Known, load._Result, load._Resolver, extracts.Extract, extracts._Value]
)
def test_every_key_below_them_does(section: type[BaseModel]) -> None:
    assert sorted(section.model_fields.keys() - WORDS) == []


def test_every_effect_sink_and_condition_does() -> None:
    assert {effect.value for effect in Effect} <= WORDS
    assert SINKS.keys() <= {re.sub(r"\(.*\)", "", word) for word in WORDS}
    assert {"tool", "tool.effect", "tool.risk", "label.integrity", "label.readers", "args.NAME"} <= part("Each of `rules`")
    assert f"`max_chars` ({LONGEST_TEXT} at most)" in PAGE


def test_every_rule_that_may_decide_does() -> None:
    named = re.findall(r"``([a-z]+\.[a-z_]+)``", str(decide.__doc__))

    assert len(named) > 15
    assert sorted(set(named) - part("What decides")) == []


def test_every_option_of_a_tool_stands_there_with_its_default() -> None:
    @tool
    def made() -> None:
        """Do something."""

    assert part("`@tool`") == ToolOptions.__annotations__.keys()
    plain: Tool = made
    for name in ("timeout_s", "retries", "max_output_chars", "idempotent", "trusted"):
        assert re.search(rf"\| `{name}` \| `{getattr(plain, name)}` \|", PAGE)
