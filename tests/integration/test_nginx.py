"""What nginx does with requests whose replica fails, and what it lets through. The replicas are puppets that count."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from deploy.engines import Nginx, free_port, rendered
from deploy.processes import Process, until

pytestmark = pytest.mark.row("P1", part="nginx")

Answer = Callable[["Request", asyncio.StreamWriter], Awaitable[None]]
QUESTION = {"message": "How do I report phishing?"}


@dataclass(frozen=True)
class Request:
    line: str
    headers: Sequence[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for given, value in self.headers if given == name]


async def answering(request: Request, out: asyncio.StreamWriter) -> None:
    out.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


async def dying(request: Request, out: asyncio.StreamWriter) -> None:
    """Takes the request and is gone, as one that is killed just then."""
    out.transport.abort()


async def overloaded(request: Request, out: asyncio.StreamWriter) -> None:
    out.write(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy")


@dataclass
class Puppet:
    """A replica that does as told and remembers what arrived."""

    answer: Answer = answering
    port: int = field(default_factory=free_port)
    arrived: list[Request] = field(default_factory=list)
    connections: int = 0
    server: asyncio.Server | None = None

    async def open(self) -> None:
        self.server = await asyncio.start_server(self._talk, "127.0.0.1", self.port)

    async def close(self) -> None:
        server, self.server = self.server, None
        if server is not None:
            server.close()
            await server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while not out.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in head[1:-2])]
                length = next((int(value) for name, value in headers if name == "content-length"), 0)
                self.arrived.append(Request(head[0], headers, await reader.readexactly(length)))
                await self.answer(self.arrived[-1], out)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            out.close()


@dataclass(frozen=True)
class Front:
    """nginx, a client of it, and the replicas behind it."""

    url: str
    session: aiohttp.ClientSession
    puppets: tuple[Puppet, Puppet]

    @property
    def arrived(self) -> list[Request]:
        return [request for puppet in self.puppets for request in puppet.arrived]

    def all_are(self, answer: Answer) -> None:
        for puppet in self.puppets:
            puppet.answer = answer


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light")
    async with AsyncExitStack() as stack:
        puppets = (Puppet(), Puppet())
        for puppet in puppets:
            await puppet.open()
            stack.push_async_callback(puppet.close)
        port = free_port()
        nginx = Process(
            Nginx(program, tmp_path / "nginx", port, tuple(puppet.port for puppet in puppets)).program(),
            logs=tmp_path,
            private=tmp_path,
        )
        nginx.start()
        stack.callback(nginx.await_end)
        stack.callback(nginx.ask_to_stop)
        assert until(nginx.look, 5.0), nginx.tail()
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)))
        yield Front(f"http://127.0.0.1:{port}", session, puppets)


async def test_question_without_a_key_is_never_sent_twice(front: Front) -> None:
    front.all_are(dying)

    async with front.session.post(f"{front.url}/chat", json=QUESTION) as reply:
        told = await reply.json()

    assert len(front.arrived) == 1
    assert (reply.status, told["error"]["code"]) == (502, "unavailable")


async def upgrading(request: Request, out: asyncio.StreamWriter) -> None:
    """Opens a WebSocket, says a text and closes it."""
    out.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ")
    nonce = request.all("sec-websocket-key")[0].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    out.write(base64.b64encode(hashlib.sha1(nonce, usedforsecurity=False).digest()))
    out.write(b"\r\n\r\n\x81\x05hello\x88\x02\x03\xf4")  # 1012


async def test_web_socket_passes_with_its_close_code_and_other_requests_ask_for_none(front: Front) -> None:
    front.all_are(upgrading)
    async with front.session.ws_connect(f"{front.url}/api/v1/stream?token=t") as socket:
        said = await socket.receive_str()
        await socket.receive()
        code = socket.close_code
    front.all_are(answering)
    status = await _status(front, "GET", "/api/v1/runs", headers={"Connection": "upgrade", "Upgrade": "h2c"})

    assert (said, code, status) == ("hello", 1012, 200)
    first, last = front.arrived
    assert (first.line, first.all("upgrade")) == ("GET /api/v1/stream?token=t HTTP/1.1", ["websocket"])
    assert [value.lower() for value in first.all("connection")] == ["upgrade"]
    assert (last.all("upgrade"), last.all("connection")) == ([], [])


async def test_question_with_a_key_goes_to_the_next_replica(front: Front) -> None:
    front.all_are(dying)
    front.puppets[1].answer = answering
    keyed = {"Idempotency-Key": "k-1"}

    statuses = [await _status(front, "POST", "/chat", json=QUESTION, headers=keyed) for _ in range(4)]

    assert statuses == [200] * 4
    assert front.puppets[0].arrived != []
    assert {tuple(request.all("idempotency-key")) for request in front.arrived} == {("k-1",)}
    assert {request.body for request in front.arrived} == {front.arrived[0].body}


@pytest.mark.parametrize("path", ["/api/v1/runs/r1", "/api/v1/runs/r1/events", "/ready"])
async def test_reading_goes_to_the_next_replica(front: Front, path: str) -> None:
    front.all_are(dying)
    front.puppets[1].answer = answering

    statuses = [await _status(front, "GET", path) for _ in range(4)]

    assert statuses == [200] * 4
    assert front.puppets[0].arrived != []


@pytest.mark.parametrize("path", ["/api/v1/query?query=hi", "/api/v1/agent/stream?query=hi", "/api/v1/%71uery?query=hi"])
async def test_question_by_address_is_never_sent_twice_even_with_a_key(front: Front, path: str) -> None:
    front.all_are(dying)

    status = await _status(front, "GET", path, headers={"Idempotency-Key": "k-1"})

    assert (status, len(front.arrived)) == (502, 1)


async def test_question_without_a_key_goes_to_a_living_replica_when_nothing_was_sent_to_the_dead_one(front: Front) -> None:
    await front.puppets[0].close()

    statuses = [await _status(front, "POST", "/chat", json=QUESTION) for _ in range(6)]

    assert statuses == [200] * 6
    assert len(front.puppets[1].arrived) == 6


async def test_answer_503_is_passed_on_and_takes_no_replica_away(front: Front) -> None:
    front.all_are(overloaded)

    for _ in range(6):
        async with front.session.post(f"{front.url}/chat", json=QUESTION, headers={"Idempotency-Key": "k"}) as reply:
            assert (reply.status, reply.headers["Retry-After"], await reply.read()) == (503, "7", b"busy")
    front.all_are(answering)
    status = await _status(front, "POST", "/chat", json=QUESTION)

    assert (len(front.arrived), status) == (7, 200)


async def test_replicas_that_all_failed_lately_are_asked_all_the_same(front: Front) -> None:
    front.all_are(dying)
    for _ in range(6):
        assert await _status(front, "GET", "/health") == 502
    front.all_are(answering)

    statuses = [await _status(front, "POST", "/chat", json=QUESTION) for _ in range(6)]

    assert statuses == [200] * 6


async def test_replica_that_comes_back_is_asked_again(front: Front) -> None:
    await front.puppets[0].close()
    for _ in range(4):
        assert await _status(front, "GET", "/health") == 200
    await front.puppets[0].open()

    async with asyncio.timeout(10):
        while not front.puppets[0].arrived:
            assert await _status(front, "GET", "/health") == 200
            await asyncio.sleep(0.05)

    assert front.puppets[0].arrived


async def test_event_stream_arrives_piece_by_piece_and_its_place_is_passed_on(front: Front) -> None:
    seen = asyncio.Event()

    async def streaming(request: Request, out: asyncio.StreamWriter) -> None:
        out.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Accel-Buffering: no\r\nConnection: close\r\n\r\n"
        )
        out.write(b"id: 8\ndata: {}\n\n")
        await out.drain()
        await seen.wait()  # for ever, if the first piece waited for the second one
        out.write(b"data: [DONE]\n\n")
        out.close()

    front.all_are(streaming)

    async with front.session.get(f"{front.url}/api/v1/runs/r1/events", headers={"Last-Event-ID": "7"}) as reply:
        first = await reply.content.readuntil(b"\n\n")
        seen.set()
        rest = await reply.read()

    assert (first, rest) == (b"id: 8\ndata: {}\n\n", b"data: [DONE]\n\n")
    assert front.arrived[0].all("last-event-id") == ["7"]


async def test_what_a_client_says_of_its_way_here_is_replaced(front: Front) -> None:
    said = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "elsewhere.example",
        "X-Real-IP": "203.0.113.9",
        "Forwarded": "for=203.0.113.9",
        "Via": "1.1 elsewhere",
        "X-Request-Id": "mine",
    }

    await _status(front, "GET", "/health", headers=said)

    (request,) = front.arrived
    assert request.all("x-forwarded-for") == ["127.0.0.1"]
    assert request.all("x-forwarded-proto") == ["http"]
    assert request.all("x-forwarded-host") == [front.url.removeprefix("http://")] == request.all("host")
    assert [request.all(name) for name in ("x-real-ip", "forwarded", "via")] == [[], [], []]
    assert request.all("x-request-id") == ["mine"]


async def test_connections_to_replicas_are_kept_but_for_questions_without_a_key(front: Front) -> None:
    for _ in range(6):
        await _status(front, "GET", "/health")
    kept = sum(puppet.connections for puppet in front.puppets)
    for _ in range(6):
        await _status(front, "POST", "/chat", json=QUESTION)
    all_in_all = sum(puppet.connections for puppet in front.puppets)

    assert kept <= 2
    assert all_in_all == kept + 6


async def test_too_large_a_body_or_head_reaches_no_replica(front: Front) -> None:
    async with front.session.post(f"{front.url}/chat", data=io.BytesIO(b"x" * (2 * 1024 * 1024 + 1))) as large:
        body_code = (await large.json())["error"]["code"]
    async with front.session.get(f"{front.url}/health", headers={"X-Large": "x" * 20_000}) as wide:
        head_code = (await wide.json())["error"]["code"]

    assert (large.status, body_code, wide.status, head_code) == (413, "too_large", 431, "headers_too_large")
    assert front.arrived == []


async def test_question_is_in_no_log_line(front: Front, tmp_path: Path) -> None:
    await _status(front, "GET", "/api/v1/query?query=my-salary")
    await _status(front, "POST", "/chat", json={"message": "my-salary"})

    log = (tmp_path / "nginx.log").read_text()

    assert '"path":"/api/v1/query"' in log
    assert "my-salary" not in log


def test_filled_in_template_leaves_no_name_open() -> None:
    text = rendered(listen="127.0.0.1:1", api_servers="server 127.0.0.1:2;", access_log="off")

    assert "${" not in text
    assert text.count("server 127.0.0.1:2;") == 2


async def _status(front: Front, method: str, path: str, **more: object) -> int:
    async with front.session.request(method, front.url + path, **more) as reply:  # type: ignore[arg-type]
        await reply.read()
        return reply.status
