"""The HTTP server of a configured folder."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from quarterdeck.app.governance import attach as attach_governance
from quarterdeck.app.identity import attach as attach_keys
from quarterdeck.app.notices import attach
from quarterdeck.app.runtime import Runtime, opened
from quarterdeck.core.errors import Misconfigured
from quarterdeck.knowledge.ingest import Progress
from quarterdeck.settings import Configuration
from quarterdeck.telemetry.tags import TagRules

if TYPE_CHECKING:
    from quarterdeck.transports.grpc.server import GrpcServer

__all__ = ["Ports", "serve"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where connections are taken. Attributes: grpc: None without gRPC."""

    http: int
    grpc: int | None


async def serve(
    configuration: Configuration, *, on_ready: Callable[[Runtime, Ports], None], progress: Progress | None = None
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        on_ready: Told the runtime and the ports once connections are taken.

    Raises:
        Misconfigured: Something in the folder is wrong, or the port is taken.
    """
    # FastAPI and uvicorn take half a second to import: every other command does without them.
    from quarterdeck.transports.http.app import HttpLimits, http_app
    from quarterdeck.transports.http.guards import LOOPBACK_NAMES, is_loopback
    from quarterdeck.transports.http.server import GracefulServer
    from quarterdeck.transports.websocket.door import Door, mount

    settings = configuration.settings.server
    local = is_loopback(settings.host)
    if configuration.settings.env != "development" and not any(user.key for user in configuration.users):
        raise Misconfigured(f"{configuration.folder / 'users.yaml'}: outside development somebody must have a key")
    async with (
        opened(configuration, keyless=local and configuration.settings.env == "development", progress=progress) as runtime,
        _grpc(configuration, runtime) as grpc,
    ):
        app = http_app(
            desk=runtime.desk,
            approvals_desk=runtime.approvals,
            effects=runtime.effects,
            access=runtime.access,
            rates=runtime.rates,
            stays=runtime.stays,
            documents_desk=runtime.documents,
            search_desk=runtime.search,
            standing=runtime.standing,
            repeats=runtime.repeats,
            catalogue=runtime.catalogue,
            spending=runtime.spending,
            embeddings=runtime.embeddings,
            checks=runtime.checks,
            tags=TagRules(configuration.settings.tags.rules()),
            version=version("quarterdeck"),
            limits=HttpLimits(
                hosts=(*settings.hosts, *(LOOPBACK_NAMES if local or settings.hosts else ())),
                origins=settings.origins,
                proxies=settings.proxies,
                max_body_bytes=settings.max_body_bytes,
                max_upload_bytes=settings.max_upload_bytes,
                upload_timeout_s=settings.upload_timeout_s,
                body_timeout_s=settings.body_timeout_s,
                answer_timeout_s=settings.answer_timeout_s,
                heartbeat_s=settings.heartbeat_s,
            ),
        )
        attach_governance(app, runtime.governance, runtime.privacy, runtime.undoing)
        door = Door(
            desk=runtime.desk,
            approvals_desk=runtime.approvals,
            access=runtime.access,
            tokens=runtime.stream_tokens,
            rates=runtime.rates,
            stays=runtime.stays,
            sent_away=partial(runtime.standing.metrics.sent_away, "websocket"),
        )
        mount(app, door, runtime.stream_tokens)
        attach(app, runtime.notices)
        attach_keys(app, runtime.api_keys)

        draining: list[asyncio.Task[None]] = []

        def stop() -> None:
            door.drain()
            runtime.drain()
            if grpc is not None:
                draining.append(asyncio.create_task(_leave(grpc, settings.drain_s, settings.stop_s)))
            # Those who still wait for an answer are told how their run stands before their connection would be cut.
            asyncio.get_running_loop().call_later(settings.stop_s * 0.8, runtime.hub.close)

        server = GracefulServer(
            app,
            host=settings.host,
            port=settings.port,
            on_ready=lambda port: on_ready(runtime, Ports(http=port, grpc=grpc.port if grpc else None)),
            on_stop=stop,
            head_timeout_s=settings.body_timeout_s,
            max_body_bytes=max(settings.max_body_bytes, settings.max_upload_bytes),
            max_message_bytes=settings.max_body_bytes,
            drain_s=settings.drain_s,
            stop_s=settings.stop_s,
        )
        # What was made so far stays until the end: a collection need not walk through it again, which took 0.2 s each time.
        gc.collect()
        gc.freeze()
        try:
            await server.serve()
        except SystemExit as error:  # uvicorn's way to say that the port is taken; its reason went to the log
            raise Misconfigured(f"cannot listen on {settings.host}:{settings.port}: it is in use, or not allowed") from error


async def _leave(grpc: GrpcServer, drain_s: float, stop_s: float) -> None:
    """Stop beside HTTP and as it does: announce it, take no more calls after `drain_s`, cut the last after `stop_s`."""
    await grpc.drain()
    await asyncio.sleep(drain_s)
    await grpc.stop(stop_s)


@contextlib.asynccontextmanager
async def _grpc(configuration: Configuration, runtime: Runtime) -> AsyncIterator[GrpcServer | None]:
    """Take gRPC calls while the block lasts, if the configuration wants it.

    Raises Misconfigured if the port is taken, or the packages for gRPC are not installed.
    """
    settings = configuration.settings.server
    if settings.grpc_port is None:
        yield None
        return
    try:
        from quarterdeck.transports.grpc.calls import Entrance
        from quarterdeck.transports.grpc.server import serving
        from quarterdeck.transports.grpc.service import AgentService
        from quarterdeck.transports.proxies import Proxies
    except ImportError as error:
        raise Misconfigured(
            f"server.grpc_port needs a package that is not installed ({error.name}): pip install 'quarterdeck[grpc]'"
        ) from error
    tags = TagRules(configuration.settings.tags.rules())
    entrance = Entrance(
        runtime.access, tags, runtime.rates, runtime.stays, Proxies(settings.proxies), runtime.standing.metrics
    )
    service = AgentService(runtime.desk, entrance, answer_timeout_s=settings.answer_timeout_s)
    async with serving(
        service,
        host=settings.host,
        port=settings.grpc_port,
        max_message_bytes=settings.max_body_bytes,
        stop_s=settings.stop_s,
    ) as server:
        yield server
