"""Server-sent events: frames of a followed run, heartbeats while it is silent, an end when it ends."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from quarterdeck.core.errors import Forbidden
from quarterdeck.core.events import Delta, StateFolded
from quarterdeck.service.desk import Followed
from quarterdeck.service.streams import Rested, Signal
from quarterdeck.store.base import Entry
from quarterdeck.store.codec import encode
from quarterdeck.transports.http.wire import dump

__all__ = ["DESCRIBED", "DONE", "EVENTS", "EventStream", "frame", "full_frames", "until_gone"]

_FIELDS = {name: {"type": "string"} for name in ("id", "event", "data")}
EVENTS: dict[str, Any] = {"schema": {"type": "object", "description": "Each event.", "properties": _FIELDS}}
DESCRIBED: dict[int | str, dict[str, Any]] = {200: {"description": "A stream.", "content": {"text/event-stream": EVENTS}}}
DONE = b"data: [DONE]\n\n"
_HEARTBEAT = b": alive\n\n"

Frames = Callable[[Signal], Iterable[bytes]]


def frame(event: str, data: bytes, seq: int | None = None) -> bytes:
    """One event. `data` is JSON, so it holds no line end."""
    head = f"id: {seq}\n" if seq is not None else ""
    return f"{head}event: {event}\ndata: ".encode() + data + b"\n\n"


def full_frames(signal: Signal) -> Iterable[bytes]:
    """Stored events under their kind and seq, pieces of replies as ``delta``."""
    match signal:
        case Entry(event=StateFolded(upto=upto), seq=seq):
            # It repeats, at length, what was shown already. The id stays: who goes on from it misses nothing.
            yield frame(StateFolded.kind, dump({"upto": upto}), seq)
        case Entry(event=event, seq=seq):
            kind, data = encode(event)
            yield frame(kind, data.encode(), seq)
        case Delta():
            yield frame("delta", dump(signal))
        case Rested():
            pass


class EventStream(Response):
    """Sends a followed run until it ends, or with `until_rest` until nothing more happens by itself.

    Args:
        opened: What holds the run's reader open; closed when the stream ends, however it ends.
        heartbeat_s: Seconds of silence after which a comment is sent.
        done: The last frame of a stream that was not cut.
        left: Called when the reader leaves before the end.
        wait_s: Seconds after which the stream ends, however the run stands; None for as long as it takes.
        over: Comes back when the reader may read no longer; then the stream ends too. None for who may read to the end.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        followed: Followed,
        opened: contextlib.AsyncExitStack,
        frames: Frames,
        *,
        heartbeat_s: float,
        rests: Callable[[], bool] = lambda: False,
        done: bytes = DONE,
        left: Callable[[], Awaitable[None]] | None = None,
        over: Callable[[], Awaitable[str]] | None = None,
        wait_s: float | None = None,
    ) -> None:
        self._followed = followed
        self._opened = opened
        self._frames = frames
        self._heartbeat_s = heartbeat_s
        self._rests = rests
        self._done = done
        self._left = left
        self._over = over
        self._wait_s = wait_s
        self._reason: str | None = None  # why the reader may read no longer
        super().__init__(headers={"X-Accel-Buffering": "no", "X-Run-Id": followed.run_id})
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ended = False
        async with self._opened, anyio.create_task_group() as tasks:
            tasks.start_soon(until_gone, receive, tasks.cancel_scope)
            if self._over is not None:
                tasks.start_soon(self._until_over, self._over, tasks.cancel_scope)
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            # A reader that takes nothing is cut by the connection; the run goes on, and Last-Event-ID takes up from there.
            async for piece in self._pieces():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            ended = True
            tasks.cancel_scope.cancel()
        if self._reason is not None:
            await send({"type": "http.response.body", "body": _comment(self._reason), "more_body": False})
        if not ended and self._left is not None:
            await self._left()

    async def _until_over(self, over: Callable[[], Awaitable[str]], scope: anyio.CancelScope) -> None:
        self._reason = await over()
        scope.cancel()

    async def _pieces(self) -> AsyncIterator[bytes]:
        ends = math.inf if self._wait_s is None else anyio.current_time() + self._wait_s
        while True:
            signal: Signal | None = None
            try:
                with anyio.move_on_at(min(anyio.current_time() + self._heartbeat_s, ends)) as silence:
                    signal = await self._followed.signals.receive()
            except Forbidden as refused:
                yield _comment(str(refused))
                return
            if silence.cancelled_caught and anyio.current_time() >= ends:
                yield _comment("the time to wait for the answer is over; the run goes on")
                return
            if silence.cancelled_caught:
                yield _HEARTBEAT
                continue
            if signal is None:
                break
            for piece in self._frames(signal):
                yield piece
            if isinstance(signal, Rested) and self._rests():
                break
        if self._done and (self._followed.signals.complete or self._rests()):
            yield self._done


def _comment(why: str) -> bytes:
    return f": {why}\n\n".encode()


async def until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    """Cancel `scope` once the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
