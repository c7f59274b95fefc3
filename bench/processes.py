"""A measure in a process of its own: what one imported, cached or grew must not flatter or burden the next."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.measure import Measure

ROOT = Path(__file__).parents[1]
TIME_LIMIT_S = 1200.0
_LEAVE_S = 20.0  # for what a measure has started, to end it


def measured(name: str, size: str = "", *, within_s: float = TIME_LIMIT_S) -> list[Measure]:
    """Take a measure.

    Args:
        name: Module of bench.measures.
        size: Name of the value in that module that says how much is done; the module's own choice if it has none.
        within_s: What takes longer is ended, with all it has started.

    Raises:
        RuntimeError: It could not be taken; with what it wrote.
    """
    code, told, complaint = ended(["-m", "bench.one", name, *([size] if size else [])], within_s)
    if code is None:
        raise RuntimeError(f"{name} took longer than {within_s:g} s")
    if code:
        raise RuntimeError(told[-2000:] + complaint[-6000:])
    return [Measure(**fields) for fields in json.loads(told.splitlines()[-1])]


def ended(arguments: Sequence[str], within_s: float) -> tuple[int | None, str, str]:
    """Run Python with these arguments; its exit code, None if it took too long, and what it wrote to both outputs.

    Whatever it started has ended with it: servers that outlive a measure would burden the next.
    """
    command = [sys.executable, *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        try:
            told, complaint = process.communicate(timeout=within_s)
            return process.returncode, told, complaint
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # asyncio cancels what it does, which stops its servers
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=_LEAVE_S)
            return None, "", ""
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
