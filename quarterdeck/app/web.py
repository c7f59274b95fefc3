"""The HTTP and WebSocket side of a running folder.

FastAPI and uvicorn take half a second to import: whoever does not serve does without this module.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import version

from fastapi import FastAPI

from quarterdeck.app.governance import attach as attach_governance
from quarterdeck.app.identity import attach as attach_keys
from quarterdeck.app.notices import attach as attach_notices
from quarterdeck.app.runtime import Runtime
from quarterdeck.settings import Configuration
from quarterdeck.settings.schema import ServerSettings
from quarterdeck.telemetry.tags import TagRules
from quarterdeck.transports.http.app import Backing, HttpLimits, http_app
from quarterdeck.transports.http.guards import LOOPBACK_NAMES, is_loopback
from quarterdeck.transports.http.server import GracefulServer
from quarterdeck.transports.websocket.door import Door, mount

__all__ = ["door_of", "listening", "web_app"]


def door_of(runtime: Runtime) -> Door:
    """Where WebSockets come in."""
    return Door(
        desk=runtime.desk,
        approvals_desk=runtime.approvals,
        access=runtime.access,
        tokens=runtime.stream_tokens,
        rates=runtime.rates,
        stays=runtime.stays,
        sent_away=partial(runtime.standing.metrics.sent_away, "websocket"),
    )


def web_app(configuration: Configuration, runtime: Runtime, door: Door) -> FastAPI:
    """All routes of a server, over what is open."""
    app = http_app(
        Backing(
            desk=runtime.desk,
            approvals=runtime.approvals,
            effects=runtime.effects,
            documents=runtime.documents,
            access=runtime.access,
            checks=runtime.checks,
            search=runtime.search,
            catalogue=runtime.catalogue,
            spending=runtime.spending,
            embeddings=runtime.embeddings,
            standing=runtime.standing,
            repeats=runtime.repeats,
            rates=runtime.rates,
            stays=runtime.stays,
        ),
        version=version("quarterdeck"),
        limits=_limits(configuration.settings.server),
        tags=TagRules(configuration.settings.tags.rules()),
    )
    attach_governance(app, runtime.governance, runtime.privacy, runtime.undoing)
    mount(app, door, runtime.stream_tokens)
    attach_notices(app, runtime.notices)
    attach_keys(app, runtime.api_keys)
    return app


def listening(
    app: FastAPI, settings: ServerSettings, *, on_ready: Callable[[int], None], on_stop: Callable[[], None]
) -> GracefulServer:
    """What takes connections for `app`, once it is told to serve; `on_ready` is told the port."""
    return GracefulServer(
        app,
        host=settings.host,
        port=settings.port,
        on_ready=on_ready,
        on_stop=on_stop,
        head_timeout_s=settings.body_timeout_s,
        max_body_bytes=max(settings.max_body_bytes, settings.max_upload_bytes),
        max_message_bytes=settings.max_body_bytes,
        drain_s=settings.drain_s,
        stop_s=settings.stop_s,
    )


def _limits(settings: ServerSettings) -> HttpLimits:
    # Whoever listens on the loopback alone answers to its names only, or a foreign page could have it called by a name of
    # its own; and where names are given at all, the machine itself may still ask by these.
    named = is_loopback(settings.host) or settings.hosts
    return HttpLimits(
        hosts=(*settings.hosts, *(LOOPBACK_NAMES if named else ())),
        origins=settings.origins,
        proxies=settings.proxies,
        max_body_bytes=settings.max_body_bytes,
        max_upload_bytes=settings.max_upload_bytes,
        upload_timeout_s=settings.upload_timeout_s,
        body_timeout_s=settings.body_timeout_s,
        answer_timeout_s=settings.answer_timeout_s,
        heartbeat_s=settings.heartbeat_s,
    )
