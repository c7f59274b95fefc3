"""Commands to runs hold over the death of the server, from HTTP and from the command line."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import QUARTERDECK, Server, environment

TICKET = "Please open a ticket because my laptop does not charge."


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data")
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _comes_to(server: Server, run_id: str, status: str) -> Any:
    deadline = time.monotonic() + 20
    while (run := server.send("GET", f"/api/v1/runs/{run_id}").json)["status"] != status:
        assert time.monotonic() < deadline, run
        time.sleep(0.02)
    return run


@pytest.mark.row("L2", part="pause")
def test_a_paused_run_rests_over_kill_9_and_over_its_approval_until_it_is_resumed(fresh: Server) -> None:
    asked = fresh.ask(TICKET)
    run_id, (draft_id,) = asked["run_id"], asked["drafts"]
    paused = fresh.send("POST", f"/api/v1/runs/{run_id}/pause", {"reason": "wait for the audit"})
    _comes_to(fresh, run_id, "paused")

    fresh.stop(signal.SIGKILL)
    fresh.start()
    decided = fresh.send("POST", f"/api/v1/approvals/{draft_id}/decisions", {"approved": True}, user="omar")
    rests = fresh.send("GET", f"/api/v1/runs/{run_id}").json
    resumed = fresh.send("POST", f"/api/v1/runs/{run_id}/resume")
    run = fresh.ended(run_id)

    assert (paused.status, decided.status, resumed.status) == (202, 200, 202)
    assert (rests["status"], rests["stop_reason"], rests["tool_calls_made"]) == ("paused", "paused", [])
    assert (run["status"], [call["success"] for call in run["tool_calls_made"]]) == ("done", [True])


@pytest.mark.row("L2", part="cancel")
def test_a_paused_run_is_cancelled_from_the_command_line_after_kill_9(fresh: Server) -> None:
    run_id = fresh.ask(TICKET)["run_id"]
    fresh.send("POST", f"/api/v1/runs/{run_id}/pause")
    _comes_to(fresh, run_id, "paused")
    fresh.stop(signal.SIGKILL)
    fresh.start()

    told = subprocess.run(
        [*QUARTERDECK, "runs", "cancel", run_id, "--reason", "not needed", "--json"],
        capture_output=True,
        text=True,
        env=environment(QUARTERDECK_URL=fresh.url, QUARTERDECK_KEY=fresh.key("omar")),
        timeout=60,
    )

    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["run_id"] == run_id
    assert fresh.ended(run_id)["status"] == "cancelled"
