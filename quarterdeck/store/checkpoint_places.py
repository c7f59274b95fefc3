"""Second places for checkpoints: a file, standard output, and whatever keeps state by key, such as object storage."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Protocol

from anyio import to_thread

from quarterdeck.core.errors import InvalidInput, StoreUnavailable
from quarterdeck.store.base import KeyValue
from quarterdeck.store.checkpoints import Checkpoint

__all__ = ["FileCheckpoints", "KeptCheckpoints", "PrintedCheckpoints", "read_checkpoints"]

_OWNER = "audit-checkpoints"  # nobody's tenant: what erases a tenant's state leaves these alone


class _States(KeyValue, Protocol):
    async def close(self) -> None: ...


def read_checkpoints(path: Path) -> list[Checkpoint]:
    """All checkpoints of a file, in its order. Raises InvalidInput for a line that is none, StoreUnavailable for no file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreUnavailable(f"the checkpoints {path} cannot be read: {error}") from error
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(Checkpoint.parse(line))
        except InvalidInput as error:
            raise InvalidInput(f"{path}:{number}: {error}") from error
    return found


class FileCheckpoints:
    """A file of JSON lines, to which lines are only ever added."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._latest: dict[str, Checkpoint] | None = None

    async def keep(self, checkpoint: Checkpoint) -> None:
        """Add a line. Raises StoreUnavailable."""
        await to_thread.run_sync(self._append, checkpoint.line + "\n")
        if self._latest is not None:
            self._latest[checkpoint.tenant] = checkpoint

    async def latest(self, tenant: str) -> Checkpoint | None:
        """The last of a tenant; the file is read once. Raises StoreUnavailable, and InvalidInput for a line that is none."""
        if self._latest is None:
            found = await to_thread.run_sync(self.read)
            self._latest = {each.tenant: each for each in sorted(found, key=lambda each: each.seq)}
        return self._latest.get(tenant)

    def read(self) -> list[Checkpoint]:
        """All of them, none if there is no file yet. Blocks."""
        return read_checkpoints(self._path) if self._path.exists() else []

    async def close(self) -> None:
        """Nothing is open."""

    def _append(self, text: str) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise StoreUnavailable(f"the checkpoints {self._path} cannot be written: {error.strerror}") from error


class PrintedCheckpoints:
    """Standard output, for whatever collects what a process prints. Its own lines only are known."""

    def __init__(self) -> None:
        self._latest: dict[str, Checkpoint] = {}

    async def keep(self, checkpoint: Checkpoint) -> None:
        """Print a line."""
        self._latest[checkpoint.tenant] = checkpoint
        print(checkpoint.line, file=sys.stdout, flush=True)

    async def latest(self, tenant: str) -> Checkpoint | None:
        """The last that this process printed."""
        return self._latest.get(tenant)

    async def close(self) -> None:
        """Standard output is another's."""


class KeptCheckpoints:
    """State by key: every checkpoint under its seq, and the last once more under ``last``."""

    def __init__(self, states: _States) -> None:
        self._states = states

    async def keep(self, checkpoint: Checkpoint) -> None:
        """Save it. Raises StoreUnavailable."""
        line = checkpoint.line.encode()
        await self._states.save(_OWNER, f"{checkpoint.tenant}/{checkpoint.seq}", line)
        await self._states.save(_OWNER, f"{checkpoint.tenant}/last", line)

    async def latest(self, tenant: str) -> Checkpoint | None:
        """The one under ``last``. Raises StoreUnavailable, InvalidInput, and Misconfigured if it was changed outside."""
        line = await self._states.load(_OWNER, f"{tenant}/last")
        return None if line is None else Checkpoint.parse(line)

    async def close(self) -> None:
        await self._states.close()
