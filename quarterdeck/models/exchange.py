"""A model behind HTTP, whatever its dialect: one request per call, streamed only if somebody watches."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import anyio

from quarterdeck.core.context import Context
from quarterdeck.core.errors import DeadlineExceeded, Forbidden, ModelUnavailable, QuarterdeckError, TooLarge, Unavailable
from quarterdeck.models.base import Completion, Emit, ModelRequest
from quarterdeck.models.endpoint import Endpoint
from quarterdeck.models.listener import Listener
from quarterdeck.models.sse import EventStream
from quarterdeck.models.wire import Fault, failure, read_fault
from quarterdeck.net.client import GuardedClient, Reply

__all__ = ["WireModel"]


class WireModel(ABC):
    """Speaks one provider's dialect over the guarded client. A subclass says how requests and replies are written.

    Its only state is which parameters the model has refused: newer models take no temperature, say, and tell so in an
    error. Such a call is sent again without, and later calls leave them out from the start.
    """

    path: ClassVar[str]  # behind the base URL
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
        self._key = api_key.strip()
        self._endpoint = Endpoint(
            name,
            self._url(base_url.rstrip("/")),
            key=self._key,
            headers=self._authorization(),
            client=client,
            timeout_s=timeout_s,
        )
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

    def _url(self, base_url: str) -> str:
        return base_url + self.path

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}"} if self._key else {}

    def _fault(self, decoded: Mapping[str, Any]) -> Fault | None:
        """The error inside a reply that promised to be none."""
        return read_fault(decoded, self._key) if decoded.get("error") else None

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        started = time.monotonic()
        attempts = 1
        listener = self._listener(emit)
        try:
            while not await self._asked(request, ctx, listener):
                attempts += 1
        except QuarterdeckError as error:
            told = self._endpoint.told(error, ctx) if isinstance(error, Forbidden | TooLarge | Unavailable) else error
            if told.usage is None:
                told.usage = listener.consumed(request, seconds=time.monotonic() - started)
            if isinstance(told, ModelUnavailable):
                told.delivered = listener.delivered
            if isinstance(told, DeadlineExceeded) and not listener.heard:
                told.waited_s = time.monotonic() - started
            if told is error:
                raise
            raise told from error
        return listener.completion(request, seconds=time.monotonic() - started, attempts=attempts)

    async def _asked(self, request: ModelRequest, ctx: Context, listener: Listener) -> bool:
        """Send one request and hear its reply; False if another has to follow."""
        idle_timeout_s = self._idle_timeout_s if listener.watched else None
        async with self._endpoint.send(self._payload(request, listener), ctx, idle_timeout_s) as reply:
            if not 200 <= reply.status < 300:
                fault = await self._endpoint.fault(reply)
                param = self._negotiable(fault) if reply.status == 400 else None
                if param is None or param in self._refused:
                    raise self._endpoint.error(reply, fault)
                self._refused |= {param}
                return False
            await self._listen(reply, listener)
        if not listener.paused:
            return True
        listener.resume()
        return False

    async def _listen(self, reply: Reply, listener: Listener) -> None:
        if listener.watched and "json" not in reply.headers.get("Content-Type", ""):
            await self._listen_to_stream(reply, listener)
        else:
            await self._hear(await reply.read(), reply, listener)
            listener.ended = True

    async def _listen_to_stream(self, reply: Reply, listener: Listener) -> None:
        stream = EventStream()
        said_at, said = time.monotonic(), 0
        try:
            while not listener.ended:
                chunk = await self._read(reply, until=said_at + self._idle_timeout_s)
                for data in stream.feed(chunk) if chunk else stream.close():
                    if data.strip() == b"[DONE]":
                        listener.ended = True
                    else:
                        await self._hear(data, reply, listener)
                    if listener.ended:
                        break
                if not chunk:
                    break
                if stream.received > said:
                    said_at, said = time.monotonic(), stream.received
        except Unavailable as error:
            # The reply was whole already; asking again would pay for it twice.
            if type(error) is not Unavailable or listener.finish is None:
                raise
        else:
            if listener.ended:
                await reply.drain()

    async def _read(self, reply: Reply, *, until: float) -> bytes:
        """The next piece of a stream. Raises Unavailable if only comments came for too long."""
        with anyio.move_on_after(until - time.monotonic()) as waiting:
            return await reply.read_some()
        assert waiting.cancelled_caught
        raise Unavailable(f"the stream said nothing in time: at most comments came for {self._idle_timeout_s:g} s")

    async def _hear(self, data: bytes, reply: Reply, listener: Listener) -> None:
        decoded = self._endpoint.decoded(data, reply)
        fault = self._fault(decoded)
        if fault is not None:
            numeric = int(fault.code) if fault.code.isdecimal() and len(fault.code) == 3 else None
            raise failure(self._name, self.statuses.get(fault.code, numeric), reply.headers, fault)
        listener.heard = True
        await listener.add(decoded)
