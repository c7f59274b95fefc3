"""SIGTERM to a server with open calls over gRPC: they are told to come back within its time, and their runs stay."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from quarterdeck.transports.grpc import agent_pb2 as pb

from .conftest import Server
from .test_limits import asked, silent_model

STOP_S = 2


@pytest.mark.row("S13", part="gRPC at the stop")
def test_open_calls_over_grpc_do_not_hold_up_a_stop_and_their_runs_stay(tmp_path: Path) -> None:
    environ = {"QUARTERDECK_SERVER__GRPC_PORT": "0", "QUARTERDECK_SERVER__STOP_S": str(STOP_S)}
    with (
        silent_model(tmp_path / "data", **environ) as (server, silent),
        grpc.insecure_channel(server.told["grpc"]) as channel,
        ThreadPoolExecutor() as threads,
    ):
        path, send = "/agent.AgentService/", pb.QueryRequest.SerializeToString
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        stream = channel.unary_stream(path + "StreamQuery", send, pb.QueryChunk.FromString)
        query = channel.unary_unary(path + "Query", send, pb.QueryResponse.FromString)
        calls = [
            threads.submit(_status, lambda: list(stream(pb.QueryRequest(query="Hello"), timeout=30))),
            threads.submit(_status, lambda: query(pb.QueryRequest(query="Hi"), timeout=30)),
        ]
        with asked(silent), asked(silent):
            began = time.monotonic()
            code = server.stop()
            took_s = time.monotonic() - began
            statuses = [call.result(20) for call in calls]
            healths = _all(watch)

    assert code == 0
    assert statuses == ["UNAVAILABLE"] * 2
    assert healths == [health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING]
    assert took_s < 0.5 + STOP_S + 3 + 1.5  # announced, calls, last turns, the rest on a busy machine
    server.start()
    runs = server.send("GET", "/api/v1/runs").json["runs"]
    server.stop()
    assert [run["status"] in ("ready", "running", "done") for run in runs] == [True] * 2


def test_health_that_is_watched_holds_up_nothing(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", environ={"QUARTERDECK_SERVER__GRPC_PORT": "0"})
    server.start()
    with grpc.insecure_channel(server.told["grpc"]) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        next(watch)

        began = time.monotonic()
        code = server.stop()
        took_s = time.monotonic() - began

    assert code == 0
    assert took_s < 5  # of 20 that calls would have


def _status(call: Any) -> str:
    try:
        call()
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def _all(watch: Any) -> list[int]:
    told: list[int] = []
    with contextlib.suppress(grpc.RpcError):
        told.extend(reply.status for reply in watch)
    return told
