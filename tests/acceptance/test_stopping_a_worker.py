"""SIGTERM to a worker in the middle of its work: it ends what may not be cut, another goes on, nothing is done twice."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from .conftest import QUARTERDECK, Server, environment

TOOLS = '''
import asyncio
from pathlib import Path

from quarterdeck import tool


def build_tools(data: Path):
    def note(what):
        with (data / "world").open("a") as world:
            world.write(what + "\\n")

    async def wait():
        while not (data / "go").exists():
            await asyncio.sleep(0.02)

    @tool(effect="read", timeout_s=60)
    async def look_up_stock(part: str) -> str:
        """Look up how many pieces of a part are in stock."""
        note("read begins")
        await wait()
        note("read ends")
        return "There are 7 pieces in stock."

    @tool(effect="write", needs_approval=True, timeout_s=60)
    async def reserve_part(part: str) -> str:
        """Reserve a part."""
        note("write begins")
        await wait()
        note("write ends")
        return "The part is reserved."

    return [look_up_stock, reserve_part]
'''
FILES = {
    "quarterdeck.yaml": "name: store\nstore: {data: data}\n",
    "agents/store.yaml": "name: store\ninstructions: Help.\ntools: [look_up_stock, reserve_part]\nretrieve: never\n",
    "users.yaml": """
users:
  - {id: emma, scopes: [chat], key: generated, default: true}
  - {id: omar, roles: [approver], scopes: [approvals], key: generated}
""",
    "tools.py": TOOLS,
}


@dataclass
class Site:
    """A folder, a replica that only serves, and workers as they are wanted."""

    replica: Server
    folder: Path
    environ: dict[str, str]
    workers: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def world(self) -> list[str]:
        path = self.replica.data / "world"
        return path.read_text().splitlines() if path.exists() else []

    def work(self, **environ: str) -> subprocess.Popen[str]:
        command = [*QUARTERDECK, "worker", str(self.folder), "--data", str(self.replica.data), "--json"]
        with (self.folder / "worker.log").open("a") as log:
            worker = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment(**self.environ, **environ)
            )
        assert worker.stdout is not None
        assert worker.stdout.readline(), (self.folder / "worker.log").read_text()
        self.workers.append(worker)
        return worker

    def begin(self, question: str) -> str:
        body = {"query": question, "options": {"timeout_s": 0.1}}
        assert self.replica.send("POST", "/api/v1/agent/query", body).status in (200, 202)
        (newest, *_) = self.replica.send("GET", "/api/v1/runs").json["runs"]
        return str(newest["run_id"])

    def go(self) -> None:
        (self.replica.data / "go").touch()


def until(happens: Callable[[], Any], seconds: float = 20.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := happens()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


@pytest.fixture
def site(tmp_path: Path, postgres_url: str) -> Iterator[Site]:
    folder = tmp_path / "site"
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    environ = {"DATABASE_URL": postgres_url, "QUARTERDECK_WORKER__IN_SERVER": "false"}
    replica = Server(tmp_path / "data", environ, folder=folder)
    replica.start()
    made = Site(replica, folder, environ)
    try:
        yield made
    finally:
        for worker in made.workers:
            if worker.poll() is None:
                worker.kill()
            worker.wait()
            assert worker.stdout is not None
            worker.stdout.close()
        replica.stop()


@pytest.mark.row("S13", part="SIGTERM to a worker")
def test_a_read_that_ends_in_time_is_not_made_again(site: Site) -> None:
    first = site.work()
    run_id = site.begin("How many pieces of part X7 are in stock?")
    until(lambda: "read begins" in site.world)

    first.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    site.go()
    code = first.wait(20)
    site.work()
    run = site.replica.ended(run_id)

    assert code == 0
    assert site.world == ["read begins", "read ends"]
    assert (run["status"], [call["success"] for call in run["tool_calls_made"]]) == ("done", [True])


@pytest.mark.row("S13", part="SIGTERM to a worker")
def test_a_read_that_does_not_end_in_time_is_cut_and_made_by_another_worker(site: Site) -> None:
    first = site.work(QUARTERDECK_WORKER__STOP_S="0.5")
    run_id = site.begin("How many pieces of part X7 are in stock?")
    until(lambda: "read begins" in site.world)

    began = time.monotonic()
    first.send_signal(signal.SIGTERM)
    code = first.wait(20)
    took = time.monotonic() - began
    site.go()
    site.work()
    run = site.replica.ended(run_id)

    assert code == 0
    assert took < 5
    assert site.world == ["read begins", "read begins", "read ends"]
    assert run["status"] == "done"


@pytest.mark.row("S13", part="SIGTERM to a worker")
def test_a_write_that_began_is_left_to_end_and_is_done_once(site: Site) -> None:
    first = site.work()
    run_id = site.begin("Please reserve part X7.")
    (draft,) = until(lambda: site.replica.send("GET", "/api/v1/approvals", user="omar").json["approvals"])
    site.replica.send("POST", f"/api/v1/approvals/{draft['id']}/decisions", {"approved": True}, user="omar")
    until(lambda: "write begins" in site.world)

    first.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    site.go()
    code = first.wait(20)
    site.work()
    run = site.replica.ended(run_id)

    assert code == 0
    assert site.world == ["write begins", "write ends"]
    assert (run["status"], [call["success"] for call in run["tool_calls_made"]]) == ("done", [True])
