"""uvicorn with two things it lacks: a stop that is announced first and ends with success, and bounded connections."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from quarterdeck.transports.websocket.connection import BoundedSocket

__all__ = ["GracefulServer"]

MAX_HEAD_BYTES = 131_072  # of a request's address and headers together; past it nobody has even seen them
MAX_PIPELINED = 16  # requests a client may send before it has the answer to the first
_FRAMING = 8  # a body in chunks of one byte is six times as long on the wire


class _PromptHttp(HttpToolsProtocol):
    """One connection, within bounds that uvicorn leaves open: how slow and how large a request and its reader may be."""

    head_timeout_s = 10.0
    stall_s = 30.0
    max_request_bytes = 8 * 1_048_576
    _late: asyncio.TimerHandle | None = None  # runs while the head of a request is awaited
    _stalled: asyncio.TimerHandle | None = None  # runs while the client takes nothing of what is written
    _received = 0  # bytes of the request being received, whatever they are

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._late = self.loop.call_later(self.head_timeout_s, self._refuse, b"408 Request Timeout")

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        super().data_received(data)
        if self._late is not None and self._received > MAX_HEAD_BYTES:
            self._refuse(b"431 Request Header Fields Too Large")
        elif self._received > self.max_request_bytes:
            self._refuse(b"413 Content Too Large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._received = 0
        if self._late is None:  # a further request on a kept connection
            self._late = self.loop.call_later(self.head_timeout_s, self._refuse, b"408 Request Timeout")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._late is not None:  # later ones are trailers: uvicorn would pass them off as headers
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_time()
        if len(self.pipeline) >= MAX_PIPELINED:
            raise ValueError("too many requests before the answer to the first")  # told as 400, and the connection ends
        super().on_headers_complete()

    def handle_websocket_upgrade(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._refuse(b"400 Bad Request")  # two answers would be woven into one another
            return
        self._unset_keepalive_if_required()
        self._in_time()
        self._moved()
        super().handle_websocket_upgrade()

    def on_message_complete(self) -> None:
        self._received = 0
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(self.stall_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._moved()

    def timeout_keep_alive_handler(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # closing would wait for a reader that takes nothing
        else:
            super().timeout_keep_alive_handler()

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        self._moved()
        super().connection_lost(exc)

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _moved(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _refuse(self, status: bytes) -> None:
        self._in_time()
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()


class GracefulServer(uvicorn.Server):
    """Serves until SIGTERM or SIGINT: first not ready, then no new connections, then the running requests, then the end.

    Args:
        on_ready: Told the port when connections are taken.
        on_stop: Called at once when a stop is asked for.
        head_timeout_s: Seconds a connection may take to send the head of a request.
        max_body_bytes: What the largest body may have; a request is cut off at a multiple of it, whatever it consists of.
        max_message_bytes: Of a WebSocket; by default as much.
        drain_s: Seconds between that and closing the port, for a balancer to notice; 0 at SIGINT.
        stop_s: Seconds running requests get.
        ping_s: Seconds between pings of a WebSocket, and again those its peer has for an answer.
        stall_s: Seconds in which a WebSocket's reader must take something of what waits for it.
    """

    def __init__(
        self,
        app: Any,
        *,
        host: str,
        port: int,
        on_ready: Callable[[int], None],
        on_stop: Callable[[], None],
        head_timeout_s: float,
        max_body_bytes: int,
        max_message_bytes: int | None = None,
        drain_s: float,
        stop_s: float,
        ping_s: float = 20.0,
        stall_s: float = 30.0,
    ) -> None:
        # uvicorn makes the protocol itself, so the figures it needs travel in its class.
        bounds = {"head_timeout_s": head_timeout_s, "max_request_bytes": MAX_HEAD_BYTES + _FRAMING * max_body_bytes}
        prompt = type("PromptHttp", (_PromptHttp,), bounds)
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                http=prompt,
                loop="uvloop",
                ws=type("StalledSocket", (BoundedSocket,), {"stall_s": stall_s}),
                ws_max_size=max_message_bytes or max_body_bytes,
                ws_ping_interval=ping_s,
                ws_ping_timeout=ping_s,
                ws_per_message_deflate=False,  # a small frame would not bound what it unfolds to
                lifespan="off",
                access_log=False,
                log_config=None,
                proxy_headers=False,  # what a client says of its own address is not believed
                server_header=False,
                timeout_keep_alive=15,
                timeout_graceful_shutdown=max(1, round(stop_s)),
                backlog=2048,
            )
        )
        self._on_ready = on_ready
        self._on_stop = on_stop
        self._drain_s = drain_s
        self._stopping = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        taken = [each for server in self.servers for each in server.sockets]
        if taken:
            self._on_ready(int(taken[0].getsockname()[1]))

    def stop(self, drain_s: float = 0.0) -> None:
        """Begin to stop; a second call stops at once."""
        loop = asyncio.get_running_loop()
        if self._stopping:
            self.force_exit = self.should_exit
            self.should_exit = True
            return
        self._stopping = True
        self._on_stop()
        loop.call_later(drain_s, setattr, self, "should_exit", True)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own raises the signal again after the shutdown, and the process would end by it instead of with 0.
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop, self._drain_s)
        loop.add_signal_handler(signal.SIGINT, self.stop)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGTERM)
            loop.remove_signal_handler(signal.SIGINT)
