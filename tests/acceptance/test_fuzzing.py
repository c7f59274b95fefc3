"""Requests made from the description of the interface: none breaks the server, and no answer differs from what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Server, environment, with_root

SECONDS = int(os.environ.get("FUZZ_S", "60"))  # `make fuzz` takes longer
# It takes addresses to fetch documents from, and tests stay on this machine.
FETCHES = "/api/v1/documents/import"
# A run that waits for a person keeps its stream open.
STAYS_OPEN = "/api/v1/runs/{run_id}/events"
# Requests of the right form may still be refused for what they mean.
JUDGED_BY_MEANING = "positive_data_acceptance"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Server]:
    """A server that lets nobody in without a key, and somebody who may do everything."""
    server = Server(
        data=tmp_path / "data",
        folder=with_root(tmp_path / "folder"),
        environ={"ENV": "staging", "QUARTERDECK_LOG__LEVEL": "warning"},
    )
    server.start()
    yield server
    server.stop()


@pytest.mark.row("S14", part="fuzzed")
def test_no_request_breaks_the_server_or_is_answered_otherwise_than_described(guarded: Server, tmp_path: Path) -> None:
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{guarded.url}/openapi.json", "--no-color"),
        *("--header", f"Authorization: Bearer {guarded.key('root')}"),
        *("--phases", "examples,coverage,fuzzing", "--mode", "all", "--seed", "20", "--max-examples", "1000"),
        *("--max-time", str(SECONDS), "--no-shrink", "--continue-on-failure", "--request-timeout", "30"),
        *("--generation-database", "none", "--exclude-checks", JUDGED_BY_MEANING, "--warnings", "off"),
        *("--exclude-path", FETCHES, "--exclude-path", STAYS_OPEN),
    ]

    fuzzed = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=SECONDS + 120, check=False
    )

    assert fuzzed.returncode == 0, fuzzed.stdout[-20_000:]
    assert guarded.send("GET", "/health").status == 200
    assert "Traceback" not in (guarded.data / "log").read_text()
