"""The simulator on a port of the loopback interface, in this event loop or in a thread of its own."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from quarterdeck.core.errors import Misconfigured
from quarterdeck.devtools.simulator.app import Options, SimulatorApp
from quarterdeck.devtools.simulator.deliver import CONNECTION, Receive, Scope, Send
from quarterdeck.devtools.simulator.record import Player, Recorder, Tape
from quarterdeck.devtools.simulator.traced import Traced
from quarterdeck.net.client import GuardedClient

try:
    import uvicorn
    from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
    from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
except ImportError as error:
    raise Misconfigured("the simulator's server needs uvicorn: pip install 'quarterdeck[server]'") from error

__all__ = ["Simulator"]

HOST = "127.0.0.1"
_PLAIN_PATH = re.compile(rb"/[\w./-]+").fullmatch


class _Protocol(HttpToolsProtocol):
    """Answers what needs no waiting at once, and hands the transport on, so that an answer can be cut in its middle.

    uvicorn makes a task, an event and a cycle of coroutines for every request. Without them the simulator answers about 1.2
    times the requests per second of CPU, held against a bare application. All else takes uvicorn's way.
    """

    _collected: list[bytes] | None = None  # the body so far of a request that may be answered at once
    _named: dict[bytes, bytes]  # and its headers

    def on_message_begin(self) -> None:
        # The scope is made when it is known to be needed.
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        if self._is_plain():
            self._collected = []
        else:
            self._on_request()

    def on_body(self, body: bytes) -> None:
        if self._collected is not None:
            self._collected.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        parts, self._collected = self._collected, None
        if parts is not None:
            body = b"".join(parts)
            if self._answered(body):
                return
            self._on_request()
            super().on_body(body)
        super().on_message_complete()

    def _on_request(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers  # in place: the scope holds this list
        super().on_headers_complete()
        self.scope["extensions"] = {CONNECTION: {"transport": self.transport}}

    def _is_plain(self) -> bool:
        """True for a short POST that nothing is in front of, on a connection that stays and takes what is written."""
        parser, cycle = self.parser, self.cycle
        if not (
            parser.get_method() == b"POST"
            and (cycle is None or cycle.response_complete)
            and not self.flow.write_paused
            and not self.expect_100_continue
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and _PLAIN_PATH(self.url)
        ):
            return False
        self._named = dict(self.headers)
        length = self._named.get(b"content-length")
        return length is not None and int(length) <= HIGH_WATER_LIMIT

    def _answered(self, body: bytes) -> bool:
        """Answer with one write, if the application can; False if it wants to be called."""
        app = self.app
        made = app.at_once(self.url.decode("ascii"), self._named, body) if isinstance(app, SimulatorApp) else None
        if made is None:
            return False
        answer, more, content = made
        lines = [b"%b: %b\r\n" % header for header in (*answer.headers, *more)]
        if answer.streamed:
            form = b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
        else:
            form = b"content-length: %d\r\n\r\n%b"
        self.transport.write(b"%b%b%b" % (STATUS_LINE[answer.status], b"".join(lines), form % (len(content), content)))
        self.on_response_complete()
        return True


class Simulator:
    """A running simulated provider: ``async with Simulator() as sim``, or ``with`` for a thread of its own.

    It is an ASGI application as well, for clients that need no port.
    """

    def __init__(
        self,
        options: Options | None = None,
        *,
        port: int = 0,
        record: Path | None = None,
        upstream: str = "",
        replay: Path | None = None,
    ) -> None:
        """
        Args:
            port: 0 takes a free one.
            record: Cassette to append to what `upstream`, a provider's base URL, answers.
            replay: Cassette to answer from.
        """
        if record is not None and (replay is not None or not upstream):
            raise Misconfigured("recording needs an upstream base URL, and cannot be combined with replaying")
        self._record, self._upstream = record, upstream
        self._client = GuardedClient(allowed_origins=[upstream]) if upstream else None
        tape: Tape | None = Player(replay) if replay is not None else None
        if record is not None and self._client is not None:
            tape = Recorder(record, upstream, self._client)
        self.app = SimulatorApp(options, tape)
        self._port = port
        self._stack = AsyncExitStack()
        self._thread: _Thread | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)

    @property
    def url(self) -> str:
        """Without a path; clients of OpenAI's API take `base_url`."""
        return f"http://{HOST}:{self._port}"

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def trace(self, name: str = "") -> Traced:
        """What belongs to one trace: its script, faults and requests."""
        return Traced(self.app, self.url, name)

    async def __aenter__(self) -> Self:
        if self._client is not None:
            await self._stack.enter_async_context(self._client)
        listening = _listen(self._port)
        self._port = listening.getsockname()[1]
        server = uvicorn.Server(
            uvicorn.Config(
                self.app,
                http=_Protocol,
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                proxy_headers=False,
                # Both would differ from run to run, and a transcript must not.
                server_header=False,
                date_header=False,
            )
        )
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        await server.startup(sockets=[listening])
        self._stack.push_async_callback(_stop, server)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def __enter__(self) -> Self:
        self._thread = _Thread(self)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.stop()


def _listen(port: int) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except OSError as error:
        listening.close()
        raise Misconfigured(f"port {port} of {HOST} cannot be listened on: {error.strerror}") from error
    return listening


async def _stop(server: uvicorn.Server) -> None:
    """Close everything at once: uvicorn's own way waits for answers, and a stalled one never ends."""
    for listener in server.servers:
        listener.close()
    for connection in list(server.server_state.connections):
        transport: Any = getattr(connection, "transport", None)
        if transport is not None:
            transport.close()
    if tasks := set(server.server_state.tasks):
        _, late = await asyncio.wait(tasks, timeout=1)
        for task in late:
            task.cancel()
    for listener in server.servers:
        await listener.wait_closed()


class _Thread:
    """An event loop that serves a simulator until it is told to stop."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._ready = threading.Event()
        self._stopping: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="simulator", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error

    def stop(self) -> None:
        if self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits for the start
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        async with self._simulator:
            self._ready.set()
            await self._stopping.wait()
