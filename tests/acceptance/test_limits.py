"""A server as its users meet its limits: rates, places, deadlines, and what becomes of those who leave."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from websockets.sync.client import connect

from quarterdeck.transports.grpc import agent_pb2

from .conftest import EXAMPLE, Server, with_root

HELLO = {"message": "Hello"}


@contextmanager
def silent_model(data: Path, folder: Path = EXAMPLE, **environ: str) -> Iterator[tuple[Server, socket.socket]]:
    """A server whose model takes questions and answers none."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(20)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        server = Server(data, environ={"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "unused", **environ}, folder=folder)
        server.start()
        try:
            yield server, silent
        finally:
            server.stop()


def asked(silent: socket.socket) -> socket.socket:
    """The connection over which the model was asked."""
    connection, _ = silent.accept()
    connection.settimeout(20)
    while connection.recv(65_536)[-1:] != b"}":
        pass
    return connection


def limited(folder: Path, **limits: object) -> Path:
    """The example, with these limits."""
    shutil.copytree(EXAMPLE, folder)
    with (folder / "quarterdeck.yaml").open("a") as file:
        file.write("\nlimits: " + json.dumps(limits) + "\n")
    return folder


@pytest.mark.row("S11", part="model timeout")
def test_a_caller_with_a_deadline_is_told_504_then_and_the_model_call_is_cut(tmp_path: Path) -> None:
    with silent_model(tmp_path / "data") as (server, silent):
        with ThreadPoolExecutor() as threads:
            began = time.monotonic()
            answer = threads.submit(server.send, "POST", "/chat", HELLO, headers={"X-Request-Timeout-Ms": "3000"})
            with asked(silent) as connection:
                end = connection.recv(1)
                cut_s = time.monotonic() - began
            told = answer.result(20)
            told_s = time.monotonic() - began
        run = server.ended(server.send("GET", "/api/v1/runs").json["runs"][0]["run_id"])

    assert (told.status, told.json["error"]["code"]) == (504, "deadline_exceeded")
    assert end == b""
    assert 2.5 < cut_s < 5
    assert 2.5 < told_s < 5
    assert run["stop_reason"] == "time_limit"


@pytest.mark.row("S11", part="on disconnect")
@pytest.mark.parametrize("path", ["/chat", "/api/v1/agent/stream"])
def test_a_caller_who_leaves_and_asked_for_that_ends_the_run(tmp_path: Path, path: str) -> None:
    body = json.dumps(HELLO if path == "/chat" else {"query": "Hello"}).encode()
    with silent_model(tmp_path / "data") as (server, silent):
        caller = server.connect()
        caller.request("POST", f"{path}?on_disconnect=cancel", body, {"Content-Type": "application/json"})
        with asked(silent) as connection:
            if path != "/chat":
                caller.getresponse()
            left = time.monotonic()
            assert caller.sock is not None
            caller.sock.shutdown(socket.SHUT_RDWR)
            caller.close()
            end = connection.recv(1)
            took_s = time.monotonic() - left
        run_id = server.send("GET", "/api/v1/runs").json["runs"][0]["run_id"]
        run = server.ended(run_id)

    assert end == b""
    assert took_s < 5
    assert run["stop_reason"] == "cancelled"


@pytest.mark.row("S11", part="admission")
def test_who_comes_when_all_places_are_taken_is_told_so_at_once(tmp_path: Path) -> None:
    folder = limited(tmp_path / "folder", load={"max_runs": 2, "min_runs": 2})
    with silent_model(tmp_path / "data", folder) as (server, silent):
        waiting = [
            threading.Thread(
                target=server.send, args=("POST", "/chat", HELLO), kwargs={"headers": {"X-Request-Timeout-Ms": "6000"}}
            )
            for _ in range(2)
        ]
        for one in waiting:
            one.start()
        held = [asked(silent) for _ in waiting]
        began = time.monotonic()

        refused = server.send("POST", "/chat", HELLO)
        took_s = time.monotonic() - began

        for one in waiting:
            one.join(20)
        for connection in held:
            connection.close()

    assert (refused.status, refused.json["error"]["code"]) == (429, "rate_limited")
    assert int(refused.headers["retry-after"]) >= 1
    assert took_s < 3


@pytest.mark.row("S10", part="configuration")
def test_the_rules_of_the_configuration_hold_for_requests_and_for_tools(tmp_path: Path) -> None:
    rules = [
        {"scope": "route", "names": ["/api/v1/runs"], "rate": 2},
        {"scope": "tool", "names": ["search_knowledge_base"], "rate": 1},
    ]
    server = Server(tmp_path / "data", environ={"LLM_MODE": "local"}, folder=limited(tmp_path / "folder", rules=rules))
    server.start()
    try:
        listed = [server.send("GET", "/api/v1/runs") for _ in range(3)]
        for question in ("How long does a VPN session last?", "How many days of annual leave do I have?"):
            server.ask(question)
        run_id = server.send("POST", "/chat", {"message": "How do I report phishing?"}).json["run_id"]
        events = server.send("GET", f"/api/v1/runs/{run_id}/events").body
    finally:
        server.stop()

    assert [answer.status for answer in listed] == [200, 200, 429]
    assert [answer.headers["ratelimit-remaining"] for answer in listed] == ["1", "0", "0"]
    assert b"search_knowledge_base was called too often" in events


@pytest.mark.row("S10", part="keys")
def test_each_api_key_has_its_limit_over_every_wire_and_its_owner_another(tmp_path: Path) -> None:
    folder = with_root(tmp_path / "folder")
    with (folder / "quarterdeck.yaml").open("a") as file:
        file.write("\nlimits: " + json.dumps({"rules": [{"scope": "key", "rate": 4, "window_s": 3600}]}) + "\n")
    server = Server(tmp_path / "data", {"LLM_MODE": "local", "QUARTERDECK_SERVER__GRPC_PORT": "0"}, folder=folder)
    server.start()
    try:
        owner = {"Authorization": f"Bearer {server.key('root')}"}
        body = {"name": "script", "scopes": ["chat"]}
        first, second = (server.send("POST", "/api/v1/keys", body, headers=owner).json["key"] for _ in range(2))
        bearer = {"Authorization": f"Bearer {first}"}
        listed = server.send("GET", "/api/v1/runs", headers=bearer)
        models = server.send("GET", "/v1/models", headers=bearer)
        with connect(f"ws://127.0.0.1:{server.port}/api/v1/stream", additional_headers=bearer, proxy=None, open_timeout=10):
            pass
        called = _called(server, first)
        again = _called(server, first)
        refused = server.send("GET", "/api/v1/runs", headers={"X-API-Key": first})
        other = server.send("GET", "/api/v1/runs", headers={"X-API-Key": second})
        himself = server.send("GET", "/api/v1/runs", headers=owner)
    finally:
        server.stop()

    assert [answer.headers["ratelimit-remaining"] for answer in (listed, models)] == ["3", "2"]
    assert (called, again) == (grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert (refused.status, other.headers["ratelimit-remaining"], himself.headers["ratelimit-remaining"]) == (429, "3", "1")


def _called(server: Server, key: str) -> grpc.StatusCode:
    with grpc.insecure_channel(server.told["grpc"]) as channel:
        query = channel.unary_unary(
            "/agent.AgentService/Query",
            request_serializer=agent_pb2.QueryRequest.SerializeToString,
            response_deserializer=agent_pb2.QueryResponse.FromString,
        )
        try:
            query(agent_pb2.QueryRequest(query="Hello"), metadata=(("authorization", f"Bearer {key}"),), timeout=20)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK
