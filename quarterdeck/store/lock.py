"""One at a time per data folder: two embedded dispatchers on one database would fence each other for ever."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from quarterdeck.core.errors import Misconfigured, StoreUnavailable

__all__ = ["FolderLock"]


class FolderLock:
    """Holds a data folder for this process. The system lets go of it when the process ends, however it ends."""

    def __init__(self, folder: str | os.PathLike[str], *, name: str = "server", wait: bool = False) -> None:
        """
        Args:
            name: What is locked in the folder: ``server``, or ``setup`` for what processes that share it do in turn.
            wait: Block until it is free, instead of refusing.
        """
        self._folder = Path(folder)
        self._name = f"{name}.lock"
        self._wait = wait
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the folder, making it if need be. Does nothing when this object holds it already.

        Raises:
            Misconfigured: Another server has it; the message names the folder and the process.
            StoreUnavailable: The folder cannot be made or written.
        """
        if self._file is not None:
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(self._folder / self._name, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreUnavailable(
                f"the data folder {self._folder} cannot be used: {error.filename}: {error.strerror}; "
                "give a folder this program may write"
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX if self._wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(file, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(file)
            raise Misconfigured(
                f"the data folder {self._folder} is in use by another server (process {holder}): "
                "stop that one, or give this one a folder of its own"
            ) from error
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file

    def release(self) -> None:
        """Let go of the folder. The file stays: removing it would let a third process lock another one of that name."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> FolderLock:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()
