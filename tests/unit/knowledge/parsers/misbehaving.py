"""A parser that does what its file says, for the tests of limits."""

from __future__ import annotations

import os
import signal
import stat
import sys
from pathlib import Path

from quarterdeck.knowledge.parsers.base import Parsed


def parse(data: bytes) -> Parsed:
    match data.decode().split(" ", 1):
        case ["hang"]:
            signal.pause()
        case ["spin"]:
            while True:
                pass
        case ["eat"]:
            held = []
            while True:
                held.append(bytearray(10_000_000))
        case ["die"]:
            os.kill(os.getpid(), signal.SIGSEGV)
        case ["fail"]:
            raise LookupError("no such thing")
        case ["recurse"]:
            return parse(data)
        case ["print"]:
            print("x" * 100_000, flush=True)
            sys.stderr.write("y")
        case ["write", path]:
            Path(path).write_bytes(b"z" * 100)
        case ["answer", path]:
            _answer_oneself(Path(path).read_bytes())
        case ["front"]:
            return Parsed(text="done", blocks=(), front={"groups": ("hr", "it"), "title": "Pay"})
        case ["environment"]:
            return Parsed(text=" ".join(sorted(os.environ)), blocks=())
    return Parsed(text="done", blocks=(), title=str(os.getppid()))


def _answer_oneself(answer: bytes) -> None:
    """As a file does that has made its reader its own."""
    for pipe in Path("/proc/self/fd").iterdir():
        if int(pipe.name) > 2 and stat.S_ISFIFO(pipe.stat().st_mode):
            os.write(int(pipe.name), answer)
    os._exit(0)
