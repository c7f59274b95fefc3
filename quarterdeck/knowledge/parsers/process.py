"""Reads one file in a process of its own that may use only so much time and memory, and is killed when it wants more.

A warden is started once, with an empty environment. It loads a parser the first time one is asked for and then forks for
every file, so a thousand small files cost a thousand forks and one start of an interpreter. What comes back is JSON: nothing
that a file made of its reader can do more than give a wrong text.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import IO

from pydantic import TypeAdapter

from quarterdeck.core.errors import InvalidInput, error_of
from quarterdeck.knowledge.parsers.base import Block, Parsed

__all__ = ["FRAME", "LimitedProcess", "Limits"]

FRAME = struct.Struct("!I")  # before every message, its length
_GRACE_S = 10.0  # what the warden may take beyond a file's own time, before it is given up itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What reading one file may take.

    Attributes:
        time_s: By the clock, and as much of a processor.
        memory_bytes: Address space of the process; its program and the libraries take about a fifth of the default.
    """

    time_s: float = 60.0
    memory_bytes: int = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """A file, read: `Parsed` as it comes from the process, which a hostile file may have made its own."""

    text: str
    title: str
    blocks: tuple[tuple[int, int, tuple[str, ...], bool], ...]
    warnings: tuple[str, ...]
    front: Mapping[str, str | tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refused:
    code: str
    refused: str


_ANSWERS: TypeAdapter[_Told | _Refused] = TypeAdapter(_Told | _Refused)


class LimitedProcess:
    """Runs parsers in limited processes, one file at a time. Started when first needed; close it."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._warden: subprocess.Popen[bytes] | None = None
        self._one_at_a_time = threading.Lock()

    def __enter__(self) -> LimitedProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def parse(self, module: str, data: bytes) -> Parsed:
        """What ``parse(data)`` of `module` gives.

        Raises:
            InvalidInput: The parser refused the file, failed on it or was stopped at a limit, or no process can be had here.
        """
        with self._one_at_a_time:
            answer = self._ask(module, data)
        if isinstance(answer, _Refused):
            refused = error_of(answer.code, answer.refused)
            raise refused if isinstance(refused, InvalidInput) else InvalidInput(answer.refused)
        blocks = tuple(Block(start=b[0], end=b[1], heading_path=b[2], lines=b[3]) for b in answer.blocks)
        return Parsed(text=answer.text, blocks=blocks, title=answer.title, front=answer.front, warnings=answer.warnings)

    def close(self) -> None:
        """End the warden and whatever it runs."""
        warden, self._warden = self._warden, None
        if warden is None:
            return
        _kill_group(warden.pid)
        warden.wait()
        for pipe in (warden.stdin, warden.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                continue  # it had died with a message half sent

    def _ask(self, module: str, data: bytes) -> _Told | _Refused:
        warden = self._started()
        assert warden.stdin is not None
        assert warden.stdout is not None
        order = json.dumps({"module": module, **asdict(self._limits)}).encode()
        given_up = threading.Timer(self._limits.time_s + _GRACE_S, _kill_group, (warden.pid,))
        given_up.start()
        try:
            for message in (order, data):
                warden.stdin.write(FRAME.pack(len(message)))
                warden.stdin.write(message)
            warden.stdin.flush()
            return _ANSWERS.validate_json(_read(warden.stdout))
        except (OSError, EOFError, ValueError):
            self.close()  # the next file gets a new one
            return _Refused(code=InvalidInput.code, refused="the process that was to read it ended")
        finally:
            given_up.cancel()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._warden is not None and self._warden.poll() is None:
            return self._warden
        self.close()
        if not hasattr(os, "fork"):
            raise InvalidInput("this system has no limited processes to read it in: only Markdown and text are read here")
        path = os.pathsep.join(place for place in sys.path if os.path.isabs(place))  # noqa: PTH117 - entries are strings
        self._warden = subprocess.Popen(
            [sys.executable, "-P", "-m", "quarterdeck.knowledge.parsers.warden"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # libraries complain there about every odd file
            env={"PYTHONPATH": path},
            start_new_session=True,  # so that it is killed together with what it forked
        )
        return self._warden


def _read(stream: IO[bytes]) -> bytes:
    head = stream.read(FRAME.size)
    if len(head) < FRAME.size:
        raise EOFError
    (length,) = FRAME.unpack(head)
    message = stream.read(length)
    if len(message) < length:
        raise EOFError
    return message


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
