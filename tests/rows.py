"""Which capability is shown by which test: a pytest plugin.

A test says ``@pytest.mark.row("R7", part="sqlite")``. With ``--rows`` the run ends with one line per row of
docs/capabilities.md and writes ``build/rows.json``. Works under xdist: what is marked travels with each test's report.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PROPERTY = "row"
_TABLE_ROW = re.compile(r"\| (?P<row>[A-Z]\d+) \| (?P<text>.+?) \| (?P<parts>.*?) ?\|$")
_WORST_FIRST = ("failed", "skipped", "passed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """A line of docs/capabilities.md."""

    row: str
    text: str
    parts: tuple[str, ...]


def read_capabilities(path: Path) -> list[Capability]:
    """The rows of the table, in its order."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = (_TABLE_ROW.match(line) for line in lines)
    return [
        Capability(row=match["row"], text=match["text"], parts=tuple(re.findall(r"`([^`]+)`", match["parts"])))
        for match in found
        if match
    ]


@dataclass(slots=True)
class Tally:
    """Outcomes of the tests of one row and part, by test id."""

    outcomes: dict[str, str] = field(default_factory=dict)

    def add(self, test: str, outcome: str) -> None:
        # Set-up, call and tear-down report apart; the worst of them is the outcome of the test.
        self.outcomes[test] = min(outcome, self.outcomes.get(test, outcome), key=_WORST_FIRST.index)

    def count(self, outcome: str) -> int:
        return sum(1 for seen in self.outcomes.values() if seen == outcome)

    @property
    def verdict(self) -> str:
        """``passes`` needs at least one passing test and no failing one."""
        if self.count("failed"):
            return "FAILS"
        return "passes" if self.count("passed") else "not shown"


Tallies = Mapping[tuple[str, str | None], Tally]


def as_json(tallies: Tallies) -> list[dict[str, object]]:
    """One object per row and part, sorted, with counts and the tests by name."""
    return [
        {
            "row": row,
            "part": part,
            "tests": len(tally.outcomes),
            "passed": tally.count("passed"),
            "failed": tally.count("failed"),
            "skipped": tally.count("skipped"),
            "names": sorted(tally.outcomes),
        }
        for (row, part), tally in sorted(tallies.items(), key=lambda item: (_order(item[0][0]), item[0][1] or ""))
    ]


def as_lines(capabilities: Sequence[Capability], tallies: Tallies) -> Iterable[str]:
    """A line per row, below it one per part and one per test that does not pass."""
    known = {capability.row for capability in capabilities}
    strays = sorted({row for row, _ in tallies if row not in known}, key=_order)
    for capability in (
        *capabilities,
        *(Capability(row=row, text="(not in docs/capabilities.md)", parts=()) for row in strays),
    ):
        mine = {part: tally for (row, part), tally in tallies.items() if row == capability.row}
        whole = Tally(outcomes={})
        for tally in mine.values():
            for test, outcome in tally.outcomes.items():
                whole.add(test, outcome)
        yield f"{capability.row:<4} {whole.verdict:<9} {len(whole.outcomes):>3} tests  {capability.text}"
        for part in sorted({*capability.parts, *(part for part in mine if part)}):
            tally = mine.get(part, Tally())
            yield f"       {tally.verdict:<9} {len(tally.outcomes):>3} tests  {part}"
        yield from (f"       {outcome}: {test}" for test, outcome in sorted(whole.outcomes.items()) if outcome != "passed")


def _order(row: str) -> tuple[str, int]:
    return row[0], int(row[1:])


class RowReport:
    """Listens to reports and tells, at the end, how each row stands. Only where reports arrive: not in xdist's workers."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._tallies: defaultdict[tuple[str, str | None], Tally] = defaultdict(Tally)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, value in report.user_properties:
            if name == PROPERTY:
                row, part = value
                self._tallies[row, part].add(report.nodeid, report.outcome)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        target = self._root / "build" / "rows.json"
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps(as_json(self._tallies), indent=1) + "\n", encoding="utf-8")
        terminalreporter.section("capabilities")
        for line in as_lines(read_capabilities(self._root / "docs" / "capabilities.md"), self._tallies):
            terminalreporter.write_line(line)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rows", action="store_true", help="tell per capability whether its tests pass; write build/rows.json")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("rows") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(RowReport(config.rootpath))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        marked = {_row_and_part(mark) for mark in item.iter_markers("row")}
        item.user_properties.extend((PROPERTY, pair) for pair in sorted(marked, key=str))


def _row_and_part(mark: pytest.Mark) -> tuple[str, str | None]:
    match mark.args, mark.kwargs:
        case (str(row),), {"part": str(part)} if len(mark.kwargs) == 1:
            pass
        case (str(row),), {} if not mark.kwargs:
            part = None
        case _:
            raise pytest.UsageError(f"row mark {mark.args} {dict(mark.kwargs)}: write row('R7') or row('R7', part='sqlite')")
    if re.fullmatch(r"[A-Z]\d+", row) is None:
        raise pytest.UsageError(f"row mark {row!r} is not the name of a row, such as 'R7'")
    return row, part
