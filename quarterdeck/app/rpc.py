"""The gRPC side of a running folder."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from quarterdeck.app.runtime import Runtime
from quarterdeck.core.errors import Misconfigured
from quarterdeck.settings import Configuration
from quarterdeck.telemetry.tags import TagRules

if TYPE_CHECKING:
    from quarterdeck.transports.grpc.server import GrpcServer

__all__ = ["leave", "opened_grpc"]


@contextlib.asynccontextmanager
async def opened_grpc(configuration: Configuration, runtime: Runtime) -> AsyncIterator[GrpcServer | None]:
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


async def leave(grpc: GrpcServer, drain_s: float, stop_s: float) -> None:
    """Stop beside HTTP and as it does: announce it, take no more calls after `drain_s`, cut the last after `stop_s`."""
    await grpc.drain()
    await asyncio.sleep(drain_s)
    await grpc.stop(stop_s)
