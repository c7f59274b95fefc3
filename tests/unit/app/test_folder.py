from __future__ import annotations

import sys
from pathlib import Path

import pytest

from quarterdeck.app.folder import build_tools
from quarterdeck.app.runtime import opened
from quarterdeck.core.errors import Misconfigured
from quarterdeck.settings import load

AGENT = "tools: [search_knowledge_base, {tool}]\nmodel: simulated\n"
TOOLS = """
from __future__ import annotations
from numbers_beside_it import ONE
from quarterdeck import tool

def build_tools(data):
    @tool(effect="read")
    def one() -> int:
        "Return one."
        return ONE
    return [one]
"""


def test_tools_of_a_folder_may_import_what_lies_beside_them(tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text(TOOLS)
    (tmp_path / "numbers_beside_it.py").write_text("ONE = 1\n")

    tools = build_tools(tmp_path, tmp_path)

    assert [tool.name for tool in tools] == ["one"]
    assert str(tmp_path) not in sys.path
    assert sorted(path.name for path in tmp_path.iterdir()) == ["numbers_beside_it.py", "tools.py"]


def test_folder_without_tools_has_none(tmp_path: Path) -> None:
    assert build_tools(tmp_path, tmp_path) == ()


BARE = """
def pay(iban: str) -> str:
    "Pay."
    return "paid"

def build_tools(data):
    return [pay]
"""


async def test_bare_function_of_the_tools_is_a_write_whose_result_is_untrusted(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "desk.yaml").write_text(AGENT.format(tool="pay"))
    (tmp_path / "tools.py").write_text(BARE)

    async with opened(load(tmp_path, {"LLM_MODE": "local"})) as runtime:
        pay = next(tool for tool in runtime.catalogue.tools if tool.name == "pay")

    assert (pay.effect, pay.risk_level) == ("write", "medium")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def build_tools(data):\n    return ['pay']\n", "a tool is a function"),
        ("x = 1\n", "must define build_tools"),
        ("import nothing_of_that_name\n", "ModuleNotFoundError"),
        ("def build_tools(data):\n    raise RuntimeError('no ticket system')\n", "RuntimeError: no ticket system"),
        ("def build_tools(:\n", "SyntaxError"),
    ],
)
def test_mistake_in_the_tools_is_told_with_the_file(tmp_path: Path, source: str, said: str) -> None:
    (tmp_path / "tools.py").write_text(source)

    with pytest.raises(Misconfigured, match=said) as caught:
        build_tools(tmp_path, tmp_path)

    assert str(tmp_path / "tools.py") in str(caught.value)


async def test_tools_there_are_not_are_told_for_every_agent_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    for name in ("one", "two"):
        (tmp_path / "agents" / f"{name}.yaml").write_text(AGENT.format(tool=f"nothing_{name}"))

    with pytest.raises(Misconfigured) as caught:
        async with opened(load(tmp_path, {"LLM_MODE": "local"})):
            pass

    first, second = str(caught.value).splitlines()
    assert first.startswith(f"{tmp_path / 'agents' / 'one.yaml'}: there is no tool 'nothing_one'")
    assert second.startswith(f"{tmp_path / 'agents' / 'two.yaml'}: there is no tool 'nothing_two'")


async def test_folder_without_a_policy_is_served_by_the_tools_own_declarations(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "one.yaml").write_text("tools: [search_knowledge_base]\n")

    async with opened(load(tmp_path, {"LLM_MODE": "local"})) as runtime:
        assert list(runtime.desk.agents) == ["one"]


def test_folder_in_place_of_the_tools_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "tools.py").mkdir()

    with pytest.raises(Misconfigured, match="is a folder"):
        build_tools(tmp_path, tmp_path)


@pytest.mark.row("L5", part="deterministic tools")
async def test_tools_that_only_compute_are_named_by_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "desk.yaml").write_text(AGENT.format(tool="one"))
    (tmp_path / "tools.py").write_text(TOOLS.replace("from numbers_beside_it import ONE", "ONE = 1"))
    (tmp_path / "quarterdeck.yaml").write_text("limits: {deterministic: {tools: [one]}}\n")

    async with opened(load(tmp_path, {"LLM_MODE": "local"})) as runtime:
        times = {tool.name: tool.timeout_s for tool in runtime.catalogue.tools}

    assert times["one"] == 0.05
    assert times["search_knowledge_base"] > 1


async def test_tool_of_the_lane_that_is_none_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "desk.yaml").write_text("model: simulated\n")
    (tmp_path / "quarterdeck.yaml").write_text("limits: {deterministic: {tools: [one]}}\n")

    with pytest.raises(Misconfigured, match=r"limits.deterministic.tools: there is no tool 'one'"):
        async with opened(load(tmp_path, {"LLM_MODE": "local"})):
            pass
