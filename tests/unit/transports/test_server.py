"""Connections of the HTTP server, by raw bytes: what is too large, too much at once or never read does not stay."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from quarterdeck.transports.http.server import MAX_HEAD_BYTES, MAX_PIPELINED, GracefulServer

HEAD = b"POST /x HTTP/1.1\r\nHost: localhost\r\n"


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[tuple[int, GracefulServer]]:
    ports: list[int] = []
    ready = anyio.Event()

    def on_ready(port: int) -> None:
        ports.append(port)
        ready.set()

    server = GracefulServer(
        app, host="127.0.0.1", port=0, on_ready=on_ready, on_stop=lambda: None,
        head_timeout_s=5.0, max_body_bytes=1024, drain_s=0.0, stop_s=1.0,
    )  # fmt: skip
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)
        await ready.wait()
        yield ports[0], server
        server.stop()
        server.stop()


async def drain(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def answer(send: Any, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})


async def names_of_headers(scope: Any, receive: Any, send: Any) -> None:
    await drain(receive)
    await answer(send, b",".join(name for name, _ in scope["headers"]))


def conversation(port: int, *pieces: bytes) -> bytes:
    """What the server says until it closes, or is silent for a moment."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(0.5)
        said = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
            while more := connection.recv(65_536):
                said += more
        except (TimeoutError, ConnectionError):
            pass
        return said


@pytest.mark.parametrize(
    "piece",
    [b"X: " + b"a" * 65_000 + b"\r\n", b"a:b\r\n" * 13_000, b"X: " + b"a" * 65_000],
    ids=["large headers", "many headers", "one header without end"],
)
async def test_head_without_end_is_cut_off(piece: bytes) -> None:
    async with serving(names_of_headers) as (port, _):
        said = await anyio.to_thread.run_sync(conversation, port, HEAD, *[piece] * (8 * MAX_HEAD_BYTES // len(piece)))

    assert said.startswith(b"HTTP/1.1 431 ") or said == b""  # a reset may overtake the answer to a client that still sends


async def test_head_just_large_enough_passes() -> None:
    async with serving(names_of_headers) as (port, _):
        head = HEAD + b"X: " + b"a" * 60_000 + b"\r\nContent-Length: 0\r\n\r\n"
        said = await anyio.to_thread.run_sync(conversation, port, head)

    assert said.startswith(b"HTTP/1.1 200 ")


async def test_trailers_are_nobodys_headers() -> None:
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nAuthorization: Bearer x\r\n\r\n"
    async with serving(names_of_headers) as (port, _):
        said = await anyio.to_thread.run_sync(conversation, port, chunked)

    assert said.endswith(b"\r\n\r\nhost,transfer-encoding")


async def test_trailers_without_end_are_cut_off() -> None:
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
    async with serving(names_of_headers) as (port, _):
        said = await anyio.to_thread.run_sync(conversation, port, chunked, *[b"a:" + b"b" * 65_000 + b"\r\n"] * 20)

    assert said.startswith(b"HTTP/1.1 413 ") or said == b""


async def test_requests_piled_up_before_the_first_answer_are_refused() -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await anyio.sleep(0.2)
        await answer(send, b"late")

    one = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with serving(slow) as (port, _):
        said = await anyio.to_thread.run_sync(conversation, port, one * (MAX_PIPELINED + 5))

    assert said.startswith(b"HTTP/1.1 400 ")


async def test_reader_that_takes_nothing_is_cut_and_the_application_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quarterdeck.transports.http.server._PromptHttp.stall_s", 0.1)
    told = anyio.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        async def until_gone() -> None:
            await drain(receive)
            assert (await receive())["type"] == "http.disconnect"
            told.set()
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(until_gone)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": b"a" * 65_536, "more_body": True})
                await anyio.lowlevel.checkpoint()  # once the client is gone, sending takes no time

    async with serving(endless) as (port, server):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
            with anyio.fail_after(5):
                await told.wait()

        assert not server.server_state.connections
