"""The fleet: which programs there are, in which order they start and stop, and that one which ends is started again."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.engines import Nginx, Postgres, Redis, answers_at, find_or_install, free_port
from deploy.processes import FleetError, Identity, Process, Program, until
from deploy.record import Part, Record

__all__ = ["Fleet", "Plan", "Unwanted"]

QUARTERDECK = (sys.executable, "-c", "from quarterdeck.cli import main; main()")
_START_S = 60.0
_AGAIN_S = 1.0  # between two starts of one that does not stay
_DRAIN_S = 30.0  # a replica and a worker stop within that by themselves
# What a shell may hold for a single server, and the fleet gives each process itself.
_OWN = ("PORT", "DATABASE_URL", "REDIS_URL", "VECTOR_DB_URL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to start.

    Attributes:
        folder: Configuration folder that is served.
        home: Folder for logs and the record; kept afterwards.
        port: Of the one address; 0 for a free one.
        model_latency_s: Seconds until each reply of a simulated provider; None for what the configuration names.
        environ: What replicas and workers get beside their own.
    """

    folder: Path
    home: Path
    port: int = 8080
    replicas: int = 3
    workers: int = 2
    model_latency_s: float | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


class Unwanted(Exception):
    """The fleet was told to stop while it was still starting."""


class Fleet:
    """All processes of a plan. What they store lies in a temporary folder and is gone once the fleet is stopped.

    Args:
        stopping: True once it is not wanted any more.
    """

    def __init__(self, plan: Plan, stopping: Callable[[], bool]) -> None:
        self._plan = plan
        self._stopping = stopping
        self._provider = free_port() if plan.model_latency_s is not None else None
        self._port = plan.port or free_port()
        self._processes: list[Process] = []
        self._data: Path | None = None
        self._written: Record | None = None
        self._again_at: dict[str, float] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def keys(self) -> Path:
        """File with a line for each user: name and API key."""
        return self._folder / "server" / "keys"

    def start(self) -> None:
        """Start everything and wait until it serves. Whatever comes out of it, `stop` has to follow.

        Raises:
            FleetError: Something is missing or did not start; the message has the end of its log.
            Unwanted: It is to stop already.
        """
        if answers_at(self._port):
            raise FleetError(f"port {self._port} is taken; choose another one: PORT=8081 make fleet")
        paths = find_or_install({"nginx": "nginx-light", "redis-server": "redis-server"})
        # Others may pass through, for Postgres, which is somebody else when we are root; what lies in it is closed to them.
        self._data = Path(tempfile.mkdtemp(prefix="quarterdeck-fleet-"))
        self._data.chmod(0o711)
        (self._data / "said").mkdir(mode=0o700)
        self._record()  # from now on there is something to clean up
        postgres = Postgres.prepared(self._data / "postgres")
        redis = Redis.prepared(paths["redis-server"], self._data / "redis")
        self._serve([postgres.program(), redis.program(), *self._simulator()])

        shared = {
            **{name: value for name, value in self._plan.environ.items() if name not in _OWN},
            **self._model(),
            "QUARTERDECK_STORE__DATABASE_URL": postgres.url,
            "QUARTERDECK_STORE__REDIS_URL": redis.url,
            "QUARTERDECK_KNOWLEDGE__INDEX_URL": postgres.url,
            "QUARTERDECK_WORKER__IN_SERVER": "false",
        }
        ports = tuple(free_port() for _ in range(self._plan.replicas))
        self._serve(
            [
                *(self._worker(f"worker-{number + 1}", shared) for number in range(self._plan.workers)),
                *(self._replica(f"api-{number + 1}", port, shared) for number, port in enumerate(ports)),
            ]
        )
        self._serve([Nginx(paths["nginx"], self._data / "nginx", self._port, ports).program()])
        if not self._until(lambda: _ready(self.url)):
            raise FleetError(f"{self.url}/ready does not become 200; see the logs in {self._plan.home}")

    def keep_up(self) -> None:
        """Start again what ends, until the fleet is not wanted any more."""
        while not self._stopping():
            for process in self._processes:
                if process.ended is None:
                    process.look()
                elif time.monotonic() >= self._again_at.get(process.program.name, 0.0):
                    self._again_at[process.program.name] = time.monotonic() + _AGAIN_S
                    process.start()
            self._record()
            time.sleep(0.05)

    def stop(self) -> None:
        """End everything: first the replicas, whose clients still get their answers, the stores last."""
        for kinds in (("api",), ("worker",), ("nginx",), ("simulator", "redis"), ("postgres",)):
            ending = [process for process in self._processes if process.program.kind in kinds]
            for process in ending:
                process.ask_to_stop()
            for process in ending:
                process.await_end()
        if self._data is not None:
            shutil.rmtree(self._data, ignore_errors=True)
            Record.remove(self._plan.home)

    @property
    def _folder(self) -> Path:
        if self._data is None:
            raise FleetError("the fleet is not started")
        return self._data

    def _serve(self, programs: Iterable[Program]) -> None:
        """Start them side by side and wait until all serve."""
        begun = [Process(program, logs=self._plan.home, private=self._folder / "said") for program in programs]
        self._processes += begun
        for process in begun:
            process.start()
        self._record()
        for process in begun:
            self._await(process)
        self._record()

    def _await(self, process: Process) -> None:
        if not self._until(lambda: process.ended is not None or process.look()):
            raise FleetError(f"{process.program.name} does not answer; {process.tail()}")
        if process.ended is not None:
            raise FleetError(f"{process.program.name} ended with {process.ended}; {process.tail()}")

    def _replica(self, name: str, port: int, environ: Mapping[str, str]) -> Program:
        words = ("serve", str(self._plan.folder), "--host", "127.0.0.1", "--port", str(port), *self._common())
        url = f"http://127.0.0.1:{port}"
        return Program(name=name, kind="api", command=(*QUARTERDECK, *words), environ=environ, url=url, stop_s=_DRAIN_S)

    def _worker(self, name: str, environ: Mapping[str, str]) -> Program:
        words = ("worker", str(self._plan.folder), *self._common())
        return Program(name=name, kind="worker", command=(*QUARTERDECK, *words), environ=environ, stop_s=_DRAIN_S)

    def _common(self) -> tuple[str, ...]:
        return ("--data", str(self._folder / "server"), "--json")

    def _simulator(self) -> list[Program]:
        if self._provider is None:
            return []
        words = ("simulate", "--port", str(self._provider), "--ttft", str(self._plan.model_latency_s), "--json")
        return [Program(name="simulator", kind="simulator", command=(*QUARTERDECK, *words), environ=self._plan.environ)]

    def _model(self) -> Mapping[str, str]:
        if self._provider is None:
            return {}
        # The simulated provider takes any key, but some has to be sent.
        return {
            "LLM_MODE": "remote",
            "OPENAI_BASE_URL": f"http://127.0.0.1:{self._provider}/v1",
            "OPENAI_API_KEY": "any",
        }

    def _until(self, holds: Callable[[], bool]) -> bool:
        held = until(lambda: self._stopping() or holds(), _START_S)
        if self._stopping():
            raise Unwanted
        return held

    def _record(self) -> None:
        parts = tuple(
            Part(
                name=process.program.name,
                kind=process.program.kind,
                url=process.program.url,
                identity=process.identity,
                ready=process.ready and process.ended is None,
                starts=process.starts,
            )
            for process in self._processes
        )
        record = Record(fleet=Identity.of(os.getpid()), url=self.url, data=self._folder, parts=parts)
        if record != self._written:
            record.write(self._plan.home)
            self._written = record


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/ready", timeout=5) as reply:  # noqa: S310 - an address of our own
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False
