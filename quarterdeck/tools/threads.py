"""Worker threads for tools that block.

Python cannot stop a thread. A call whose time is over is let go of: nobody waits for it, its result is dropped, and what it
does to the world it still does. It keeps its place until it really ends, so tools that hang for ever use up the places and
are answered with time-outs; they never use up the process. Work that must be stopped belongs in an async tool or a sandbox.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TypeVar

import anyio
from anyio.lowlevel import RunVar

__all__ = ["PLACES", "Late", "in_thread", "threads_of"]

PLACES = 128  # threads at once per event loop; beyond it calls wait for a place, within their own timeout

_places: RunVar[anyio.CapacityLimiter] = RunVar("quarterdeck_tool_threads")

_own: ContextVar[anyio.CapacityLimiter | None] = ContextVar("quarterdeck_own_tool_threads", default=None)

R = TypeVar("R")


class Late(Exception):
    """A tool gave a result after its time was over; nobody wants it any more."""


@contextmanager
def threads_of(places: anyio.CapacityLimiter) -> Iterator[None]:
    """Have `in_thread` take its threads out of `places` within the block, not out of those all tools share."""
    token = _own.set(places)
    try:
        yield
    finally:
        _own.reset(token)


async def in_thread(work: Callable[[], R]) -> R:
    """Run `work` in a worker thread and wait for it; cancelled, let go of it at once."""
    places = _own.get() or _shared()
    loop = asyncio.get_running_loop()
    place = object()
    held = True
    started = False

    def leave() -> None:
        nonlocal held
        if held:
            held = False
            places.release_on_behalf_of(place)

    def body() -> R:
        nonlocal started
        started = True
        try:
            return work()
        finally:
            with suppress(RuntimeError):  # the loop is closed: nobody waits for places any more
                loop.call_soon_threadsafe(leave)

    await places.acquire_on_behalf_of(place)
    try:
        # Its own limiter gives the place back when the wait ends, ours when the thread does.
        return await anyio.to_thread.run_sync(body, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1))
    finally:
        if not started:
            leave()


def _shared() -> anyio.CapacityLimiter:
    try:
        return _places.get()
    except LookupError:
        places = anyio.CapacityLimiter(PLACES)
        _places.set(places)
        return places
