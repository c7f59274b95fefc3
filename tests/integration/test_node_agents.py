"""OpenAI's client in JavaScript against the server of agents: tools of the client, responses, vectors."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from quarterdeck.devtools.simulator import Traced
from tests.acceptance.conftest import Server, with_root
from tests.integration.test_node_client import project

pytest_plugins = ["quarterdeck.devtools.simulator.fixture"]
__all__ = ["project"]  # a fixture


@pytest.fixture
def server(tmp_path: Path, simulator: Traced) -> Iterator[Server]:
    """The example, whose vectors come from the simulator."""
    folder = with_root(tmp_path / "folder")
    settings: dict[str, Any] = yaml.safe_load((folder / "quarterdeck.yaml").read_text())
    provider = {"base_url": simulator.base_url, "api_key": "unused"}
    settings["models"] = {"mode": "local", "providers": {"acme": provider}}
    settings["knowledge"]["embedder"] = {"model": "acme:vectors", "dim": 64, "shorten": True}
    (folder / "quarterdeck.yaml").write_text(yaml.safe_dump(settings))
    started = Server(tmp_path / "data", folder=folder)
    try:
        started.start()
        yield started
    finally:
        started.stop()


@pytest.mark.row("S8", part="openai javascript")
def test_javascript_client_brings_tools_asks_for_responses_and_vectors(project: Path, server: Server) -> None:
    command = ["node", "agents.mjs", f"{server.url}/v1", server.key("root"), "acme:vectors"]

    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "chatCall": ["tool_calls", "get_weather", "Lisbon"],
        "chatGoesOn": ["chat.completion", True],
        "toolsRun": True,
        "chatStream": "get_weather",
        "responseCall": ["completed", "get_weather", "Lisbon"],
        "responseGoesOn": ["completed", True],
        "response": ["completed", True, True],
        "responseEnds": True,
        "responseAgain": True,
        "embeddings": [64, 64],
        "embeddingsAgree": True,
        "error": ["NotFoundError", 404, "model_not_found", "model"],
    }
