"""Runs tests by name, in a pytest of their own, and reads what became of each and which figures it recorded.

A test notes a figure with the fixture `figure`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from bench.lines.line import Shown

ROOT = Path(__file__).parents[2]
TIME_LIMIT_S = 600


def run(tests: Collection[str]) -> Mapping[str, Sequence[Shown]]:
    """Run tests; returns outcomes by their names. Those that did not come to run are left out."""
    if not tests:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "tests.xml"
        command = [sys.executable, "-m", "pytest", "-q", "--junitxml", str(report), *sorted(tests)]
        try:
            subprocess.run(command, cwd=ROOT, capture_output=True, timeout=TIME_LIMIT_S, check=False)
        except subprocess.TimeoutExpired:
            return {}
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
