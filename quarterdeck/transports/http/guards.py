"""What every request passes before a route: plain ASGI, outermost first `Envelope`, `KnownNames`, `Heads`, `BoundedBody`."""

from __future__ import annotations

import ipaddress
import logging
import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quarterdeck.telemetry import bound
from quarterdeck.telemetry.tags import TagRules
from quarterdeck.transports.http.errors import STATUS
from quarterdeck.transports.http.handlers import problem
from quarterdeck.transports.ids import request_ids
from quarterdeck.transports.proxies import Proxies, brings_others
from quarterdeck.transports.single import contradicted, repeated

__all__ = ["LOOPBACK_NAMES", "BodyLimits", "BoundedBody", "Envelope", "Heads", "KnownNames", "is_loopback"]

log = logging.getLogger(__name__)

MAX_HEADER_BYTES = 32_768
_HOST = re.compile(r"([a-z0-9_.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::([0-9]{1,5}))?\Z")
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_GUARDED = frozenset({"http", "websocket"})
_STARTS = frozenset({"http.response.start", "websocket.http.response.start", "websocket.accept"})
_JSON = re.compile(r"application/json\s*(;.*)?\Z", re.IGNORECASE)


def is_loopback(address: str) -> bool:
    """True for an address, or the name ``localhost``, that only this machine can reach."""
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address == "localhost"


class Envelope:
    """Gives every request its ids and tags, logs it in one line, and turns what nobody caught into an error with an id."""

    def __init__(self, app: ASGIApp, tags: TagRules) -> None:
        self.app = app
        self._tags = tags

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in _GUARDED:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        state = scope.setdefault("state", {})
        ids = request_ids(headers, self._tags)
        state["request_id"], state["trace_id"], state["span_id"] = ids.request_id, ids.trace_id, ids.span_id
        state["tags"] = ids.tags
        with bound(**ids.logged):
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, status, state = time.perf_counter(), 0, scope["state"]

        async def marked(message: Message) -> None:
            nonlocal status
            if message["type"] in _STARTS:
                status = message.get("status", 101)
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = state["request_id"]
                headers["X-Content-Type-Options"] = "nosniff"
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
                await refuse("headers_too_large", f"the headers exceed {MAX_HEADER_BYTES} bytes", scope, receive, marked)
            elif (twice := repeated(name.decode("latin-1") for name, _ in scope["headers"])) is not None:
                await refuse("bad_request", f"the header {twice} stands there twice; send it once", scope, receive, marked)
            elif contradicted(Headers(scope=scope)):
                message = "Authorization and X-API-Key name two credentials; send one of them"
                await refuse("bad_request", message, scope, receive, marked)
            else:
                await self.app(scope, receive, marked)
        except Exception:
            log.exception("request crashed")
            if status:
                raise  # half an answer is out: only closing the connection tells the client
            await refuse("internal", f"something broke; its id is {state['request_id']}", scope, receive, marked)
        finally:
            fields: dict[str, Any] = {
                "method": scope.get("method", "GET"),
                "route": getattr(scope.get("route"), "path", "none"),
                "status": status,
                "duration_ms": round((time.perf_counter() - began) * 1000, 1),
            }
            log.info("request", extra=fields | {name: state[name] for name in ("tenant", "run_id") if name in state})


class KnownNames:
    """Refuses requests meant for another host or sent by a foreign page: both reach loopback through a browser.

    Args:
        hosts: Names this server is called by, without port; empty for any well-formed one.
        origins: Origins of foreign pages that may call.
        proxies: In front of this server; they say who is calling.
    """

    def __init__(
        self, app: ASGIApp, *, hosts: Collection[str], origins: Collection[str], proxies: Proxies | None = None
    ) -> None:
        self.app = app
        self._proxies = proxies or Proxies()
        self._hosts = frozenset(host.lower() for host in hosts)
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in _GUARDED:
            headers, state = Headers(scope=scope), scope["state"]
            refusal = self._refusal(headers, state)
            if refusal is not None:
                await refuse(*refusal, scope, receive, send)
                return
            peer = scope["client"][0] if scope.get("client") else ""
            state["address"] = self._proxies.client(peer, headers.getlist("x-forwarded-for"))
            state["forwarded"] = self._proxies.known(peer) or brings_others(headers)
            state["loopback"] = is_loopback(peer)
        await self.app(scope, receive, send)

    def _refusal(self, headers: Headers, state: dict[str, Any]) -> tuple[str, str] | None:
        sent = headers.getlist("host")
        host = _HOST.match(sent[0].lower()) if len(sent) == 1 else None
        if host is None:
            return "unknown_host", "the Host header is missing, repeated or malformed"
        if self._hosts and host[1] not in self._hosts:
            return "unknown_host", "this server is not called by that name; see server.hosts"
        # A foreign page may make a browser fetch an address without an Origin, as an image for instance; it says so then.
        foreign = any(said not in ("none", "same-origin") for said in headers.getlist("sec-fetch-site"))
        state["known_host"] = host[1] in (self._hosts or LOOPBACK_NAMES) and not foreign
        if not all(self._may_call(origin.lower(), host[0]) for origin in headers.getlist("origin")):
            return "foreign_origin", "pages of that origin may not call this server; see server.origins"
        return None

    def _may_call(self, origin: str, host: str) -> bool:
        return origin in self._origins or origin in (f"http://{host}", f"https://{host}")


class Heads:
    """Answers HEAD as GET would be answered, without the body. A route that begins something looks at ``state.head``."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        answered = anyio.Event()
        given = False

        async def nothing_more() -> Message:
            nonlocal given
            if not given:
                given = True
                return await receive()
            await answered.wait()
            return {"type": "http.disconnect"}  # a stream ends here, as it does for a reader who leaves

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                answered.set()

        scope["state"]["head"] = True
        asked = {**scope, "method": "GET"}  # a copy: the server looks at its own to send no body
        await self.app(asked, nothing_more, without_body)
        if "route" in asked:
            scope["route"] = asked["route"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyLimits:
    """What a body may take: bytes, and seconds until it is there."""

    max_bytes: int
    timeout_s: float


class BoundedBody:
    """Reads the body before the route sees it, at most so much and so long, and only as uncompressed JSON.

    Args:
        max_bytes: Counted on the stream, whatever Content-Length says.
        timeout_s: From the first byte of the request to the last of its body.
        uploads: Paths that take files, and those of any kind, with what they and their bodies may take instead.
    """

    def __init__(
        self, app: ASGIApp, *, max_bytes: int, timeout_s: float, uploads: Mapping[str, BodyLimits] | None = None
    ) -> None:
        self.app = app
        self._limits = BodyLimits(max_bytes=max_bytes, timeout_s=timeout_s)
        self._uploads = uploads or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if headers.get("content-encoding", "identity").lower() != "identity":
            await refuse("unsupported_media_type", "compressed bodies are not accepted", scope, receive, send)
            return
        upload = self._uploads.get(scope["path"])
        limits = upload or self._limits
        body: bytes | None = None
        announced = headers.get("content-length", "0")
        if not announced.isdecimal() or int(announced[:20]) <= limits.max_bytes:
            with anyio.move_on_after(limits.timeout_s) as waiting:
                body = await self._read(receive, limits.max_bytes)
            if waiting.cancelled_caught:
                await refuse("request_timeout", f"the body did not arrive within {limits.timeout_s} s", scope, receive, send)
                return
        if body is None:
            await refuse("too_large", f"the body exceeds {limits.max_bytes} bytes", scope, receive, send)
        elif body and upload is None and not _JSON.match(headers.get("content-type", "")):
            await refuse("unsupported_media_type", "send Content-Type: application/json", scope, receive, send)
        else:
            await self.app(scope, _replayed(body, receive), send)

    async def _read(self, receive: Receive, max_bytes: int) -> bytes | None:
        """The whole body; None if it is too large. The rest of such a one is left unread."""
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return b"".join(pieces)  # the client is gone; nobody will read what the route answers
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            if size > max_bytes:
                return None
            if not message.get("more_body", False):
                return b"".join(pieces)


def _replayed(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def refuse(code: str, message: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer an error from outside the routes. Of a body that was not read to its end the connection is closed."""
    closing: Mapping[str, str] = {"Connection": "close"} if STATUS[code] in (408, 413, 415, 431) else {}
    await problem(code, message, scope["state"]["request_id"], closing)(scope, receive, send)
