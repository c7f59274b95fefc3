"""The report of rows: what is marked, what passed, what nobody shows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.rows import Capability, Tally, as_json, as_lines, read_capabilities


def test_the_worst_phase_of_a_test_is_its_outcome() -> None:
    tally = Tally()

    tally.add("a", "passed")
    tally.add("a", "failed")
    tally.add("a", "passed")

    assert tally.outcomes == {"a": "failed"}
    assert tally.verdict == "FAILS"


def test_a_row_with_only_skipped_tests_is_not_shown() -> None:
    tally = Tally(outcomes={"a": "skipped"})

    assert tally.verdict == "not shown"


def test_rows_are_sorted_by_letter_and_number_with_counts() -> None:
    tallies = {
        ("R10", None): Tally(outcomes={"b": "passed"}),
        ("R9", "window"): Tally(outcomes={"a": "passed", "c": "skipped"}),
    }

    rows = as_json(tallies)

    assert [(row["row"], row["part"], row["tests"], row["passed"], row["skipped"]) for row in rows] == [
        ("R9", "window", 2, 1, 1),
        ("R10", None, 1, 1, 0),
    ]


def test_the_table_of_capabilities_is_read_with_its_parts(tmp_path: Path) -> None:
    page = tmp_path / "capabilities.md"
    page.write_text(
        "# Title\n\n| row | capability | parts |\n|---|---|---|\n| R7 | Once only | `sqlite`, `race` |\n"
        "| P3 | Offline |  |\n"
    )

    rows = read_capabilities(page)

    assert rows == [
        Capability(row="R7", text="Once only", parts=("sqlite", "race")),
        Capability(row="P3", text="Offline", parts=()),
    ]


def test_lines_name_rows_nobody_shows_parts_and_strays() -> None:
    capabilities = [
        Capability(row="R7", text="Once only", parts=("sqlite",)),
        Capability(row="P3", text="Offline", parts=()),
    ]
    tallies = {("R7", "sqlite"): Tally(outcomes={"t": "failed"}), ("Z1", None): Tally(outcomes={"u": "passed"})}

    lines = "\n".join(as_lines(capabilities, tallies))

    assert "R7   FAILS" in lines
    assert "failed: t" in lines
    assert "P3   not shown" in lines
    assert "Z1   passes" in lines
    assert "not in docs/capabilities.md" in lines


def test_the_plugin_reports_marks_of_parametrised_tests_across_workers(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    (tmp_path / "test_sample.py").write_text(
        "import pytest\n"
        "@pytest.mark.row('R7', part='a')\n"
        "@pytest.mark.parametrize('n', [1, 2])\n"
        "def test_n(n): assert n == 1\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = row\naddopts = -p no:cacheprovider\n")

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.rows", "--rows", "-n", "2", "-q", str(tmp_path)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 1, done.stdout + done.stderr
    (row,) = json.loads((tmp_path / "build" / "rows.json").read_text())
    assert (row["row"], row["part"], row["tests"], row["passed"], row["failed"]) == ("R7", "a", 2, 1, 1)
