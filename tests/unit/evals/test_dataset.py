from __future__ import annotations

from pathlib import Path

import pytest

from quarterdeck.core.errors import Misconfigured
from quarterdeck.evals.base import Case, Expected
from quarterdeck.evals.dataset import handful, read_cases, with_tags, without_rubrics

EXAMPLE = Path(__file__).parents[3] / "examples" / "support_desk" / "evals" / "dataset.jsonl"


def written(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "cases.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.row("E1", part="dataset")
def test_lines_become_cases_in_their_order(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '{"id": "short", "input": "Hello?"}',
        "",
        '{"id": "long", "input": "年假?", "role": "approver", "agent": "desk", '
        '"expected": {"regex": "\\\\d+", "json": [1]}, '
        '"expected_sources": ["a"], "must_cite": true, "expected_tools": ["t"], "tools_in_order": true, '
        '"forbidden_tools": ["u"], "max_latency_ms": 100, "max_cost_usd": 0.5, "rubric": "Polite.", "tags": ["zh"]}',
    )

    cases = read_cases(path)

    assert cases == (
        Case(id="short", input="Hello?"),
        Case(
            id="long",
            input="年假?",
            role="approver",
            agent="desk",
            expected=Expected(regex="\\d+", json=[1]),
            expected_sources=("a",),
            must_cite=True,
            expected_tools=("t",),
            tools_in_order=True,
            forbidden_tools=("u",),
            max_latency_ms=100,
            max_cost_usd=0.5,
            rubric="Polite.",
            tags=("zh",),
        ),
    )


@pytest.mark.parametrize("expected", ['"8"', '["8"]', '{"contains": ["8"]}'])
def test_a_text_or_a_list_of_texts_must_be_contained(tmp_path: Path, expected: str) -> None:
    path = written(tmp_path, f'{{"id": "a", "input": "b", "expected": {expected}}}')

    (case,) = read_cases(path)

    assert case.expected == Expected(contains=("8",))


@pytest.mark.row("E1", part="dataset")
def test_every_mistake_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '{"id": "good", "input": "Hello?"}',
        '{"id": "good", "input": "Hello again?"}',
        '{"id": "two words", "input": 5, "must_cite": "yes", "colour": "red"}',
        '{"input": ""}',
        "",
        "not JSON",
        '{"id": "a", "id": "b", "input": "c"}',
        '{"id": "nan", "input": "a", "max_cost_usd": NaN}',
        '{"id": "pattern", "input": "a", "expected": {"regex": "(?<=a)b"}}',
        '{"id": "who", "input": "a", "user": "emma", "role": "approver"}',
        '{"id": "both", "input": "a", "must_refuse": true, "expected": "8", '
        '"expected_tools": ["t"], "forbidden_tools": ["t"]}',
        '["a list"]',
    )

    with pytest.raises(Misconfigured) as caught:
        read_cases(path)

    told = str(caught.value).splitlines()
    assert all(line.startswith(f"{path}:") for line in told)
    found = [line.removeprefix(f"{path}:") for line in told]
    assert [int(line.split(":")[0]) for line in found] == [2, 3, 3, 3, 3, 4, 4, 6, 7, 8, 9, 10, 11, 11, 12]
    assert "2: id: 'good' stands on an earlier line too" in found
    assert "3: colour: unknown key" in found
    assert "4: id: is missing" in found
    assert "7: id: stands there twice" in found
    assert "10: user, role: only one of them says who asks" in found
    assert "11: expected_tools, forbidden_tools: t cannot be both" in found
    assert any(line.startswith("9: expected.regex: ") for line in found)


def test_a_file_without_cases_or_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="there is no case"):
        read_cases(written(tmp_path, ""))
    with pytest.raises(Misconfigured, match="cannot be read"):
        read_cases(tmp_path / "nowhere.jsonl")


@pytest.mark.row("E1", part="smoke")
def test_a_handful_is_the_same_for_the_same_seed_and_in_order() -> None:
    cases = read_cases(EXAMPLE)

    first, again, other = handful(cases, 0), handful(cases, 0), handful(cases, 1)

    assert len(first) == 5
    assert first == again != other
    assert [cases.index(case) for case in first] == sorted(cases.index(case) for case in first)
    assert handful(cases[:2], 0) == cases[:2]


def test_without_rubrics_all_else_of_a_case_stays() -> None:
    case = Case(id="a", input="?", rubric="Polite.", must_cite=True)

    assert without_rubrics([case]) == (Case(id="a", input="?", must_cite=True),)


def test_what_must_be_refused_has_no_part_that_is_given(tmp_path: Path) -> None:
    path = written(tmp_path, '{"id": "a", "input": "?", "must_refuse": true, "must_admit": true}')

    with pytest.raises(Misconfigured, match="must_refuse, must_admit"):
        read_cases(path)


def test_cases_are_chosen_by_their_tags() -> None:
    cases = [Case(id="a", input="a", tags=("x", "y")), Case(id="b", input="b", tags=("z",)), Case(id="c", input="c")]

    assert [case.id for case in with_tags(cases, ["y", "z"])] == ["a", "b"]
    assert len(with_tags(cases, [])) == 3


@pytest.mark.row("E1", part="dataset")
def test_the_example_has_a_set_of_its_own() -> None:
    cases = read_cases(EXAMPLE)

    assert len(cases) >= 20
    assert sum(case.must_refuse for case in cases) >= 2
    assert sum(case.must_cite for case in cases) >= 15
