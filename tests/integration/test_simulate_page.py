"""The examples of docs/howto/simulate.md are run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.devtools.simulator import Fault, load_script, read_script
from quarterdeck.devtools.simulator.faults import parse_fault
from quarterdeck.devtools.simulator.misbehaviour import MISBEHAVIOURS
from tests.unit.devtools.simulator.asking import chat, send, simulator

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "simulate.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


async def test_script_of_the_page_is_read_and_answers() -> None:
    script = read_script(blocks("yaml")[0])
    app = simulator(scripts=[script])

    heard = await send(app, "/v1/chat/completions", chat("Do it once."))

    assert heard.json["choices"][0]["message"]["content"] == "Only once."
    assert heard.json["choices"][0]["message"]["reasoning_content"] == "I have seen this before."
    assert script.faults == [Fault(kind="cut", request=3, after_chunk=5)]


async def test_script_in_python_of_the_page_answers(tmp_path: Path) -> None:
    path = tmp_path / "shop.py"
    path.write_text(blocks("python")[0], encoding="utf-8")
    app = simulator(scripts=[load_script(path)])

    heard = await send(app, "/v1/chat/completions", chat("The weather?"))
    lost = await send(app, "/v1/chat/completions", chat("The time?"))

    assert heard.json["choices"][0]["message"]["content"] == "It rains."
    assert lost.error["type"] == "simulator_error"


def test_test_of_the_page_passes(tmp_path: Path) -> None:
    (tmp_path / "test_shop.py").write_text(blocks("python")[1], encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shop.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert "1 passed" in done.stdout, done.stdout + done.stderr


async def test_embedded_example_of_the_page_runs() -> None:
    names: dict[str, Any] = {}
    exec(compile(blocks("python")[2], "simulate.md", "exec"), names)

    base_url = await names["with_a_port"]()
    heard = await send(names["application"], "/v1/chat/completions", chat())

    assert base_url.startswith("http://127.0.0.1:")
    assert heard.json["choices"][0]["message"]["content"] == "Hello."


@pytest.mark.parametrize("text", re.findall(r"(?:--fault|X-Sim-Fault:) ?'?([^'\n]+)'", PAGE))
def test_every_fault_of_the_page_is_one(text: str) -> None:
    assert parse_fault(text).kind


def test_every_misbehaving_model_is_listed_on_the_page() -> None:
    listed = set(re.findall(r"`(sim-[a-z-]+)`", PAGE))

    assert listed == {*MISBEHAVIOURS, "sim-obey", "sim-lie"}
