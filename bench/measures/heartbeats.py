"""What is sent over connections on which nothing happens, and when a peer that says nothing is found dead."""

from __future__ import annotations

import asyncio
import base64
import os
import time

from bench.measure import Measure, absolute, at_least
from bench.reference.slow_server import slow_server
from bench.stage import Stage, posted, requested, staged

COMMENT_S, PING_S, DEAD_S = 15.0, 20.0, 45.0
WATCHED_S = 48.0


async def measure() -> list[Measure]:
    async with slow_server() as provider, staged(provider) as stage:
        async with asyncio.TaskGroup() as tasks:
            comments = tasks.create_task(_comments(stage))
            pings = tasks.create_task(_pings(stage))
        gaps = [later - earlier for earlier, later in zip(comments.result(), comments.result()[1:], strict=False)]
        pinged_s, dead_s = pings.result()
    return [
        at_least("comments in a silent stream", len(gaps), "comments", budget=2, note=f"in {WATCHED_S:g} s"),
        absolute("longest silence of a stream", max(gaps, default=WATCHED_S), "s", budget=COMMENT_S + 1),
        absolute("first ping of a WebSocket", pinged_s, "s", budget=PING_S + 1),
        absolute("WebSocket peer that answers nothing found dead", dead_s, "s", budget=DEAD_S),
    ]


async def _comments(stage: Stage) -> list[float]:
    """When comments came in a stream whose model takes a minute; the first moment is the last event before them."""
    reader, writer = await posted(stage, "/api/v1/agent/stream", {"query": "Where? wait=60"}, "quiet")
    came = [time.monotonic()]
    until = came[0] + WATCHED_S
    try:
        while time.monotonic() < until:
            async with asyncio.timeout(until - time.monotonic()):
                line = await reader.readline()
            if line.startswith(b":"):
                came.append(time.monotonic())
            elif line.startswith(b"data:") and len(came) == 1:
                came[0] = time.monotonic()
    except TimeoutError:
        pass
    finally:
        writer.transport.abort()
    return came


async def _pings(stage: Stage) -> tuple[float, float]:
    """Seconds until the first ping, and until a peer that answers none is cut."""
    key = base64.b64encode(os.urandom(16)).decode()
    more = f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
    reader, writer = await requested(stage, "GET", "/api/v1/stream", None, "quiet", more=more)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    if b" 101 " not in head:
        raise RuntimeError(f"no WebSocket was opened: {head!r}")
    began, pinged_s = time.monotonic(), WATCHED_S
    try:
        async with asyncio.timeout(DEAD_S + 10):
            while frame := await reader.read(4096):
                if 0x89 in frame[:1] and pinged_s == WATCHED_S:
                    pinged_s = time.monotonic() - began
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.transport.abort()
    return pinged_s, time.monotonic() - began
