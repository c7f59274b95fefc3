"""What a caller's deadline does: to the request, to the model's connection, to a tool, and over gRPC."""

from __future__ import annotations

import asyncio
import math
import tempfile
import time
from datetime import UTC, datetime, timedelta

import grpc

from bench.host import host
from bench.measure import Measure, absolute, or_missing
from bench.reference.scripted import Scripted
from bench.reference.slow_server import slow_server
from bench.stage import KEYS, Stage, staged
from quarterdeck import tool
from quarterdeck.core.tools import ToolContext
from quarterdeck.store.sqlite_store import open_sqlite
from quarterdeck.transports.grpc import agent_pb2 as pb

TIMES = 3
REQUEST_S, CALL_S, TOOL_S = 5.0, 2.0, 2.0
QUERY = "/agent.AgentService/Query"
RESERVE_S = 0.2  # kept of the deadline for what comes after a tool
LONG = {"message": "Where is the printer? wait=60"}


async def measure() -> list[Measure]:
    async with slow_server() as provider, staged(provider, server={"grpc_port": 0}) as stage:
        return [
            *await or_missing("deadline of a request", _of_requests(stage)),
            *await or_missing("deadline over gRPC", _over_grpc(stage)),
            *await or_missing("deadline of a tool", _of_tools()),
        ]


async def _of_requests(stage: Stage) -> list[Measure]:
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(_asked(stage)) for _ in range(TIMES)]
    off_s = max(abs(took_s - REQUEST_S) for took_s, _ in (one.result() for one in asked))
    answered = [at for _, at in (one.result() for one in asked)]
    await asyncio.sleep(1.0)  # what comes after the answer is to be seen, too
    seen = await stage.seen()
    closed_s = max(0.0, max(seen["closed"], default=math.inf) - min(answered))
    more = seen["asked"] - TIMES
    return [
        absolute(
            "deadline of a request: 504 is off by", off_s * 1e3, "ms", budget=250, note=f"of {REQUEST_S:g} s, {TIMES} times"
        ),
        absolute("deadline of a request: model closed after it", closed_s * 1e3, "ms", budget=250),
        absolute("deadline of a request: model calls after it", more, "calls", budget=0),
        absolute("deadline of a request: not closed", TIMES - len(seen["closed"]), "connections", budget=0),
    ]


async def _asked(stage: Stage) -> tuple[float, float]:
    """Seconds until 504, and when that was."""
    headers = {"X-Request-Timeout-Ms": str(int(REQUEST_S * 1e3))}
    reply = await stage.ask("quiet", LONG, time.monotonic(), **headers)
    if reply.status != 504:
        raise RuntimeError(f"the answer is {reply.status}, not 504")
    return reply.took_s, time.monotonic()


async def _over_grpc(stage: Stage) -> list[Measure]:
    late_s, closed_s, codes = [], [], []
    async with grpc.aio.insecure_channel(stage.told["grpc"]) as channel:
        query = channel.unary_unary(QUERY, pb.QueryRequest.SerializeToString, pb.QueryResponse.FromString)
        for _ in range(TIMES):
            seen = len((await stage.seen())["closed"])
            began = time.monotonic()
            try:
                metadata = (("authorization", f"Bearer {KEYS['quiet']}"),)
                await query(pb.QueryRequest(query=LONG["message"]), timeout=CALL_S, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                codes.append(error.code())
            late_s.append(time.monotonic() - began - CALL_S)
            until = time.monotonic() + 5
            while len((now := await stage.seen())["closed"]) == seen and time.monotonic() < until:
                await asyncio.sleep(0.02)
            closed_s.append(now["closed"][-1] - began - CALL_S if len(now["closed"]) > seen else 5.0)
    wrong = sum(code is not grpc.StatusCode.DEADLINE_EXCEEDED for code in codes) + TIMES - len(codes)
    return [
        absolute("deadline over gRPC: other codes", wrong, "calls", budget=0, note=f"than DEADLINE_EXCEEDED, of {TIMES}"),
        absolute("deadline over gRPC: told off the mark by", max(map(abs, late_s)) * 1e3, "ms", budget=250),
        absolute("deadline over gRPC: model closed off the mark by", max(map(abs, closed_s)) * 1e3, "ms", budget=250),
    ]


async def _of_tools() -> list[Measure]:
    """When a tool is cut that would have a minute of its own."""
    left_s: list[float] = []

    @tool(effect="read", trusted=True, timeout_s=60.0)
    async def look_up(number: int, ctx: ToolContext) -> str:
        """Look up the value of a number."""
        try:
            await asyncio.sleep(60.0)
        finally:
            left_s.append(ctx.deadline - time.monotonic())
        return "4"

    with tempfile.TemporaryDirectory() as folder:
        store = open_sqlite(folder)
        ours = await host(store, Scripted(tool_turns=1), [look_up], instructions="You look values up.")
        await ours.ask("What is the value of 3?", deadline=datetime.now(UTC) + timedelta(seconds=TOOL_S))
        await store.close()
    off_ms = abs(left_s[0] - RESERVE_S) * 1e3
    note = f"cut with {left_s[0] * 1e3:.0f} ms left of {TOOL_S:g} s, its own time being a minute"
    return [absolute("deadline of a tool: cut off the mark by", off_ms, "ms", budget=50, note=note)]
