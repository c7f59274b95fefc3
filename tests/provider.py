"""A model provider on the loopback interface that answers, fails, stalls and lies as it is told."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from aiohttp.test_utils import TestServer

from quarterdeck.core.context import Context, Principal
from quarterdeck.core.labels import PUBLIC, Integrity, Label
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.core.usage import Usage
from quarterdeck.models.base import Allowance, ModelRequest, ToolSpec

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
WEATHER = ToolSpec(
    name="get_weather",
    description="Tell the weather of a city.",
    input_schema={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


class Provider:
    """Answers each request with the next handler of `script`, and with `otherwise` when there is none left.

    Attributes:
        requests: Decoded bodies, in order of arrival.
        headers, paths: Of the same requests; a path with its query.
        hung_up_at: Monotonic instants at which clients closed a connection before they had their answer.
    """

    def __init__(self, *script: Handler) -> None:
        self.script = deque(script)
        self.otherwise: Handler = completion("Hello.")
        self.requests: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.paths: list[str] = []
        self.hung_up_at: list[float] = []
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._server = TestServer(app, host="127.0.0.1")

    async def __aenter__(self) -> Self:
        await self._server.start_server()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._server.close()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1"

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(json.loads(await request.read() or b"{}"))
        self.headers.append(request.headers)
        self.paths.append(request.path_qs)
        handler = self.script.popleft() if self.script else self.otherwise
        try:
            return await handler(request)
        except asyncio.CancelledError:
            self.hung_up_at.append(time.monotonic())
            raise


def responds(
    status: int = 200, body: str | bytes = "", *, headers: Mapping[str, str] | None = None, kind: str = "application/json"
) -> Handler:
    """Answers with exactly this."""
    data = body.encode() if isinstance(body, str) else body

    async def handle(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=data, headers=headers, content_type=kind)

    return handle


def fails(status: int, message: str = "no", *, headers: Mapping[str, str] | None = None, **fields: Any) -> Handler:
    """Answers with an error in the usual shape."""
    return responds(status, json.dumps({"error": {"message": message, **fields}}), headers=headers)


def completion(text: str | None = None, *, calls: Iterable[Any] = (), finish: str | None = "stop", **more: Any) -> Handler:
    """Answers with a whole reply."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = list(calls)
    body = {"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": USAGE, **more}
    return responds(200, json.dumps(body))


def called(name: str, arguments: Any, id: str = "call_1") -> dict[str, Any]:
    """A whole tool call as a provider sends it."""
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def chunk(delta: Mapping[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    """One event of a stream."""
    choices = [] if delta is None and finish is None else [{"index": 0, "delta": delta or {}, "finish_reason": finish}]
    return b"data: " + json.dumps({"choices": choices, **more}, ensure_ascii=False).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
HELLO = (
    chunk({"role": "assistant", "content": ""})
    + chunk({"content": "Hel"})
    + chunk({"content": "lo, 世界"})
    + chunk({"content": "."})
    + chunk({}, "stop")
    + chunk(usage=USAGE)
    + DONE
)


def streams(*pieces: bytes, cut: bool = False, stall_s: float = 0.0) -> Handler:
    """Answers with these bytes, one write each; then may stall, and ends the body or cuts the connection."""

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(0)
        if stall_s:
            await asyncio.sleep(stall_s)
        if cut:
            assert request.transport is not None
            request.transport.close()
        return response

    return handle


def stalls(seconds: float) -> Handler:
    """Sends nothing for so long."""

    async def handle(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return web.Response()

    return handle


async def hangs_up(request: web.Request) -> web.StreamResponse:
    """Closes the connection without a word."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()


def said(role: Role, text: str) -> Message:
    return Message(role=role, parts=(Text(text=text, label=Label(integrity=Integrity.TRUSTED, readers=PUBLIC)),))


def question(text: str = "How are you?", **fields: Any) -> ModelRequest:
    return ModelRequest(messages=(said(Role.SYSTEM, "Be brief."), said(Role.USER, text)), **fields)


def context(*, within_s: float = 10.0, trace_id: str | None = None) -> Context:
    principal = Principal(user="ann", tenant="acme")
    return Context(principal=principal, run_id="run-1", deadline=time.monotonic() + within_s, trace_id=trace_id)


class Books:
    """A budget that only takes notes."""

    def __init__(self) -> None:
        self.spent: list[tuple[str, Usage]] = []
        self.tools: list[str] = []

    async def allow(self, ctx: Context, model: str, request: ModelRequest) -> Allowance:
        return Allowance()

    @asynccontextmanager
    async def hold(self, ctx: Context, model: str, request: ModelRequest) -> AsyncIterator[None]:
        yield

    async def spend(self, ctx: Context, model: str, usage: Usage, *, tools: Sequence[str] = ()) -> None:
        self.spent.append((model, usage))
        self.tools.extend(tools)

    async def save(self, ctx: Context, by: str, model: str, usage: Usage) -> None: ...
