"""`quarterdeck eval` as people and pipelines use it, and the examples of docs/howto/evaluate.md."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import anyio
import pytest
from aiohttp import web

from tests.dialects import DIALECTS
from tests.provider import Provider

from .conftest import EXAMPLE, QUARTERDECK, Server, environment

DATASET = EXAMPLE / "evals" / "dataset.jsonl"
GUIDE = (Path(__file__).parents[2] / "docs" / "howto" / "evaluate.md").read_text(encoding="utf-8")
SHOP = {
    "quarterdeck.yaml": "models: {default: simulated}\nknowledge: {collections: [{path: knowledge, groups: [everyone]}]}\n",
    "agents/shop.yaml": "instructions: Answer from the knowledge base.\ntools: [search_knowledge_base]\n",
    "users.yaml": "roles: {customer: [chat]}\nusers:\n"
    "  - {id: ana, tenant: default, roles: [customer], groups: [everyone], key: generated}\n",
    "knowledge/prices.md": "---\ntitle: Prices\n---\n# Umbrellas\n\nAn umbrella costs 12 EUR.\n\n"
    "# Raincoats\n\nA raincoat costs 45 EUR.\n",
}


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


def evaluated(*words: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*QUARTERDECK, "eval", *words], cwd=cwd, capture_output=True, text=True, env=environment(**environ), timeout=120
    )


def cases_file(tmp_path: Path, *cases: dict[str, Any]) -> str:
    path = tmp_path / "cases.jsonl"
    path.write_text("".join(json.dumps(case) + "\n" for case in cases), encoding="utf-8")
    return str(path)


async def kind_teacher(request: web.Request) -> web.StreamResponse:
    """Answers every question alike; asked for a grade, finds every rubric met that says so itself."""
    asked = json.loads(await request.read())
    said = "An umbrella is 12 EUR."
    if "response_format" in asked:
        rubric = json.loads(asked["messages"][-1]["content"])["rubric"]
        said = json.dumps({"reason": f"read {rubric}", "met": "easy" in rubric})
    return await DIALECTS["openai"].answers((said,), watched=bool(asked.get("stream")))(request)


def statuses(report: Any) -> dict[str, str]:
    return {case["id"]: case["status"] for case in report["cases"]}


@pytest.mark.row("E1", part="command")
def test_the_cases_of_the_example_pass_and_leave_nothing_behind(tmp_path: Path) -> None:
    done = evaluated(str(DATASET), "--output", "r.md", "--output", "r.json", "--output", "r.xml", cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    totals = json.loads((tmp_path / "r.json").read_text())["totals"]
    assert (totals["cases"], totals["errors"]) == (24, 0)
    assert totals["pass_rate"] >= 0.8
    assert (tmp_path / "r.md").read_text().count("\n| ") >= 24
    assert len(ElementTree.parse(tmp_path / "r.xml").findall(".//testcase")) == 25
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.json", "r.md", "r.xml"]


@pytest.mark.row("E1", part="command")
def test_a_handful_is_asked_for_a_quick_look(tmp_path: Path) -> None:
    first = evaluated(str(DATASET), "--smoke", "--seed", "7", "--json", cwd=tmp_path)
    again = evaluated(str(DATASET), str(EXAMPLE), "--smoke", "--seed", "7", "--json", cwd=tmp_path)

    assert len(statuses(json.loads(first.stdout))) == 5
    assert statuses(json.loads(first.stdout)) == statuses(json.loads(again.stdout))


@pytest.mark.row("E1", part="threshold")
def test_too_many_failing_cases_end_with_exit_code_1_and_every_case_is_told(tmp_path: Path) -> None:
    path = cases_file(
        tmp_path,
        {"id": "right", "user": "emma", "input": "How high is the referral bonus?", "expected": "2,000 EUR"},
        {"id": "wrong", "user": "emma", "input": "How high is the referral bonus?", "expected": "9,999 EUR"},
        {"id": "stranger", "user": "nobody", "input": "Hello?"},
        {"id": "role", "role": "approver", "input": "What is the status of ticket T-1001?", "must_refuse": True},
        {"id": "elsewhere", "agent": "nobody", "input": "Hello?"},
    )

    done = evaluated(path, str(EXAMPLE), "--json", cwd=tmp_path)
    lenient = evaluated(path, str(EXAMPLE), "--threshold", "0.2", cwd=tmp_path)

    report = json.loads(done.stdout)
    assert (done.returncode, lenient.returncode) == (1, 0)
    assert statuses(report) == {
        "right": "passed",
        "wrong": "failed",
        "stranger": "error",
        "role": "failed",
        "elsewhere": "error",
    }
    assert report["cases"][2]["trials"][0]["error"] == "there is no user 'nobody'"
    assert "contains: does not contain “9,999 EUR”" in lenient.stdout


@pytest.mark.row("E1", part="baseline")
def test_a_regression_against_a_baseline_fails_although_enough_cases_pass(tmp_path: Path) -> None:
    good = [{"id": f"c{n}", "user": "emma", "input": "How high is the referral bonus?"} for n in range(6)]
    bad = [{**case, "expected": "9,999 EUR"} for case in good]

    before = evaluated(cases_file(tmp_path, *good), str(EXAMPLE), "--output", "b.json", cwd=tmp_path)
    now = evaluated(
        cases_file(tmp_path, *bad), str(EXAMPLE), "--threshold", "0", "--baseline", "b.json", "--json", cwd=tmp_path
    )

    assert (before.returncode, now.returncode) == (0, 1)
    assert "6 got worse" in json.loads(now.stdout)["gate"]["reasons"][1]


@pytest.mark.row("E1", part="repeats")
def test_repeated_cases_are_runs_of_their_own(tmp_path: Path) -> None:
    path = cases_file(tmp_path, {"id": "a", "user": "emma", "input": "How high is the referral bonus?"})

    report = json.loads(evaluated(path, str(EXAMPLE), "--repeat", "3", "--json", cwd=tmp_path).stdout)

    assert len({trial["run_id"] for trial in report["cases"][0]["trials"]}) == 3


@pytest.mark.row("E1", part="server")
def test_a_running_server_is_asked_with_the_key_of_each_user(tmp_path: Path, server: Server) -> None:
    keys = str(server.data / "keys")
    asked = ("--url", server.url, "--json")

    with_keys = evaluated(str(DATASET), *asked, "--keys", keys, cwd=tmp_path)
    without = evaluated(str(DATASET), *asked, "--smoke", cwd=tmp_path)
    nowhere = evaluated(str(DATASET), "--url", "http://127.0.0.1:9", "--keys", keys, "--smoke", "--json", cwd=tmp_path)

    assert with_keys.returncode == 0, with_keys.stdout
    assert json.loads(with_keys.stdout)["totals"]["passed"] == 24
    assert set(statuses(json.loads(without.stdout)).values()) == {"error"}
    assert "--keys" in json.loads(without.stdout)["cases"][0]["trials"][0]["error"]
    assert set(statuses(json.loads(nowhere.stdout)).values()) == {"error"}


def test_mistakes_are_told_before_anything_is_asked(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"id": "a"}\n{"id": "b", "input": "x", "colour": 1}\n')
    graded = cases_file(tmp_path, {"id": "a", "user": "emma", "input": "Hello?", "rubric": "Polite."})

    dataset = evaluated(str(broken), str(EXAMPLE), cwd=tmp_path)
    nowhere = evaluated(graded, cwd=tmp_path)
    judge = evaluated(graded, str(EXAMPLE), cwd=tmp_path)
    name = evaluated(str(DATASET), "--output", "r.pdf", cwd=tmp_path)
    tag = evaluated(str(DATASET), "--tag", "none", cwd=tmp_path)

    assert [done.returncode for done in (dataset, nowhere, judge, name, tag)] == [2, 2, 2, 7, 7]
    assert [line.split(": ", 1)[1] for line in dataset.stderr.removeprefix("error: ").splitlines()] == [
        "input: is missing",
        "colour: unknown key",
    ]
    assert "the simulated one cannot judge" in judge.stderr


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with the data set and the check of the guide."""
    files = {**SHOP, "evals/dataset.jsonl": examples("jsonl")[0], "shop_checks.py": examples("python")[0]}
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.row("E1", part="guide")
def test_the_commands_of_the_guide_run_one_after_the_other(shop: Path) -> None:
    commands = [shlex.split(line) for block in examples("sh") for line in block.splitlines()]
    local: Sequence[list[str]] = [command for command in commands if "--url" not in command]

    codes = []
    for command in local:
        assert command[:2] == ["quarterdeck", "eval"]
        done = evaluated(*command[2:], cwd=shop)
        codes.append((done.returncode, done.stdout))

    assert [code for code, _ in codes] == [0, 0, 0, 0], codes
    assert "3 of 3 cases passed" in (shop / "eval-report.md").read_text()
    assert json.loads((shop / "baseline.json").read_text())["totals"]["passed"] == 3
    assert (shop / "junit.xml").is_file()


@pytest.mark.row("E2", part="own")
def test_a_check_of_ones_own_is_found_beside_the_caller(shop: Path) -> None:
    lengthy = (shop / "shop_checks.py").read_text().replace("words <= 60", "words <= 1")
    (shop / "shop_checks.py").write_text(lengthy)

    done = evaluated("evals/dataset.jsonl", "--check", "shop_checks:brief", "--json", cwd=shop)

    assert statuses(json.loads(done.stdout)) == {"price": "failed", "number": "passed", "nowhere": "passed"}


@pytest.mark.row("E2", part="rubric")
async def test_rubrics_are_graded_by_the_named_model(shop: Path) -> None:
    path = cases_file(
        shop,
        {"id": "met", "user": "ana", "input": "What does an umbrella cost?", "rubric": "Is easy."},
        {"id": "unmet", "user": "ana", "input": "What does an umbrella cost?", "rubric": "Is hard."},
        {"id": "without", "user": "ana", "input": "What does an umbrella cost?"},
    )
    command = [*QUARTERDECK, "eval", path, "--json", "--judge", "openai:teacher"]

    async with Provider() as provider:
        provider.otherwise = kind_teacher
        settings = environment(OPENAI_BASE_URL=provider.base_url, OPENAI_API_KEY="sk-none")
        done = await anyio.run_process(command, cwd=shop, env={**settings, "MODEL_NAME": "openai:pupil"}, check=False)

    report = json.loads(done.stdout)
    assert statuses(report) == {"met": "passed", "unmet": "failed", "without": "passed"}
    assert report["cases"][1]["trials"][0]["checks"]["rubric"] == ["the rubric is not met: read Is hard."]
    assert "rubric" not in report["cases"][2]["trials"][0]["checks"]
    graded = [asked["model"] for asked in provider.requests if "response_format" in asked]
    assert graded == ["teacher", "teacher"]


@pytest.mark.row("E1", part="command")
def test_an_evaluation_that_is_told_to_stop_leaves_nothing_behind(tmp_path: Path) -> None:
    (made := tmp_path / "made").mkdir()
    asked = [*QUARTERDECK, "eval", str(DATASET), "--repeat", "100"]
    with subprocess.Popen(asked, cwd=tmp_path, stderr=subprocess.DEVNULL, env=environment(TMPDIR=str(made))) as running:
        try:
            given_up = time.monotonic() + 30
            while not [*made.glob("*/*.db")] and time.monotonic() < given_up:
                time.sleep(0.05)
            begun = [*made.iterdir()]
            running.terminate()
            code = running.wait(30)
        finally:
            running.kill()

    assert begun
    assert code == 143
    assert not [*made.iterdir()]


def test_a_report_that_would_be_a_folder_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    (tmp_path / "r.md").mkdir()

    done = evaluated(str(DATASET), "--output", "r.md", cwd=tmp_path)

    assert done.returncode == 7
    assert "this is a folder" in done.stderr


@pytest.mark.row("K9", part="figures")
@pytest.mark.row("R17", part="calibration")
def test_the_questions_of_knowledge_reach_the_floors_and_figures_and_calibration_are_printed(tmp_path: Path) -> None:
    floors = ("--floor", "sources=0.9", "--floor", "support=0.95", "--floor", "refusal=0.95")

    done = evaluated(str(DATASET.with_name("knowledge.jsonl")), *floors, cwd=tmp_path, LLM_MODE="local")

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"source accuracy \d+\.\d% .* support 100\.0% .* refusal \d+\.\d% .* leaks 0", done.stdout)
    assert re.search(r"confidence of \d+ answers: Brier score 0\.\d+, ECE 0\.\d+", done.stdout)


def test_a_floor_that_is_not_reached_ends_with_exit_code_1_and_one_nobody_knows_is_refused(shop: Path) -> None:
    asked = {"id": "a", "user": "ana", "input": "What does an umbrella cost?", "expected_sources": ["raincoats"]}
    path = cases_file(shop, asked)

    missed = evaluated(path, "--threshold", "0", "--floor", "sources=0.5", cwd=shop)
    unknown = evaluated(path, "--floor", "speed=0.5", cwd=shop)

    assert missed.returncode == 1
    assert "sources: 0.0% (0 of 1), 50.0% are asked" in missed.stdout
    assert (unknown.returncode, "a floor is 0 to 1" in unknown.stderr) == (7, True)


def test_failed_cases_of_a_set_that_nobody_should_tune_to_are_counted_and_not_shown(shop: Path) -> None:
    asked = {"id": "secret-case", "user": "ana", "input": "What does an umbrella cost?", "expected_sources": ["raincoats"]}
    path = cases_file(shop, asked)

    shown = evaluated(path, cwd=shop)
    counted = evaluated(path, "--no-cases", cwd=shop)

    assert (shown.returncode, counted.returncode) == (1, 1)
    assert "secret-case" in shown.stdout
    assert "secret-case" not in counted.stdout
    assert "0 of 1 cases passed" in counted.stdout


def test_without_rubrics_the_rest_of_a_case_is_judged_and_what_is_left_out_is_told(shop: Path) -> None:
    path = cases_file(shop, {"id": "a", "user": "ana", "input": "What does an umbrella cost?", "rubric": "Polite."})

    done = evaluated(path, "--no-rubrics", cwd=shop, LLM_MODE="local")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 rubrics are not graded" in done.stderr
