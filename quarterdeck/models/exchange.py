"""A model behind HTTP, whatever its dialect: one request per call, streamed only if somebody watches."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from quarterdeck.core.context import Context
from quarterdeck.core.errors import (
    DeadlineExceeded,
    Forbidden,
    Misconfigured,
    ModelInvalid,
    ModelRefused,
    ModelUnavailable,
    TooLarge,
    Unavailable,
)
from quarterdeck.models.base import Completion, Emit, ModelRequest
from quarterdeck.models.listener import Listener
from quarterdeck.models.sse import EventStream
from quarterdeck.models.wire import Fault, decode, encode, failure, read_fault, shortened, traceparent
from quarterdeck.net.client import GuardedClient, Reply

__all__ = ["WireModel"]

_MAX_REPLY = 32 << 20
_MAX_FAULT = 64 << 10
_TICK_S = 0.005  # timers of some event loops fire a few milliseconds early


class WireModel(ABC):
    """Speaks one provider's dialect over the guarded client. A subclass says how requests and replies are written.

    Its only state is which parameters the model has refused: newer models take no temperature, say, and tell so in an
    error. Such a call is sent again without, and later calls leave them out from the start.
    """

    path: ClassVar[str]
    statuses: ClassVar[Mapping[str, int]] = {}  # of errors that come inside a reply, by their code

    def __init__(
        self,
        name: str,
        *,
        base_url: str,
        api_key: str,
        client: GuardedClient,
        timeout_s: float = 60.0,
        idle_timeout_s: float = 30.0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            name: ``provider:name``; what stands behind the colon is sent.
            base_url: Up to and without the path of the endpoint.
            api_key: Empty if the server wants none.
            timeout_s: For one request, streamed or not; the caller's deadline shortens it.
            idle_timeout_s: Between two pieces of a streamed reply.
            options: Sent with every request; the request's own win.
        """
        self._name = name
        self._wire_name = name.partition(":")[2] or name
        self._url = base_url.rstrip("/") + self.path
        self._key = api_key.strip()
        if not self._key.isprintable() or not self._key.isascii():
            raise Misconfigured(f"the API key of {name} has characters no header can carry: copy it again")
        self._headers = {"Content-Type": "application/json", **self._authorization()}
        self._client = client
        self._timeout_s = timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._options = dict(options or {})
        self._refused: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return self._name

    @abstractmethod
    def _payload(self, request: ModelRequest, listener: Listener) -> dict[str, Any]:
        """The body of the request."""

    @abstractmethod
    def _listener(self, emit: Emit | None) -> Listener:
        """A fresh listener for a reply."""

    @abstractmethod
    def _negotiable(self, fault: Fault) -> str | None:
        """The parameter a bad request was refused for, if it can do without; may be one that is left out already."""

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}"} if self._key else {}

    def _fault(self, decoded: Mapping[str, Any]) -> Fault | None:
        """The error inside a reply that promised to be none."""
        return read_fault(decoded, self._key) if decoded.get("error") else None

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        started = time.monotonic()
        attempts = 1
        listener = self._listener(emit)
        while True:
            async with self._sent(request, ctx, listener) as reply:
                if not 200 <= reply.status < 300:
                    self._refused |= {await self._refusal(reply)}
                else:
                    await self._listen(reply, listener)
                    if not listener.paused:
                        break
                    listener.resume()
            attempts += 1
        return listener.completion(request, seconds=time.monotonic() - started, attempts=attempts)

    @asynccontextmanager
    async def _sent(self, request: ModelRequest, ctx: Context, listener: Listener) -> AsyncIterator[Reply]:
        """The reply to `request`, with the network's failures told in the words of the protocol."""
        headers = self._headers
        if (parent := traceparent(ctx.trace_id)) is not None:
            headers = {**headers, "traceparent": parent}
        try:
            async with self._client.open(
                "POST",
                self._url,
                headers=headers,
                body=encode(self._payload(request, listener)),
                timeout_s=min(ctx.remaining_s(), self._timeout_s),
                idle_timeout_s=self._idle_timeout_s if listener.watched else None,
                max_bytes=_MAX_REPLY,
            ) as reply:
                yield reply
        except Forbidden as error:
            raise ModelRefused(f"{self._name} was not called: {error}") from error
        except TooLarge as error:
            raise ModelInvalid(f"{self._name}: {error}") from error
        except Unavailable as error:
            if type(error) is not Unavailable:
                raise  # already said in those words, or the watcher's own
            if ctx.deadline - time.monotonic() < _TICK_S:
                raise DeadlineExceeded(f"run {ctx.run_id} has used up its time waiting for {self._name}") from error
            raise ModelUnavailable(f"{self._name}: {error}", delivered=listener.delivered) from error

    async def _refusal(self, reply: Reply) -> str:
        """The parameter this model does not take, if that is all; otherwise raises the error the reply is."""
        body = await _beginning(reply)
        try:
            decoded = decode(body)
        except ValueError:
            decoded = body.decode("utf-8", "replace")
        fault = read_fault(decoded, self._key)
        if reply.status == 400 and (param := self._negotiable(fault)) is not None and param not in self._refused:
            return param
        if 300 <= reply.status < 400:
            raise ModelRefused(f"{self._name} answered {reply.status}, a redirect: set its base_url to where it points")
        raise failure(self._name, reply.status, reply.headers, fault)

    async def _listen(self, reply: Reply, listener: Listener) -> None:
        if listener.watched and "json" not in reply.headers.get("Content-Type", ""):
            await self._listen_to_stream(reply, listener)
        else:
            await self._hear(await reply.read(), reply, listener)
            listener.ended = True

    async def _listen_to_stream(self, reply: Reply, listener: Listener) -> None:
        stream = EventStream()
        try:
            while not listener.ended:
                chunk = await reply.read_some()
                for data in stream.feed(chunk) if chunk else stream.close():
                    if data.strip() == b"[DONE]":
                        listener.ended = True
                    else:
                        await self._hear(data, reply, listener)
                    if listener.ended:
                        break
                if not chunk:
                    break
        except Unavailable as error:
            # The reply was whole already; asking again would pay for it twice.
            if type(error) is not Unavailable or listener.finish is None:
                raise
        else:
            if listener.ended:
                await reply.drain()

    async def _hear(self, data: bytes, reply: Reply, listener: Listener) -> None:
        try:
            decoded = decode(data)
        except ValueError as error:
            text = shortened(data.decode("utf-8", "replace"), self._key, limit=200)
            raise ModelInvalid(f"{self._name} answered {reply.status} with something that is not JSON: {text!r}") from error
        if not isinstance(decoded, dict):
            raise ModelInvalid(f"{self._name} answered with JSON that is no object")
        fault = self._fault(decoded)
        if fault is not None:
            numeric = int(fault.code) if fault.code.isdecimal() and len(fault.code) == 3 else None
            failed = failure(self._name, self.statuses.get(fault.code, numeric), reply.headers, fault)
            if isinstance(failed, ModelUnavailable):
                failed.delivered = listener.delivered
            raise failed
        await listener.add(decoded)


async def _beginning(reply: Reply) -> bytes:
    """The first 64 KiB of a body, or what of it arrives: an error is an error even if its explanation is cut."""
    body = b""
    try:
        while len(body) < _MAX_FAULT and (piece := await reply.read_some()):
            body += piece
    except Unavailable:
        pass
    return body[:_MAX_FAULT]
