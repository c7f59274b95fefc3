"""A server that can write nothing more: what it says, what it keeps, and how it goes on once there is room."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import pytest

from .conftest import Answer, Server

QUESTION = "How do I report phishing?"
ORDER = "Please open a ticket because my laptop does not charge."
SOON = {"X-Request-Timeout-Ms": "2000"}  # for who waits for a run that was begun and cannot go on
LOADS = 4


class Disk(Protocol):
    """Where a server's data rest, with an end to it."""

    def fill(self, server: Server) -> None: ...

    def free(self, server: Server) -> None: ...


class SmallFileSystem:
    """A file system of its own, filled by a file that has nothing to do with the server."""

    def __init__(self, folder: Path) -> None:
        self._filler = folder / "filler"

    def fill(self, server: Server) -> None:
        with suppress(OSError), self._filler.open("ab", buffering=0) as filler:
            while True:
                filler.write(b"x" * 4096)

    def free(self, server: Server) -> None:
        self._filler.unlink()


class SmallFiles:
    """The system lets the server write no file beyond its first page, so that nothing can be added anywhere."""

    def fill(self, server: Server) -> None:
        self._limit(server, 4096)

    def free(self, server: Server) -> None:
        self._limit(server, resource.RLIM_INFINITY)

    def _limit(self, server: Server, size: int) -> None:
        assert server.process is not None
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.fixture(params=["file system", "file size"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    if request.param == "file size":
        yield SmallFiles()
        return
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a file system cannot be mounted here")
    try:
        yield SmallFileSystem(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def server(disk: Disk, tmp_path: Path) -> Iterator[Server]:
    started = Server(tmp_path / "disk" / "data")
    started.start()
    try:
        yield started
    finally:
        started.stop()


@pytest.mark.row("S1", part="full disk")
def test_a_full_disk_refuses_what_is_new_and_loses_nothing_and_room_needs_no_restart(
    server: Server, disk: Disk, figure: Callable[[str], None]
) -> None:
    waiting = server.ask(ORDER)
    with _Load(server) as load:
        load.until(20)
        disk.fill(server)
        _until_full(server)
        refused = [_timed(server) for _ in range(5)]
        ready, alive = server.send("GET", "/ready"), server.send("GET", "/health")
        read = server.send("GET", f"/api/v1/runs/{waiting['run_id']}")
        disk.free(server)
        freed = time.monotonic()
        while server.send("POST", "/chat", {"message": QUESTION}, headers=SOON).status != 200:
            assert time.monotonic() < freed + 30
        again_s = time.monotonic() - freed
    (draft,) = waiting["drafts"]
    decided = server.send("POST", f"/api/v1/approvals/{draft}/decisions", {"approved": True}, user="omar")

    assert [(answer.status, answer.json["error"]["code"]) for answer, _ in refused] == [(503, "store_unavailable")] * 5
    assert all(int(answer.headers["retry-after"]) >= 1 for answer, _ in refused)
    assert (ready.status, alive.status, read.status) == (503, 200, 200)
    assert load.odd == []
    assert decided.status == 200
    assert again_s < 5.0
    known = [*load.acknowledged, waiting["run_id"]]
    assert {server.ended(run_id)["status"] for run_id in known} == {"done"}
    server.stop(signal.SIGKILL)
    server.start()
    assert {server.send("GET", f"/api/v1/runs/{run_id}").json["status"] for run_id in known} == {"done"}
    assert _sound(server.data)
    slowest_s = max(took_s for _, took_s in refused)
    figure(
        f"refused within {slowest_s:.2f} s (≤ 1), served {again_s:.2f} s after there was room (≤ 5); "
        f"{len(known)} runs that clients knew of, none lost"
    )
    assert slowest_s < 1.0


def _until_full(server: Server) -> None:
    """Ask until the first refusal: in a write-ahead log that was longer before there is room for a while."""
    deadline = time.monotonic() + 60
    while (answer := server.send("POST", "/chat", {"message": QUESTION}, headers=SOON)).status != 503:
        assert answer.status in (200, 504), answer.body
        assert time.monotonic() < deadline


def _timed(server: Server) -> tuple[Answer, float]:
    began = time.monotonic()
    answer = server.send("POST", "/chat", {"message": QUESTION}, headers=SOON)
    return answer, time.monotonic() - began


def _sound(data: Path) -> bool:
    connection = sqlite3.connect(data / "quarterdeck.db")
    (said,) = connection.execute("PRAGMA integrity_check").fetchone()
    connection.close()
    return bool(said == "ok")


class _Load:
    """People who ask all the while, and read the stream of what comes.

    Attributes:
        acknowledged: Runs they were told of, whatever came afterwards.
        odd: Answers that are neither good nor a refusal that says why.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(LOADS)]
        self.acknowledged: list[str] = []
        self.odd: list[str] = []

    def __enter__(self) -> _Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def until(self, runs: int) -> None:
        deadline = time.monotonic() + 30
        while len(self.acknowledged) < runs:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def _ask(self) -> None:
        while not self._over.is_set():
            try:
                answer = self._server.send("POST", "/api/v1/agent/stream", {"query": QUESTION})
            except OSError as error:
                self.odd.append(repr(error))
                continue
            if answer.status == 200:
                self.acknowledged.append(answer.headers["x-run-id"])
            elif answer.status != 503 or answer.json["error"]["code"] != "store_unavailable":
                self.odd.append(f"{answer.status} {answer.body[:500]!r}")
