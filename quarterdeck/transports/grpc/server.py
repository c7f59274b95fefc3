"""The gRPC server: `agent.AgentService` with the health and reflection services every client knows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from quarterdeck.core.errors import Misconfigured
from quarterdeck.transports.grpc import agent_pb2 as pb
from quarterdeck.transports.grpc.service import AgentService

__all__ = ["GrpcServer", "serving"]

SERVICE = "agent.AgentService"
_LAST_WORDS_S = 0.2  # what the last answers take to be out once their handlers are done


class GrpcServer:
    """A server that takes calls.

    Attributes:
        port: It listens on.
    """

    def __init__(
        self, server: aio.Server, healthy: health.aio.HealthServicer, port: int, quiet: Callable[[], Awaitable[None]]
    ) -> None:
        """Args: quiet: Waits until no call of our own is under way."""
        self.port = port
        self._server = server
        self._healthy = healthy
        self._quiet = quiet
        self._until = float("inf")  # when the first stop ends what is under way

    async def drain(self) -> None:
        """Say that no more calls are wanted; those under way go on."""
        await self._healthy.enter_graceful_shutdown()

    async def stop(self, grace_s: float) -> None:
        """Take no more calls, give those under way `grace_s` seconds, then cut them. A second stop gives them no more.

        Who watches the health of the server, or keeps its reflection open, is not waited for: such calls never end.
        """
        self._until = min(self._until, anyio.current_time() + grace_s)
        left_s = max(0.0, self._until - anyio.current_time())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._server.stop, left_s)
            with anyio.move_on_after(left_s):
                await self._quiet()
            await self._server.stop(min(_LAST_WORDS_S, left_s))


@asynccontextmanager
async def serving(
    service: AgentService, *, host: str, port: int, max_message_bytes: int, max_calls: int = 1_000, stop_s: float = 3.0
) -> AsyncIterator[GrpcServer]:
    """Take calls while the block lasts.

    Args:
        port: 0 for a free one.
        max_message_bytes: Of one request.
        max_calls: At once; one more is refused as RESOURCE_EXHAUSTED.
        stop_s: Seconds calls under way get at the end.

    Raises:
        Misconfigured: The port is taken, or may not be listened on.
    """
    server = aio.server(
        options=[
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.so_reuseport", 0),  # a second server on the same port is a mistake
            ("grpc.max_metadata_size", 16_384),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ],
        maximum_concurrent_rpcs=max_calls,
    )
    server.add_generic_rpc_handlers((_handlers(service),))
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    names = (SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    address = f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError as error:
        raise Misconfigured(f"cannot listen on {address}: it is in use, or not allowed") from error
    await server.start()
    for name in ("", SERVICE):
        await healthy.set(name, health_pb2.HealthCheckResponse.SERVING)
    serving = GrpcServer(server, healthy, bound, service.quiet)
    try:
        yield serving
    finally:
        await serving.stop(stop_s)


def _handlers(service: AgentService) -> grpc.GenericRpcHandler:
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "Query": grpc.unary_unary_rpc_method_handler(
                service.query, response_serializer=pb.QueryResponse.SerializeToString
            ),
            "StreamQuery": grpc.unary_stream_rpc_method_handler(
                service.stream_query, response_serializer=pb.QueryChunk.SerializeToString
            ),
            "BatchQuery": grpc.unary_unary_rpc_method_handler(
                service.batch_query, response_serializer=pb.BatchQueryResponse.SerializeToString
            ),
        },
    )
