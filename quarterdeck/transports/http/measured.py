"""Counts what was answered, and how long until it began: plain ASGI, around everything else."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quarterdeck.telemetry import bound
from quarterdeck.telemetry.metrics import Metrics

__all__ = ["Measured"]

_BEGINS = "http.response.start"  # what streams afterwards may take as long as its reader likes


class Measured:
    """Tells metrics of every HTTP request, by its route, and of who was sent away."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, clock: Callable[[], float] = time.perf_counter) -> None:
        self.app = app
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = self._clock()

        async def marked(message: Message) -> None:
            if message["type"] == _BEGINS:
                route = getattr(scope.get("route"), "path", "none")
                with bound(trace_id=scope.get("state", {}).get("trace_id")):
                    self._metrics.request(scope["method"], route, message["status"], self._clock() - began)
                if (reason := scope.get("state", {}).get("sent_away")) is not None:
                    self._metrics.sent_away("http", reason)
            await send(message)

        await self.app(scope, receive, marked)
