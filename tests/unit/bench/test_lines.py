"""The command that prints every promise of reliability: which lines it asks for, what it makes of what was found."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from bench import processes
from bench.lines import command, shown
from bench.lines.catalogue import LINES
from bench.lines.evidence import judged
from bench.lines.line import Figures, Found, Line, Shown, Verdict, failures, judge, known_misses
from bench.measure import Measure, absolute, missing, or_missing

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "reference" / "reliability.md").read_text(encoding="utf-8")
TEST = "tests/unit/test_a.py::test_it_holds"
LINE = Line(
    number=7, behaviour="It holds", target="at most 5 ms", figures=(Figures(measure="held", named="it"),), tests=(TEST,)
)
PASSED = {TEST: [Shown(test=TEST, outcome="passed")]}


def test_the_lines_are_numbered_and_each_is_shown_by_something() -> None:
    assert [line.number for line in LINES] == list(range(1, 33))
    assert [line.number for line in LINES if not line.figures and not line.tests] == []


def test_every_measure_and_every_test_that_is_named_exists() -> None:
    for line in LINES:
        for source in line.figures:
            assert callable(importlib.import_module(f"bench.measures.{source.measure}").measure)
        for test in line.tests:
            path, _, name = test.partition("::")
            assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), test


@pytest.mark.parametrize(
    ("figures", "outcome", "verdict"),
    [
        ([absolute("it took", 4.0, "ms", budget=5.0)], "passed", "kept"),
        ([absolute("it took", 6.0, "ms", budget=5.0)], "passed", "missed"),
        ([absolute("it took", 4.0, "ms", budget=5.0)], "failed", "missed"),
        ([absolute("it took", 4.0, "ms", budget=5.0)], "skipped", "unknown"),
        ([missing("it took", "a clock")], "passed", "unknown"),
        ([absolute("another thing", 4.0, "ms", budget=5.0)], "passed", "unknown"),
        ([], "passed", "unknown"),
    ],
)
def test_a_line_is_kept_only_where_every_figure_and_test_of_it_is(
    figures: list[Measure], outcome: str, verdict: str
) -> None:
    found = judge(LINE, {"held": figures}, {TEST: [Shown(test=TEST, outcome=outcome)]})  # type: ignore[arg-type]

    assert found.verdict == verdict


def test_a_line_without_figures_is_shown_by_its_tests_and_kept_if_they_tell_any() -> None:
    line = Line(number=7, behaviour="It holds", target="always", tests=(TEST,))

    plain = judge(line, {}, PASSED)
    told = judge(line, {}, {TEST: [Shown(test=TEST, outcome="passed", told=("in 3 ms",))]})
    never_ran = judge(line, {}, {})

    assert (plain.verdict, plain.measured) == ("shown", ("it holds: passed",))
    assert (told.verdict, told.measured) == ("kept", ("it holds: passed", "in 3 ms"))
    assert never_ran.verdict == "unknown"


def test_what_takes_too_long_is_ended_with_all_it_started() -> None:
    waits = "import time; time.sleep(60)"
    starts = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {waits!r}, sys.argv[1]])"
    mark = uuid4().hex

    code, _, _ = processes.ended(["-c", starts, mark], 1.0)

    assert code is None
    assert [one.pid for one in psutil.process_iter(["cmdline"]) if mark in (one.info["cmdline"] or [])] == []


async def test_a_part_of_a_measure_that_fails_is_missing_and_the_others_go_on() -> None:
    async def breaks() -> list[Measure]:
        raise RuntimeError("no answer")

    async def works() -> list[Measure]:
        return [absolute("10 p99", 1.0, "s", budget=2.0)]

    taken = [*await or_missing("9 overload", breaks()), *await or_missing("10 noisy", works())]

    lines = [replace(LINE, figures=(Figures(measure="held", named=named),), tests=()) for named in ("9 ", "10 ")]
    assert [judge(line, {"held": taken}, {}).verdict for line in lines] == ["unknown", "kept"]


def found(number: int, verdict: Verdict) -> Found:
    return Found(line=Line(number=number, behaviour="b", target="t"), verdict=verdict, measured=())


def test_a_documented_miss_is_no_failure_and_what_was_not_measured_is_one() -> None:
    several = [found(1, "kept"), found(2, "missed"), found(3, "missed"), found(4, "unknown"), found(5, "shown")]

    assert [one.line.number for one in failures(several, known={3, 4})] == [2, 4]


def test_known_misses_are_the_rows_of_their_table_alone() -> None:
    page = (
        "| 1 | kept |\n\n## Known misses\n\n| line | why |\n|---|---|\n| 9 | slow |\n| 32 | late |\n\n## More\n\n| 4 | x |\n"
    )

    assert known_misses(page) == {9, 32}


def test_outcomes_and_recorded_figures_are_read_from_pytests_report() -> None:
    report = """<testsuites><testsuite>
      <testcase classname="tests.unit.test_a" name="test_it_holds[one]">
        <properties><property name="figure" value="in 3 ms"/><property name="other" value="x"/></properties></testcase>
      <testcase classname="tests.unit.test_a" name="test_it_holds[two]"><failure message="no"/></testcase>
      <testcase classname="tests.unit.test_a" name="test_another"/>
    </testsuite></testsuites>"""

    outcomes = shown.read(report, [TEST])

    assert outcomes == {TEST: [Shown(test=TEST, outcome="passed", told=("in 3 ms",)), Shown(test=TEST, outcome="failed")]}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Three lines in place of all, measured by a stand-in that notes what it was asked for."""
    asked: list[tuple[str, str]] = []
    lines = tuple(
        Line(
            number=number,
            behaviour=f"Behaviour {number}",
            target="at most 5 ms",
            figures=(Figures(measure=name, named="it"),),
        )
        for number, name in ((1, "good"), (2, "bad"), (3, "broken"))
    )

    def measured(name: str, size: str, *, within_s: float) -> Sequence[Measure]:
        asked.append((name, size))
        if name == "broken":
            raise RuntimeError("no server")
        return [absolute("it took", 4.0 if name == "good" else 6.0, "ms", budget=5.0)]

    monkeypatch.setattr(command, "LINES", lines)
    monkeypatch.setattr(command, "measured", measured)
    return asked


def test_the_lines_that_are_asked_for_are_measured_and_printed_and_written(
    few: list[tuple[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "deep" / "lines.json"

    code = command.main(["1", "--long", "--report", str(report)])

    assert code == 0
    assert few == [("good", "LONG")]
    printed = capsys.readouterr().out
    assert re.search(r" 1  kept +Behaviour 1\n +target +at most 5 ms\n +measured +it took: 4 ms \(≤ 5\)\n", printed)
    (line,) = json.loads(report.read_text())["lines"]
    assert (line["number"], line["verdict"]) == (1, "kept")


def test_a_line_is_told_before_the_next_is_measured_and_what_two_need_is_taken_once() -> None:
    happened: list[str] = []
    other = TEST.replace("holds", "bends")
    first = replace(LINE, number=1)
    second = replace(LINE, number=2, tests=(other,))
    third = replace(LINE, number=3, figures=(Figures(measure="late", named="it"),), tests=())

    def take(name: str) -> Sequence[Measure]:
        happened.append(f"measure {name}")
        return [absolute("it took", 4.0, "ms", budget=5.0)]

    def run(tests: Collection[str]) -> dict[str, Sequence[Shown]]:
        happened.append("tests")
        return {test: [Shown(test=test, outcome="passed")] for test in tests}

    for one in judged([first, second, third], take, run):
        happened += [f"line {one.line.number} {one.verdict}"]

    assert happened == ["measure held", "tests", "line 1 kept", "line 2 kept", "measure late", "line 3 kept"]


def test_all_lines_are_measured_when_none_is_named(few: list[tuple[str, str]], tmp_path: Path) -> None:
    command.main(["--report", str(tmp_path / "lines.json")])

    assert few == [("good", "SHORT"), ("bad", "SHORT"), ("broken", "SHORT")]


@pytest.mark.parametrize(("number", "verdict"), [("2", "missed"), ("3", "unknown")])
def test_a_line_that_is_missed_or_cannot_be_measured_fails_the_command(
    few: list[tuple[str, str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    number: str,
    verdict: str,
) -> None:
    nothing_known = tmp_path / "page.md"
    nothing_known.write_text("")
    monkeypatch.setattr(command, "PAGE", nothing_known)

    code = command.main(["1", number, "--report", str(tmp_path / "lines.json")])

    assert code == 1
    assert f"{number} Behaviour {number}" in capsys.readouterr().out.splitlines()[-1]
    assert json.loads((tmp_path / "lines.json").read_text())["lines"][1]["verdict"] == verdict


def test_a_number_that_no_line_has_is_refused(few: list[tuple[str, str]]) -> None:
    with pytest.raises(SystemExit):
        command.main(["33"])


def test_the_page_lists_every_line_with_its_target() -> None:
    rows = {int(row[0]): (row[1], row[2]) for row in re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \| .*\|$", PAGE, re.MULTILINE)}

    assert rows == {line.number: (line.behaviour, line.target) for line in LINES}
