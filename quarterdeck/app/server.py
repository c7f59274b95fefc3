"""The server of a configured folder, from its start to its end."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quarterdeck.app.rpc import leave, opened_grpc
from quarterdeck.app.runtime import Runtime, opened
from quarterdeck.core.errors import Misconfigured
from quarterdeck.knowledge.ingest import Progress
from quarterdeck.settings import Configuration
from quarterdeck.settings.schema import ServerSettings

if TYPE_CHECKING:
    from quarterdeck.transports.grpc.server import GrpcServer
    from quarterdeck.transports.websocket.door import Door

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
    from quarterdeck.app.web import door_of, listening, web_app
    from quarterdeck.transports.http.guards import is_loopback

    settings = configuration.settings.server
    development = configuration.settings.env == "development"
    if not development and not any(user.key for user in configuration.users):
        raise Misconfigured(f"{configuration.folder / 'users.yaml'}: outside development somebody must have a key")
    keyless = development and is_loopback(settings.host)
    async with (
        opened(configuration, keyless=keyless, progress=progress) as runtime,
        opened_grpc(configuration, runtime) as grpc,
    ):
        door = door_of(runtime)
        server = listening(
            web_app(configuration, runtime, door),
            settings,
            on_ready=lambda port: on_ready(runtime, Ports(http=port, grpc=grpc.port if grpc else None)),
            on_stop=_stopping(settings, runtime, door, grpc),
        )
        # What was made so far stays until the end: a collection need not walk through it again, which took 0.2 s each time.
        gc.collect()
        gc.freeze()
        try:
            await server.serve()
        except SystemExit as error:  # uvicorn's way to say that the port is taken; its reason went to the log
            raise Misconfigured(f"cannot listen on {settings.host}:{settings.port}: it is in use, or not allowed") from error


def _stopping(settings: ServerSettings, runtime: Runtime, door: Door, grpc: GrpcServer | None) -> Callable[[], None]:
    """What is done at once when a stop is asked for: the other ways in are closed too, each in its own time."""
    draining: list[asyncio.Task[None]] = []  # a task that nobody holds may be collected

    def stop() -> None:
        door.drain()
        runtime.drain()
        if grpc is not None:
            draining.append(asyncio.create_task(leave(grpc, settings.drain_s, settings.stop_s)))
        # Those who still wait for an answer are told how their run stands before their connection would be cut.
        asyncio.get_running_loop().call_later(settings.stop_s * 0.8, runtime.hub.close)

    return stop
