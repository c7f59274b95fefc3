"""Runs tests by name, those of a file in a pytest of their own, and reads what became of each and which figures it recorded.

A test notes a figure with the fixture `figure`.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from bench.lines.line import Shown
from bench.processes import ended

TIME_LIMIT_S = 180.0


def run(tests: Collection[str]) -> Mapping[str, Sequence[Shown]]:
    """Run tests; returns outcomes by their names. Those that did not come to run are left out.

    A file that takes too long is ended, and says nothing; the others go on.
    """
    outcomes: dict[str, Sequence[Shown]] = {}
    for _, named in groupby(sorted(tests), lambda test: test.partition("::")[0]):
        outcomes |= _of_file(list(named))
    return outcomes


def _of_file(tests: Sequence[str]) -> Mapping[str, Sequence[Shown]]:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "tests.xml"
        ended(["-m", "pytest", "-q", "--junitxml", str(report), *tests], TIME_LIMIT_S)
        return read(report.read_text(encoding="utf-8"), tests) if report.exists() else {}


def read(report: str, tests: Collection[str]) -> Mapping[str, Sequence[Shown]]:
    """Outcomes of `tests` in a report in JUnit's format, as pytest writes it."""
    names = {
        (path.removesuffix(".py").replace("/", "."), name): test
        for test in tests
        for path, _, name in [test.partition("::")]
    }
    found: dict[str, list[Shown]] = defaultdict(list)
    for case in ElementTree.fromstring(report).iter("testcase"):
        name = names.get((case.get("classname", ""), case.get("name", "").partition("[")[0]))
        if name is not None:
            told = tuple(one.get("value", "") for one in case.iter("property") if one.get("name") == "figure")
            found[name].append(Shown(test=name, outcome=_outcome(case), told=told))
    return found


def _outcome(case: ElementTree.Element) -> Literal["passed", "failed", "skipped"]:
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "passed" if case.find("skipped") is None else "skipped"
