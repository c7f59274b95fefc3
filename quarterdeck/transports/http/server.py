"""uvicorn with two things it lacks: a stop that is announced first and ends with success, and a limit on slow heads."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["GracefulServer"]


class _PromptHttp(HttpToolsProtocol):
    """Closes a connection whose request head does not arrive in time; uvicorn would wait for ever."""

    head_timeout_s = 10.0
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._late = asyncio.get_running_loop().call_later(self.head_timeout_s, self._close_late)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._late is None:  # a further request on a kept connection
            self._late = asyncio.get_running_loop().call_later(self.head_timeout_s, self._close_late)

    def on_headers_complete(self) -> None:
        self._in_time()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        super().connection_lost(exc)

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _close_late(self) -> None:
        self._late = None
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()


class GracefulServer(uvicorn.Server):
    """Serves until SIGTERM or SIGINT: first not ready, then no new connections, then the running requests, then the end.

    Args:
        on_ready: Told the port when connections are taken.
        on_stop: Called at once when a stop is asked for.
        head_timeout_s: Seconds a connection may take to send the head of a request.
        drain_s: Seconds between that and closing the port, for a balancer to notice; 0 at SIGINT.
        stop_s: Seconds running requests get.
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
        drain_s: float,
        stop_s: float,
    ) -> None:
        # uvicorn makes the protocol itself, so the one figure it needs travels in its class.
        prompt = type("PromptHttp", (_PromptHttp,), {"head_timeout_s": head_timeout_s})
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                http=prompt,
                loop="uvloop",
                ws="none",
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
