"""The program that reads documents: it forks a child for every file, holds it to its limits and passes its answer on."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from quarterdeck.core.errors import InvalidInput, QuarterdeckError, TooLarge
from quarterdeck.knowledge.parsers.base import Parsed
from quarterdeck.knowledge.parsers.process import FRAME

__all__: list[str] = []

_PIECE = 1 << 16
_TO_SAY_SO = 32 * 1024 * 1024  # bytes of memory beyond the limit, to report that it was reached
_MAX_ANSWER = 100_000_000  # bytes; the text of a document is held to less by whoever composes it


def _serve() -> None:
    """Answer until whoever asks goes away."""
    while (order := _receive()) is not None and (data := _receive()) is not None:
        answer = _answer(json.loads(order), data)
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.buffer.write(FRAME.pack(len(answer)) + answer)
            sys.stdout.buffer.flush()


def _receive() -> bytes | None:
    head = sys.stdin.buffer.read(FRAME.size)
    return sys.stdin.buffer.read(FRAME.unpack(head)[0]) if len(head) == FRAME.size else None


def _answer(order: dict[str, Any], data: bytes) -> bytes:
    try:
        parse: Callable[[bytes], Parsed] = importlib.import_module(order["module"]).parse
    except ModuleNotFoundError as error:
        return _refusal(InvalidInput(f"reading it needs {error.name}: install quarterdeck[documents]"))
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reads)
        _be_child(parse, data, writes, order)
    os.close(writes)
    answer, in_time = _collect(reads, order["time_s"])
    os.close(reads)
    if not in_time:
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if not in_time or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return _refusal(TooLarge(f"reading it took longer than {order['time_s']:g} s"))
    if status != 0 or not answer:
        ended = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"status {os.WEXITSTATUS(status)}"
        return _refusal(InvalidInput(f"its reader died of it ({ended})"))
    return answer


def _collect(reads: int, time_s: float) -> tuple[bytes, bool]:
    """What the child writes until it ends; False if it was still at it when its time was over."""
    deadline = time.monotonic() + time_s
    pieces: list[bytes] = []
    length = 0
    while (left := deadline - time.monotonic()) > 0:
        if select.select([reads], [], [], left)[0]:
            piece = os.read(reads, _PIECE)
            pieces.append(piece)
            length += len(piece)
            if not piece or length > _MAX_ANSWER:
                return b"".join(pieces), not piece
    return b"", False


def _be_child(parse: Callable[[bytes], Parsed], data: bytes, writes: int, order: dict[str, Any]) -> None:
    """Never returns."""
    try:
        _limit(order["time_s"], order["memory_bytes"])
        try:
            answer = _told(parse(data))
        except QuarterdeckError as error:
            answer = _refusal(error)
        except MemoryError:
            resource.setrlimit(resource.RLIMIT_AS, (order["memory_bytes"] + _TO_SAY_SO,) * 2)
            answer = _refusal(TooLarge(f"reading it takes more than {order['memory_bytes'] >> 20} MiB of memory"))
        except Exception as error:  # noqa: BLE001 - the edge of a process: a parser may fail in any way
            answer = _refusal(InvalidInput(f"it cannot be read: {type(error).__name__}: {error}"[:200]))
        with os.fdopen(writes, "wb") as pipe:
            pipe.write(answer)
        os._exit(0)
    finally:
        os._exit(1)


def _limit(time_s: float, memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes + _TO_SAY_SO))
    seconds = int(time_s) + 1
    wanted = {
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: 0,  # it writes to its pipe and to no file
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,  # and starts no other process, unless it is root
    }
    for what, most in wanted.items():
        resource.setrlimit(what, (most, most))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)  # what a library prints is no answer


def _told(parsed: Parsed) -> bytes:
    blocks = [(block.start, block.end, block.heading_path, block.lines) for block in parsed.blocks]
    told = {
        "text": parsed.text,
        "title": parsed.title,
        "blocks": blocks,
        "warnings": parsed.warnings,
        "front": dict(parsed.front),
    }
    return json.dumps(told).encode()


def _refusal(error: QuarterdeckError) -> bytes:
    return json.dumps({"code": error.code, "refused": str(error)}).encode()


if __name__ == "__main__":
    _serve()
