"""Who may open a connection; the ASGI application of ``/api/v1/stream``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import anyio
from fastapi import FastAPI
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from quarterdeck.core.errors import QuarterdeckError, Unavailable
from quarterdeck.service.access import Access
from quarterdeck.service.desk import Desk
from quarterdeck.service.limits import RateLimits
from quarterdeck.service.stays import Stay, Stays
from quarterdeck.service.stream_tokens import StreamTokens
from quarterdeck.store.limits import MemoryLimits
from quarterdeck.telemetry import bound
from quarterdeck.transports.errors import sent_away
from quarterdeck.transports.http.callers import caller_of, check_scope
from quarterdeck.transports.http.handlers import on_quarterdeck_error
from quarterdeck.transports.http.wire import refuse_repeated, refuse_unknown
from quarterdeck.transports.websocket import tokens as routes
from quarterdeck.transports.websocket.messages import ANY
from quarterdeck.transports.websocket.session import Parts, Session
from quarterdeck.workflow.approvals import Approvals

__all__ = ["Door", "mount"]

_PARAMETERS = frozenset({"token"})


class Door:
    """Lets callers with a key, with a stream token, or without either on the conditions of `Access`; refuses by HTTP.

    The guards of the HTTP application stand before it: host, origin and size of the head are theirs.
    """

    path = "/api/v1/stream"

    def __init__(
        self,
        *,
        desk: Desk,
        approvals_desk: Approvals,
        access: Access,
        tokens: StreamTokens,
        rates: RateLimits | None = None,
        stays: Stays | None = None,
        sent_away: Callable[[str], None] = lambda reason: None,
    ) -> None:
        rates = rates or RateLimits((), MemoryLimits())
        self._access = access
        self._tokens = tokens
        self._parts = Parts(
            desk=desk,
            approvals=approvals_desk,
            directory=access,
            rates=rates,
            stays=stays or Stays(access),
            sent_away=sent_away,
            stopping=anyio.Event(),
            route=self.path,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = self  # for the log line of the connection
        socket = WebSocket(scope, receive, send)
        try:
            if self._parts.stopping.is_set():
                raise Unavailable("the server is stopping; come back")
            stay = await self._admitted(socket)
            principal = stay.principal
            check_scope(principal, ANY)
            await self._parts.rates.check(principal, self.path)
            # A token under another name would be left out unseen, and its holder let in as somebody else, or as nobody.
            refuse_unknown([name for name in socket.query_params if name not in _PARAMETERS])
            refuse_repeated(socket.query_params)
        except QuarterdeckError as error:
            if (reason := sent_away(error)) is not None:
                self._parts.sent_away(reason)
            refusal = await on_quarterdeck_error(socket, error)
            await refusal(scope, receive, send)
            return
        scope["state"]["tenant"] = principal.tenant
        with bound(tenant=principal.tenant):
            await socket.accept()
            await Session(socket, replace(stay, needs=ANY), self._parts).run()

    def drain(self) -> None:
        """Let nobody in any more, and send those who are away, to come back to another server or later."""
        self._parts.stopping.set()

    async def _admitted(self, socket: WebSocket) -> Stay:
        # Where a token is given nothing else counts: a used one must not let its holder in as somebody else.
        token = socket.query_params.get("token")
        if token is not None:
            return await self._tokens.redeem(token)
        caller = caller_of(socket)
        return Stay(principal=await self._access.admit(caller), until=await self._access.until(caller))


def mount(app: FastAPI, door: Door, tokens: StreamTokens) -> None:
    """Add the door, and the route that makes tokens for it, to the HTTP application."""
    app.state.stream_tokens = tokens
    app.include_router(routes.router)
    app.router.routes.append(WebSocketRoute(door.path, door))
