"""One program of the fleet: started with a log of its own, watched, stopped, and never left behind."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

__all__ = ["FleetError", "Identity", "Process", "Program", "until"]

_TAIL_LINES = 20
_PR_SET_PDEATHSIG = 1
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


class FleetError(Exception):
    """Something the fleet needs is missing, or did not start; the message is for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A process beyond its number, which the system gives to another one later.

    Attributes:
        started: Its creation time in seconds since 1970, as psutil tells it.
    """

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> Identity:
        return cls(pid=pid, started=psutil.Process(pid).create_time())

    def process(self) -> psutil.Process | None:
        """The process if it still runs; a zombie has ended."""
        with contextlib.suppress(psutil.NoSuchProcess):
            found = psutil.Process(self.pid)
            if abs(found.create_time() - self.started) < 0.01 and found.status() != psutil.STATUS_ZOMBIE:
                return found
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is started and how one knows that it serves.

    Attributes:
        kind: What it counts among: ``api``, ``worker``, ``nginx``, ...
        answers: True once it serves; None for a program that says so itself with a line of JSON on standard output.
        url: Where a replica is reached past nginx; None for others.
        stdin: Its configuration, where that must be in no file and no list of processes.
        login: User it runs as; None for ours.
        stop_with: Signal that ends it in order.
        stop_s: Seconds it gets for that; then it is killed.
        orphaned: Signal it gets from the system when the fleet's own process is gone.
    """

    name: str
    kind: str
    command: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)
    answers: Callable[[], bool] | None = None
    url: str | None = None
    stdin: bytes = b""
    login: str | None = None
    stop_with: signal.Signals = signal.SIGTERM
    stop_s: float = 5.0
    orphaned: signal.Signals = signal.SIGTERM


class Process:
    """One program, running or not.

    Args:
        logs: Folder for its log, which is begun anew at the first start and continued at later ones.
        private: Folder only we can read: what a program announces may hold keys.
    """

    def __init__(self, program: Program, *, logs: Path, private: Path) -> None:
        self.program = program
        self.starts = 0
        self.identity: Identity | None = None
        self.ready = False
        self._log = logs / f"{program.name}.log"
        self._said = private / f"{program.name}.out"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program, mode = self.program, "ab" if self.starts else "wb"
        with self._log.open(mode) as log, self._said.open("wb") as said:
            self._process = subprocess.Popen(  # noqa: S603 - commands of our own, no shell
                program.command,
                stdin=subprocess.PIPE if program.stdin else subprocess.DEVNULL,
                stdout=said if program.answers is None else log,
                stderr=log,
                env=dict(program.environ),
                user=program.login,
                start_new_session=True,  # an interrupt at the terminal is for the fleet, which stops the rest in order
                preexec_fn=_dying_with(os.getpid(), program.orphaned),
            )
        if program.stdin:
            assert self._process.stdin is not None
            self._process.stdin.write(program.stdin)
            self._process.stdin.close()
        self.starts += 1
        self.ready = False
        self.identity = Identity.of(self._process.pid)

    @property
    def ended(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        return self._process.poll() if self._process is not None else 0

    def look(self) -> bool:
        """Ask whether it serves by now."""
        if not self.ready:
            answers = self.program.answers
            self.ready = self.announced is not None if answers is None else answers()
        return self.ready

    @property
    def announced(self) -> Any:
        """The line of JSON it said when it was ready; None before."""
        said = self._said.read_bytes()
        return json.loads(said.partition(b"\n")[0]) if b"\n" in said else None

    def tail(self) -> str:
        """The last lines of its log, for a person."""
        lines = self._log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        return f"the last lines of {self._log}:\n" + "\n".join(f"  {line}" for line in lines)

    def ask_to_stop(self) -> None:
        if self.ended is None and self._process is not None:
            self._process.send_signal(self.program.stop_with)

    def await_end(self) -> None:
        """Wait until it has ended, and end it with all it started if it takes too long."""
        if self._process is None:
            return
        try:
            self._process.wait(self.program.stop_s)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self.identity = None
        self.ready = False


def until(holds: Callable[[], bool], within_s: float) -> bool:
    """Whether it holds within that time."""
    end = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _dying_with(parent: int, how: signal.Signals) -> Callable[[], None] | None:
    """A fleet that is killed tidies nothing up; on Linux the system does it then. Elsewhere the next start does."""
    if _PRCTL is None:
        return None

    def ask() -> None:
        _PRCTL(_PR_SET_PDEATHSIG, how)
        if os.getppid() != parent:  # it was faster
            os._exit(1)

    return ask
