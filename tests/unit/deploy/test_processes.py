"""Processes of the fleet: started, known again, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.processes import FleetError, Identity, Process, Program, until
from deploy.record import Part, Record, restart, sweep

ROOT = Path(__file__).parents[3]
SLEEP = ("import time", "time.sleep(60)")


def program(*lines: str, name: str = "puppet", stop_s: float = 5.0) -> Program:
    return Program(name=name, kind="puppet", command=(sys.executable, "-c", "\n".join(lines)), stop_s=stop_s)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Process]]:
    """What a test puts in here is stopped afterwards."""
    processes: list[Process] = []
    yield processes
    for process in processes:
        process.ask_to_stop()
        process.await_end()


def begin(started: list[Process], folder: Path, program: Program) -> Process:
    process = Process(program, logs=folder, private=folder)
    started.append(process)
    process.start()
    return process


def test_program_is_ready_once_it_said_a_line_of_json(started: list[Process], tmp_path: Path) -> None:
    said = 'import sys\nsys.stdin.read()\nprint(\'{"url": "here"}\', flush=True)'

    process = begin(started, tmp_path, program(said, *SLEEP))

    assert until(process.look, 10.0)
    assert process.announced == {"url": "here"}


def test_what_a_program_announces_stays_out_of_its_log(started: list[Process], tmp_path: Path) -> None:
    process = begin(
        started, tmp_path, program("import sys", "print('\"a key\"', flush=True)", "print('why', file=sys.stderr)")
    )

    assert until(lambda: process.ended is not None, 10.0)
    assert process.look()
    assert "why" in process.tail()
    assert "a key" not in process.tail()


def test_program_that_does_not_stop_is_killed_with_what_it_started(started: list[Process], tmp_path: Path) -> None:
    stubborn = (
        "import signal, subprocess, sys",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])",
        "print(child.pid, flush=True)",
        *SLEEP,
    )
    process = begin(started, tmp_path, program(*stubborn, stop_s=0.1))
    assert until(process.look, 10.0)
    child = Identity.of(process.announced)

    process.ask_to_stop()
    process.await_end()

    assert process.ended == -signal.SIGKILL
    assert until(lambda: child.process() is None, 5.0)


def test_number_that_was_given_to_another_process_is_nobody_we_know() -> None:
    ours = Identity.of(os.getpid())

    assert ours.process() is not None
    assert Identity(pid=ours.pid, started=ours.started - 5).process() is None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the next start cleans up")
def test_killed_fleet_takes_its_processes_along(tmp_path: Path) -> None:
    fleet = f"""
        from pathlib import Path
        from deploy.processes import Process, Program
        child = Program(name="child", kind="puppet", command={(sys.executable, "-c", "; ".join(SLEEP))!r}, stdin=b"")
        process = Process(child, logs=Path({str(tmp_path)!r}), private=Path({str(tmp_path)!r}))
        process.start()
        print(process.identity.pid, flush=True)
        input()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(fleet)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout is not None
        child = Identity.of(int(killed.stdout.readline()))

        killed.kill()
        killed.wait(10)

    assert until(lambda: child.process() is None, 5.0)


def test_next_start_ends_what_a_killed_fleet_left_behind_and_nobody_else(started: list[Process], tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    left, other = (begin(started, tmp_path, program(*SLEEP, name=name)) for name in ("left", "other"))
    assert left.identity is not None
    assert other.identity is not None
    reused = Identity(pid=other.identity.pid, started=other.identity.started - 60)
    Record(
        fleet=Identity(pid=os.getpid(), started=0.0),
        url="http://127.0.0.1:1",
        data=data,
        parts=(_part("left", left.identity), _part("other", reused), _part("never", None)),
    ).write(tmp_path)

    sweep(tmp_path)

    assert left.ended is not None
    assert other.ended is None
    assert not data.exists()
    assert Record.read(tmp_path) is None


def test_running_fleet_is_not_swept_away(tmp_path: Path) -> None:
    Record(fleet=Identity.of(os.getpid()), url="http://127.0.0.1:1", data=tmp_path / "data", parts=()).write(tmp_path)

    with pytest.raises(FleetError, match=r"a fleet is running at http://127\.0\.0\.1:1"):
        sweep(tmp_path)


def test_restart_of_a_part_nobody_knows_says_which_there_are(tmp_path: Path) -> None:
    parts = (_part("api-1", Identity.of(os.getpid())), _part("worker-1", None))
    Record(fleet=Identity.of(os.getpid()), url="http://127.0.0.1:1", data=tmp_path / "data", parts=parts).write(tmp_path)

    with pytest.raises(FleetError, match=r"there is no 'api-9'; there are: api-1, worker-1"):
        list(restart(tmp_path, ("api-9",)))


def test_record_reads_back_as_it_was_written(tmp_path: Path) -> None:
    record = Record(
        fleet=Identity.of(psutil.Process().pid),
        url="http://127.0.0.1:1",
        data=tmp_path / "data",
        parts=(_part("api-1", Identity(pid=7, started=1.5)), _part("api-2", None)),
    )

    record.write(tmp_path)

    assert Record.read(tmp_path) == record


def _part(name: str, identity: Identity | None) -> Part:
    return Part(name=name, kind="api", url=None, identity=identity, ready=True, starts=1)
