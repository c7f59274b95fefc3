"""Connections that stay open: who takes nothing is cut, who is dead is found, and nobody comes in without a right."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import typing
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from quarterdeck.core.context import Principal
from quarterdeck.core.events import Delta
from quarterdeck.service.access import SCOPES, Access
from quarterdeck.service.limits import RateLimits
from quarterdeck.service.stream_tokens import StreamTokens
from quarterdeck.transports.http.errors import STATUS
from quarterdeck.transports.http.server import GracefulServer
from quarterdeck.transports.websocket import messages
from quarterdeck.transports.websocket.door import Door, mount
from quarterdeck.transports.websocket.errors import CLOSE

from .conftest import KEYS, USERS, Served

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "websocket.md").read_text()
HANDSHAKE = (
    b"GET /api/v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@asynccontextmanager
async def serving(
    served: Served,
    *,
    ping_s: float = 20.0,
    stall_s: float = 30.0,
    access: Access | None = None,
    rates: RateLimits | None = None,
) -> AsyncIterator[tuple[int, Door]]:
    state = served.app.state
    access = access or state.access
    tokens = StreamTokens(served.store.records, access)
    door = Door(desk=state.desk, approvals_desk=state.approvals, access=access, tokens=tokens, rates=rates)
    mount(served.app, door, tokens)
    ports: list[int] = []
    ready = anyio.Event()

    def on_ready(port: int) -> None:
        ports.append(port)
        ready.set()

    server = GracefulServer(
        served.app, host="127.0.0.1", port=0, on_ready=on_ready, on_stop=lambda: None,
        head_timeout_s=5.0, max_body_bytes=10_000, drain_s=0.0, stop_s=1.0, ping_s=ping_s, stall_s=stall_s,
    )  # fmt: skip
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)
        await ready.wait()
        yield ports[0], door
        server.stop()
        server.stop()


def opening(port: int, key: str | None = None, path: str = "/api/v1/stream") -> connect:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return connect(f"ws://127.0.0.1:{port}{path}", additional_headers=headers, proxy=None, ping_interval=None)


async def say(client: ClientConnection, type: str, **fields: Any) -> None:
    await client.send(json.dumps({"type": type, "id": "a", **fields}))


async def hear(client: ClientConnection) -> Any:
    with anyio.fail_after(10):
        return json.loads(await client.recv())


async def closed_with(client: ClientConnection) -> int:
    with anyio.fail_after(10), contextlib.suppress(ConnectionClosed):
        while True:
            await client.recv()
    assert client.close_code is not None
    return client.close_code


async def flooded(served: Served, client: ClientConnection) -> str:
    """Have somebody ask who reads nothing more, and say more than fits between the two; gives the run."""
    served.worker.gate = anyio.Event()
    await say(client, "ask", message="Tell me everything.")
    run_id = str((await hear(client))["run_id"])
    for n in range(3000):
        await served.worker.hub.delta("acme", run_id, Delta(kind="text", text="x" * 5000, turn=1, n=n))
        await anyio.lowlevel.checkpoint()
    served.worker.gate.set()
    return run_id


async def ended(served: Served, run_id: str) -> str:
    with anyio.fail_after(10):
        while not (row := await served.store.journal.find("acme", run_id)).status.ended:  # type: ignore[union-attr]
            await anyio.sleep(0.01)
    assert row is not None
    return row.status.value


@pytest.mark.row("S6", part="slow reader")
async def test_reader_that_takes_nothing_is_cut_and_the_run_goes_on(served: Served) -> None:
    async with serving(served, stall_s=0.3) as (port, _), opening(port, KEYS["emma"]) as client:
        served.worker.hub.size = 10_000
        run_id = await flooded(served, client)
        await anyio.sleep(0.5)

        assert await closed_with(client) == 1013
        assert await ended(served, run_id) == "done"
        assert served.worker.hub.keys() == []


@pytest.mark.row("S6", part="slow reader")
async def test_reader_that_falls_behind_is_cut_and_finds_the_rest_by_its_seq(served: Served) -> None:
    async with serving(served) as (port, _):
        served.worker.hub.size = 8
        async with opening(port, KEYS["emma"]) as client:
            run_id = await flooded(served, client)
            code = await closed_with(client)
        status = await ended(served, run_id)
        async with opening(port, KEYS["emma"]) as client:
            await say(client, "follow", run_id=run_id, after=1)
            told = [await hear(client)]
            while told[-1]["type"] != "end":
                told.append(await hear(client))

    assert (code, status) == (1013, "done")
    assert [message["seq"] for message in told if "seq" in message] == [2, 3, 4]


@pytest.mark.row("S6", part="heartbeat")
async def test_peer_that_answers_no_ping_is_found_dead(served: Served) -> None:
    async with serving(served, ping_s=0.2) as (port, _), opening(port) as living:
        said = await anyio.to_thread.run_sync(_listen, port)
        await say(living, "ping")
        answer = await hear(living)

    assert said.startswith(b"HTTP/1.1 101 ")
    assert b"\x89\x04" in said  # a ping
    assert (1011).to_bytes(2, "big") in said
    assert answer == {"type": "pong", "id": "a"}


def _listen(port: int) -> bytes:
    """What a peer hears that opens a connection and says nothing, until it is closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(HANDSHAKE + b"\r\n")
        said = b""
        while more := connection.recv(65_536):
            said += more
        return said


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (HANDSHAKE.replace(b"GET", b"POST") + b"\r\n", b"405"),
        (HANDSHAKE + b"X: " + b"a" * 9_000 + b"\r\n\r\n", b"400"),
        (HANDSHAKE + b"a: b\r\n" * 200 + b"\r\n", b"400"),
        (HANDSHAKE.replace(b"Version: 13", b"Version: 8") + b"\r\n", b"400"),
        (HANDSHAKE.replace(b"/stream", b"/nowhere") + b"\r\n", b"403"),
        (b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" + HANDSHAKE + b"\r\n", b"400"),
    ],
    ids=["no GET", "a long header", "many headers", "old version", "nothing there", "before an answer"],
)
async def test_handshake_that_is_none_is_refused_and_closed(served: Served, head: bytes, status: bytes) -> None:
    def ask(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(head)
            said = b""
            while more := connection.recv(65_536):
                said += more
            return said

    async with serving(served) as (port, _):
        said = await anyio.to_thread.run_sync(ask, port)

    assert b"HTTP/1.1 " + status in said
    assert b"HTTP/1.1 101" not in said


async def test_unread_pongs_do_not_pile_up(served: Served) -> None:
    def flood(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(HANDSHAKE + b"\r\n")
            for _ in range(400):
                connection.sendall((b"\x89\xfd\0\0\0\0" + b"p" * 125) * 500)
            said = b""
            connection.settimeout(0.5)
            try:
                while more := connection.recv(1_048_576):
                    said += more
            except TimeoutError:
                pass
            return said

    async with serving(served) as (port, _):
        said = await anyio.to_thread.run_sync(flood, port)

    assert said.count(b"p" * 125) < 200_000


async def test_what_came_behind_the_message_that_ends_the_connection_is_not_done(served: Served) -> None:
    ask = json.dumps({"type": "ask", "id": "a", "message": "Hello"}).encode()
    async with serving(served) as (port, _), opening(port, KEYS["emma"]) as client:
        at_once = Frame(Opcode.BINARY, b"x").serialize(mask=True) + Frame(Opcode.TEXT, ask).serialize(mask=True)
        client.transport.write(at_once)

        assert await closed_with(client) == CLOSE["unsupported_media_type"]

    assert await served.store.journal.runs("acme", limit=1) == []


async def test_connections_that_are_over_leave_no_task_behind(served: Served) -> None:
    served.worker.gate = anyio.Event()  # no run ends, so each is followed for as long as its connection stands
    async with serving(served) as (port, _):
        before = len(anyio.get_running_tasks())
        clients = [await opening(port, KEYS["emma"]) for _ in range(50)]
        for client in clients:
            await say(client, "ask", message="Hello")
            await hear(client)
        during = len(anyio.get_running_tasks())

        for number, client in enumerate(clients):
            if number % 2:
                client.transport.abort()
            else:
                await client.close()

        with anyio.fail_after(10):
            while len(anyio.get_running_tasks()) > before + len(clients):  # the runs themselves go on
                await anyio.sleep(0.01)
        served.worker.gate.set()
    assert during >= before + 3 * len(clients)


@pytest.mark.row("S6", part="who may come in")
async def test_address_with_a_parameter_nobody_knows_is_refused(served: Served) -> None:
    async with serving(served) as (port, _):
        with pytest.raises(InvalidStatus) as refused:
            async with opening(port, path="/api/v1/stream?tokn=x"):
                pass

    told = json.loads(refused.value.response.body or b"")["error"]
    assert (refused.value.response.status_code, told["code"]) == (422, "invalid_input")
    assert "query.tokn" in told["message"]


async def test_stopping_server_lets_nobody_in(served: Served) -> None:
    async with serving(served) as (port, door):
        async with opening(port) as client:
            door.drain()
            code = await closed_with(client)
        with pytest.raises(InvalidStatus) as refused:
            async with opening(port):
                pass

    assert (code, refused.value.response.status_code) == (1012, 503)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"type": "nothing", "id": "1"}', "Input tag 'nothing' found"),
        ('{"type": "ask", "id": "1"}', "ask.message: Field required"),
    ],
    ids=["unknown", "incomplete"],
)
async def test_what_is_no_message_is_answered_with_an_id_to_ask_about(
    served: Served, caplog: pytest.LogCaptureFixture, text: str, problem: str
) -> None:
    caplog.set_level("INFO")
    async with serving(served) as (port, _), opening(port, KEYS["emma"]) as client:
        await client.send(text)
        told = await hear(client)

    assert (told["id"], told["error"]["code"]) == ("1", "invalid_input")
    assert told["error"]["message"].startswith(problem)
    assert told["error"]["request_id"]
    assert [getattr(record, "code", None) for record in caplog.records if record.message == "message"] == ["invalid_input"]


async def test_who_may_not_act_any_more_is_sent_away_at_the_next_message(served: Served) -> None:
    class Forgetful(Access):
        async def current(self, principal: Principal) -> Principal | None:
            return None

    async with serving(served, access=Forgetful(USERS, {}, keyless=True)) as (port, _), opening(port) as client:
        await say(client, "ping")

        assert await closed_with(client) == 4401


async def test_nobody_without_a_right_is_made_a_token(served: Served) -> None:
    async with serving(served):
        path = "/api/v1/stream-tokens"
        stranger = await served.send("POST", path, headers={"x-forwarded-for": "203.0.113.7"})
        foreign = await served.send("POST", path, headers={"origin": "https://evil.example"})
        omar = await served.send("POST", path, key=KEYS["omar"])

    assert (stranger.status, foreign.status, omar.status) == (401, 403, 201)


async def test_what_breaks_inside_is_answered_with_an_id_and_not_told(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a secret")

    async with serving(served) as (port, _), opening(port, KEYS["emma"]) as client:
        served.app.state.desk.controls.cancel = broken
        await say(client, "cancel", run_id="abc")
        answer = await hear(client)
        await say(client, "ping")
        still = await hear(client)

    assert answer["error"]["code"] == "internal"
    assert answer["error"]["request_id"] in answer["error"]["message"]
    assert "secret" not in json.dumps(answer)
    assert still["type"] == "pong"


def test_every_close_code_stands_on_the_page() -> None:
    rows = re.findall(r"^\| (\d{4}) \| (.*?) \|", PAGE, re.MULTILINE)
    told = {name: int(code) for code, names in rows for name in re.findall(r"`(\w+)`", names)}

    assert told == dict(CLOSE)


def test_what_closes_a_connection_and_has_a_name_in_http_has_the_same_one_here() -> None:
    assert set(CLOSE) - set(STATUS) == {"fragmented", "dead_peer", "stopping", "too_slow"}


def test_every_message_stands_on_the_page_with_its_scopes() -> None:
    kinds = [getattr(messages, name) for name in messages.__all__]
    said = {kind.model_fields["type"].annotation.__args__[0]: kind for kind in kinds if hasattr(kind, "model_fields")}
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \|", PAGE, re.MULTILINE)

    there = {name: "any" if kind.scopes == messages.ANY else ", ".join(sorted(kind.scopes)) for name, kind in said.items()}
    assert dict(rows) == there


@pytest.mark.row("S6", part="scopes")
def test_every_message_declares_who_may_say_it() -> None:
    kinds = {kind for union in typing.get_args(messages.Message) for kind in (typing.get_args(union) or (union,))}
    named = {getattr(messages, name) for name in messages.__all__ if hasattr(getattr(messages, name), "model_fields")}

    undeclared = [kind.__name__ for kind in kinds if not getattr(kind, "scopes", None)]
    unknown = {scope for kind in kinds for scope in kind.scopes} - set(SCOPES)

    assert (undeclared, unknown) == ([], set())
    assert kinds == named  # and there is no other kind


@pytest.mark.parametrize(
    "early",
    [
        b"\x89\x80\0\0\0\0",
        b"\x81\x85\0\0\0\0hello",
        b"\x81\xff" + (10**8).to_bytes(8, "big"),
        b"\x88\x80\0\0\0\0",
        b"\xff" * 50,
    ],
    ids=["ping", "text", "too large", "close", "noise"],
)
@pytest.mark.parametrize("together", [True, False])
async def test_who_speaks_before_the_connection_is_open_breaks_nothing(
    served: Served, early: bytes, together: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def ask(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            pieces = [HANDSHAKE + b"\r\n" + early] if together else [HANDSHAKE + b"\r\n", early]
            for piece in pieces:
                connection.sendall(piece)
            connection.settimeout(0.3)
            with contextlib.suppress(TimeoutError, ConnectionError):
                while connection.recv(65_536):
                    pass

    async with serving(served) as (port, _):
        await anyio.to_thread.run_sync(ask, port)
        async with opening(port) as client:
            await say(client, "ping")
            answer = await hear(client)

    assert answer["type"] == "pong"
    assert [record for record in caplog.records if record.exc_info or record.levelname == "ERROR"] == []
