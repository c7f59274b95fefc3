"""Processes of a crash test: each in a group of its own, so that a signal reaches all of it and nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

__all__ = ["process", "said"]

REPO = Path(__file__).resolve().parents[2]


@contextlib.asynccontextmanager
async def process(module: str, *args: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A running Python module, killed without warning at the end of the block."""
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *args, stdout=asyncio.subprocess.PIPE, start_new_session=True, cwd=REPO
    )
    try:
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        await started.wait()


async def said(process: asyncio.subprocess.Process) -> str:
    """The next line it writes, for which it gets half a minute. Raises RuntimeError if it ended instead."""
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 30)
    if not line:
        raise RuntimeError(f"process {process.pid} ended before it said it was ready")
    return line.decode()
