"""One address of a provider's API, with its failures told in the words of the model protocol."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from quarterdeck.core.context import Context
from quarterdeck.core.errors import (
    DeadlineExceeded,
    Forbidden,
    Misconfigured,
    ModelInvalid,
    ModelRefused,
    ModelUnavailable,
    QuarterdeckError,
    TooLarge,
    Unavailable,
)
from quarterdeck.models.wire import Fault, decode, encode, failure, read_fault, shortened
from quarterdeck.net.client import GuardedClient, Reply

__all__ = ["Endpoint"]

_MAX_REPLY = 32 << 20
_MAX_FAULT = 64 << 10
_TICK_S = 0.005  # timers of some event loops fire a few milliseconds early


class Endpoint:
    """Where a model is called."""

    def __init__(
        self, name: str, url: str, *, key: str, headers: Mapping[str, str], client: GuardedClient, timeout_s: float
    ) -> None:
        """
        Args:
            name: Of the model, for errors.
            key: Removed from every error; the header that carries it is among `headers`.
            timeout_s: For one request; the caller's deadline shortens it.
        """
        if not key.isprintable() or not key.isascii():
            raise Misconfigured(f"the API key of {name} has characters no header can carry: copy it again")
        self._name = name
        self._url = url
        self._key = key
        self._headers = {"Content-Type": "application/json", **headers}
        self._client = client
        self._timeout_s = timeout_s

    def send(
        self, payload: Mapping[str, Any], ctx: Context, idle_timeout_s: float | None = None
    ) -> AbstractAsyncContextManager[Reply]:
        """Send `payload`; the reply is to be read inside. What it raises is put into our words by `told`.

        Raises:
            DeadlineExceeded: The caller's time is over; nothing was sent.
        """
        return self._client.open(
            "POST",
            self._url,
            headers=self._headers,
            body=encode(payload),
            timeout_s=min(ctx.remaining_s(), self._timeout_s),
            idle_timeout_s=idle_timeout_s,
            max_bytes=_MAX_REPLY,
            ctx=ctx,
        )

    def told(self, error: Forbidden | TooLarge | Unavailable, ctx: Context) -> QuarterdeckError:
        """An error of the client in the words of the model protocol; one that speaks them already comes back as it is."""
        if isinstance(error, Forbidden):
            return ModelRefused(f"{self._name} was not called: {error}")
        if isinstance(error, TooLarge):
            return ModelInvalid(f"{self._name}: {error}")
        if type(error) is not Unavailable:
            return error  # a reply that was read, or the watcher's own
        if ctx.deadline - time.monotonic() < _TICK_S:
            return DeadlineExceeded(f"run {ctx.run_id} has used up its time waiting for {self._name}")
        return ModelUnavailable(f"{self._name}: {error}")

    async def fault(self, reply: Reply) -> Fault:
        """What a reply that is an error complains of."""
        body = await _beginning(reply)
        try:
            decoded = decode(body)
        except ValueError:
            decoded = body.decode("utf-8", "replace")
        return read_fault(decoded, self._key)

    def error(self, reply: Reply, fault: Fault) -> QuarterdeckError:
        """The error that a reply of an error status is."""
        if 300 <= reply.status < 400:
            return ModelRefused(f"{self._name} answered {reply.status}, a redirect: set its base_url to where it points")
        return failure(self._name, reply.status, reply.headers, fault)

    def decoded(self, data: bytes, reply: Reply) -> dict[str, Any]:
        """The object that `data`, a reply or an event of it, is. Raises ModelInvalid if it is none."""
        try:
            decoded = decode(data)
        except ValueError as error:
            text = shortened(data.decode("utf-8", "replace"), self._key, limit=200)
            raise ModelInvalid(f"{self._name} answered {reply.status} with something that is not JSON: {text!r}") from error
        if not isinstance(decoded, dict):
            raise ModelInvalid(f"{self._name} answered with JSON that is no object")
        return decoded


async def _beginning(reply: Reply) -> bytes:
    """The first 64 KiB of a body, or what of it arrives: an error is an error even if its explanation is cut."""
    body = b""
    try:
        while len(body) < _MAX_FAULT and (piece := await reply.read_some()):
            body += piece
    except Unavailable:
        pass
    return body[:_MAX_FAULT]
