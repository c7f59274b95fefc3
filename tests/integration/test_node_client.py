"""OpenAI's client in JavaScript against the simulator."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from quarterdeck.devtools.simulator import Traced

pytest_plugins = ["quarterdeck.devtools.simulator.fixture"]

NODE = Path(__file__).parent / "node"
PLAY = """
steps:
  - when: {after: get_weather}
    answer: "It says: $result"
  - when: {message: weather}
    call: {tool: get_weather, arguments: {city: Paris}}
  - when: {message: parse}
    structured: {city: Rome}
  - answer: Good day to you.
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the client installed as the lock file says, from whatever registry npm is set to."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed: apt-get install nodejs npm")
    folder = tmp_path_factory.mktemp("node")
    for path in NODE.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.row("D1", part="official clients")
def test_javascript_client_chats_streams_calls_parses_and_retries(project: Path, simulator: Traced) -> None:
    simulator.play(PLAY)
    simulator.fault("429 request=11 retry_after_s=0.05")

    done = subprocess.run(
        ["node", "client.mjs", simulator.base_url], cwd=project, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "chat": "Good day to you.",
        "stream": "Good day to you.",
        "usageAgrees": True,
        "tools": "It says: sunny in Paris",
        "fragments": ['{"city":"Paris"}'],
        "parsed": {"city": "Rome"},
        "responses": "Good day to you.",
        "responsesStream": "Good day to you.",
        "embeddings": [1536, 1536],
        "error": ["BadRequestError", 400, "temperature", "decimal_above_max_value"],
        "retried": "Good day to you.",
    }
    assert 429 in [entry.status for entry in simulator.requests()]


def test_what_is_committed_names_no_registry() -> None:
    lock = json.loads((NODE / "package-lock.json").read_text(encoding="utf-8"))

    locked = [package for name, package in lock["packages"].items() if name]
    assert all("resolved" not in package and package["integrity"] for package in locked)
    assert "://" not in (NODE / "package-lock.json").read_text(encoding="utf-8")
