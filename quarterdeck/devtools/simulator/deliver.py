"""Sends an answer: all at once where nothing has to be waited for, else piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from quarterdeck.devtools.simulator.clock import Clock
from quarterdeck.devtools.simulator.exchange import Act, Answer, Break, Pause
from quarterdeck.devtools.simulator.limits import Headers

__all__ = ["CONNECTION", "Cut", "Receive", "Scope", "Send", "deliver", "joined"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

CONNECTION = "quarterdeck.connection"
"""ASGI extension of our own server, which holds the transport, so that a connection can be cut."""


class Cut(ConnectionResetError):
    """The connection is cut on purpose. Servers other than ours close it when an application raises."""


async def deliver(
    answer: Answer, acts: Sequence[Act], headers: Headers, clock: Clock, scope: Scope, receive: Receive, send: Send
) -> str:
    """Send `answer` with `acts` in place of its own. Gives how it ended: ``complete``, ``cut``, ``stalled``, ``left``."""
    head: Headers = [*answer.headers, *headers]
    start = {"type": "http.response.start", "status": answer.status, "headers": head}
    body = joined(acts)
    if body is not None:
        if not answer.streamed:
            head.append((b"content-length", b"%d" % len(body)))
        await send(start)
        await send({"type": "http.response.body", "body": body})
        return "complete"
    return await _Slowly(start, clock, scope, receive, send).perform(acts)


def joined(acts: Sequence[Act]) -> bytes | None:
    """All of it at once; None if anything has to happen in between."""
    try:
        return b"".join(acts)  # type: ignore[arg-type]  # what is not bytes is what we ask for
    except TypeError:
        return None


class _Slowly:
    """One answer whose pieces have their own times."""

    def __init__(self, start: dict[str, Any], clock: Clock, scope: Scope, receive: Receive, send: Send) -> None:
        self._start: dict[str, Any] | None = start
        self._clock = clock
        self._scope = scope
        self._receive = receive
        self._send = send
        self._waiting: list[bytes] = []

    async def perform(self, acts: Sequence[Act]) -> str:
        gone = asyncio.ensure_future(self._hung_up()) if not self._clock.is_virtual else None
        try:
            for act in acts:
                if isinstance(act, bytes):
                    self._waiting.append(act)
                elif isinstance(act, Pause):
                    # Virtual time passes for nobody else, so what is ready may as well leave together.
                    if gone is None:
                        await self._clock.sleep(act.seconds)
                    elif await self._pause(act.seconds, gone):
                        return "left"
                elif act is not Break.FLUSH:
                    return await self._break(act)
                else:
                    await self._flush()
            await self._flush(more=False)
        finally:
            if gone is not None:
                gone.cancel()
        return "complete"

    async def _pause(self, seconds: float, gone: asyncio.Future[None]) -> bool:
        """Wait; True if the client hung up meanwhile."""
        if self._waiting:
            await self._flush()
        sleeping = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait((sleeping, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
        return gone.done()

    async def _break(self, act: Break) -> str:
        if act is Break.END:
            await self._flush(more=False)
            return "cut"
        if self._waiting:
            await self._flush()
        if act is Break.STALL:
            await self._hung_up()
            return "stalled"
        connection = self._scope.get("extensions", {}).get(CONNECTION)
        if connection is None:
            raise Cut("cut on purpose")
        connection["transport"].close()
        await self._hung_up()
        return "cut"

    async def _flush(self, *, more: bool = True) -> None:
        if self._start is not None:
            await self._send(self._start)
            self._start = None
        body = b"".join(self._waiting)
        self._waiting.clear()
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
        if more:
            await asyncio.sleep(0)  # let it leave before what comes next

    async def _hung_up(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
