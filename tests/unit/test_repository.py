"""The repository itself: what importing costs, what the lock files hold, whether the documents' links lead anywhere."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import quarterdeck
from tests.rows import read_capabilities

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "quarterdeck").rglob("*.py"))
LOCKS = (
    "requirements.lock",
    "requirements-dev.lock",
    "requirements-bench.lock",
    "requirements-fleet.lock",
    "requirements-injection.lock",
)
# Each costs more CPU than `import quarterdeck` may in all, or belongs to one adapter only.
HEAVY = frozenset(
    "aiohttp fastapi starlette uvicorn structlog typer rich psycopg redis mcp yaml orjson "
    "numpy onnxruntime tokenizers qdrant_client prometheus_client".split()
)


def test_importing_the_library_loads_nothing_heavy() -> None:
    code = "import sys\nimport quarterdeck\nfrom quarterdeck import Agent, tool\nprint(*sys.modules)"

    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()

    assert HEAVY.isdisjoint(loaded)


def test_importing_the_library_says_nothing_and_touches_no_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import quarterdeck"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_core_imports_only_the_standard_library() -> None:
    foreign = {
        f"{path.name}: {name}"
        for path in SOURCES
        if path.is_relative_to(ROOT / "quarterdeck" / "core")
        for name in _imported(path)
        if name.split(".")[0] not in sys.stdlib_module_names and not name.startswith("quarterdeck.core")
    }

    assert foreign == set()


def test_only_the_settings_read_the_environment() -> None:
    reading = re.compile(r"os\.getenv|os\.environ(\.get|\[)|from os import .*(environ|getenv)")  # handing it on is not

    readers = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if path.parent.name != "settings" and reading.search(path.read_text(encoding="utf-8"))
    ]

    assert readers == []


def test_every_public_name_of_the_library_can_be_imported() -> None:
    missing = [name for name in quarterdeck.__all__ if getattr(quarterdeck, name, None) is None]

    assert missing == []
    assert list(quarterdeck.__all__) == sorted(quarterdeck.__all__)


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_files_hold_names_versions_and_hashes_only(lock: str) -> None:
    requirement = re.compile(r"[a-z0-9-]+==[\w.+!]+( ; [\w\s.<>=!'()]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?")

    strange = [line for line in (ROOT / lock).read_text().splitlines() if not requirement.fullmatch(line)]

    assert strange == []


@pytest.mark.parametrize(
    ("lock", "groups"),
    [
        (LOCKS[0], ["build"]),
        (LOCKS[1], ["dev", "build"]),
        (LOCKS[2], ["bench", "dev", "build"]),
        (LOCKS[3], ["build"]),
        (LOCKS[4], ["bench-injection", "build"]),
    ],
)
def test_every_declared_dependency_is_locked(lock: str, groups: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["server"]]
    wanted += [line for group in groups for line in project["dependency-groups"][group] if isinstance(line, str)]

    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / lock).read_text(), re.MULTILINE))

    assert {re.split(r"[\[<>=!~ ]", line)[0].lower().replace("_", "-") for line in wanted} <= locked


def test_both_lock_files_of_a_package_agree_on_its_version() -> None:
    pins: dict[str, set[frozenset[str]]] = {}
    for lock in LOCKS[:4]:  # the last is of an environment of its own, whose packages want other versions
        versions: dict[str, set[str]] = {}  # several where markers tell which Python takes which
        for name, version in re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE):
            versions.setdefault(name, set()).add(version)
        for name, found in versions.items():
            pins.setdefault(name, set()).add(frozenset(found))

    assert {name: found for name, found in pins.items() if len(found) > 1} == {}


def test_make_without_a_target_lists_the_commands() -> None:
    listed = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert {"run", "test", "eval", "check", "bench", "chaos", "rows"} <= set(
        re.findall(r"^ *make (\w+)", listed, re.MULTILINE)
    )


def test_links_between_documents_lead_to_files() -> None:
    dead = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]

    assert dead == []


def test_every_page_of_the_documents_is_found_from_the_first() -> None:
    first = ROOT / "docs" / "index.md"
    linked = re.findall(r"\]\(([\w/.-]+\.md)\)", first.read_text(encoding="utf-8"))
    pages = {page.relative_to(first.parent).as_posix() for page in first.parent.rglob("*.md") if page != first}

    assert sorted(page for page in pages - set(linked) if not page.startswith("decisions/")) == []


def test_decisions_are_numbered_once() -> None:
    numbers = [page.name[:4] for page in (ROOT / "docs" / "decisions").glob("*.md")]

    assert sorted(numbers) == sorted(set(numbers))
    assert all(number.isdigit() for number in numbers)


def test_rows_that_tests_show_are_in_the_list_of_capabilities() -> None:
    listed = {capability.row: capability for capability in read_capabilities(ROOT / "docs" / "capabilities.md")}

    strays = {row for row, _ in _row_marks() if row not in listed}

    assert strays == set()


def test_the_list_names_just_the_parts_that_tests_show() -> None:
    shown: dict[str, set[str]] = {}
    for row, part in _row_marks():
        shown.setdefault(row, set()).update({part} if part else ())

    listed = {capability.row: set(capability.parts) for capability in read_capabilities(ROOT / "docs" / "capabilities.md")}

    assert listed == shown


def _row_marks() -> set[tuple[str, str | None]]:
    """Row and part of every mark in the tests, read from their source: imports would need every engine's client."""
    marks: set[tuple[str, str | None]] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.row":
                part = next((ast.literal_eval(keyword.value) for keyword in node.keywords if keyword.arg == "part"), None)
                marks.add((ast.literal_eval(node.args[0]), part))
    return marks


def _imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names
