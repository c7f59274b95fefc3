"""What a running fleet says of itself in a file, for those who restart parts of it, stop it, or clean up after it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from deploy.processes import FleetError, Identity, until

__all__ = ["Part", "Record", "restart", "stop", "sweep"]

_ENDED_S = 3.0
_RESTARTED_S = 60.0
_STOPPED_S = 90.0
RESTARTABLE = ("api", "worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One process of the fleet.

    Attributes:
        url: Where a replica is reached past nginx; None for the others.
    """

    name: str
    kind: str
    url: str | None
    identity: Identity | None
    ready: bool
    starts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A fleet: its own process, its parts, where it is reached and where its data lies."""

    fleet: Identity
    url: str
    data: Path
    parts: tuple[Part, ...]

    def part(self, name: str) -> Part:
        for part in self.parts:
            if part.name == name:
                return part
        raise FleetError(f"there is no {name!r}; there are: {', '.join(part.name for part in self.parts)}")

    def write(self, home: Path) -> None:
        """Replace the file at once: whoever reads it sees the old record or the new one."""
        fresh = _path(home).with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self), default=str, indent=1) + "\n", encoding="utf-8")
        fresh.replace(_path(home))

    @classmethod
    def read(cls, home: Path) -> Record | None:
        """The record in `home`; None if there is none. Its fleet may be gone."""
        try:
            said = json.loads(_path(home).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        parts = tuple(Part(**{**part, "identity": _identity(part["identity"])}) for part in said["parts"])
        return cls(fleet=Identity(**said["fleet"]), url=said["url"], data=Path(said["data"]), parts=parts)

    @staticmethod
    def remove(home: Path) -> None:
        _path(home).unlink(missing_ok=True)


def sweep(home: Path) -> None:
    """End what a fleet left behind that was killed, and remove its data.

    A process is ended only if its number and its creation time are those of the record.

    Raises:
        FleetError: That fleet is running.
    """
    record = Record.read(home)
    if record is None:
        return
    if record.fleet.process() is not None:
        raise FleetError(f"a fleet is running at {record.url}; stop it first: python -m deploy.fleet stop")
    left = [process for part in record.parts if part.identity and (process := part.identity.process())]
    left += [child for process in left for child in _children(process)]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(left, _ENDED_S)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    shutil.rmtree(record.data, ignore_errors=True)
    Record.remove(home)


def restart(home: Path, names: tuple[str, ...]) -> Iterator[str]:
    """End parts in order, each once the one before serves again; the fleet starts what has ended. Yields who is back.

    Args:
        names: Empty for every replica and every worker.

    Raises:
        FleetError: No fleet runs, it has no such part, or one does not come back.
    """
    parts = _running(home).parts
    for name in names or tuple(part.name for part in parts if part.kind in RESTARTABLE):
        before = _running(home).part(name)
        if before.identity is None or before.identity.process() is None:
            raise FleetError(f"{name} is not running")
        os.kill(before.identity.pid, signal.SIGTERM)

        def back(name: str = name, before: Part = before) -> bool:
            now = _running(home).part(name)
            return now.ready and now.identity != before.identity

        if not until(back, _RESTARTED_S):
            raise FleetError(f"{name} did not come back within {_RESTARTED_S:.0f} s; see {home / name}.log")
        yield name


def stop(home: Path) -> None:
    """End the fleet and wait until it has. Raises FleetError."""
    fleet = _running(home).fleet
    os.kill(fleet.pid, signal.SIGTERM)
    if not until(lambda: fleet.process() is None, _STOPPED_S):
        raise FleetError(f"process {fleet.pid} did not end within {_STOPPED_S:.0f} s")


def _running(home: Path) -> Record:
    record = Record.read(home)
    if record is None or record.fleet.process() is None:
        raise FleetError("no fleet is running")
    return record


def _path(home: Path) -> Path:
    return home / "fleet.json"


def _identity(said: Mapping[str, Any] | None) -> Identity | None:
    return Identity(**said) if said else None


def _children(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return list(process.children(recursive=True))
    return []
