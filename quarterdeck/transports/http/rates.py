"""Rate limits as HTTP tells them: counted where a caller is known, told in the headers of every answer."""

from __future__ import annotations

import math

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quarterdeck.core.context import Principal
from quarterdeck.service.limits import RateLimits, refusal

__all__ = ["RatesTold", "counted"]


async def counted(connection: HTTPConnection, principal: Principal) -> None:
    """Count a request on its route. Raises RateLimited if it is one too many."""
    rates: RateLimits = connection.app.state.rates
    room = await rates.count(principal, getattr(connection.scope.get("route"), "path", "none"))
    if room is not None:
        connection.state.room = room
        if room.retry_after_s:
            raise refusal(room)


class RatesTold:
    """Says in each answer how much room is left, of the limit that is tightest."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Message) -> None:
            room = scope["state"].get("room") if message["type"] == "http.response.start" else None
            if room is not None:
                headers = MutableHeaders(scope=message)
                headers["RateLimit-Limit"] = str(room.limit)
                headers["RateLimit-Remaining"] = str(room.remaining)
                headers["RateLimit-Reset"] = str(math.ceil(room.reset_s))
            await send(message)

        await self.app(scope, receive, told if scope["type"] == "http" else send)
