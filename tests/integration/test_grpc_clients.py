"""Clients of gRPC as people have them: one made from the .proto file, and one that knows nothing but reflection."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_tools import protoc

import quarterdeck.transports.grpc as package
from quarterdeck.transports.grpc import agent_pb2 as pb
from tests.acceptance.conftest import Server
from tests.acceptance.test_limits import asked, silent_model

PROTO = Path(package.__path__[0]) / "agent.proto"
QUESTION = "How long does a VPN session last before I have to sign in again?"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = Server(tmp_path_factory.mktemp("served") / "data", environ={"QUARTERDECK_SERVER__GRPC_PORT": "0"})
    server.start()
    try:
        yield server.told["grpc"]
    finally:
        assert server.stop() == 0


@pytest.mark.row("S7", part="generated client")
def test_client_made_from_the_proto_file_asks_streams_and_asks_many(address: str, tmp_path: Path) -> None:
    arguments = [f"-I{PROTO.parent}", f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}", PROTO.name]
    assert protoc.main(["protoc", *arguments]) == 0
    client = textwrap.dedent(f"""
        import json, grpc, agent_pb2 as pb, agent_pb2_grpc
        with grpc.insecure_channel({address!r}) as channel:
            stub = agent_pb2_grpc.AgentServiceStub(channel)
            one = stub.Query(pb.QueryRequest(query={QUESTION!r}), timeout=30)
            chunks = list(stub.StreamQuery(pb.QueryRequest(query={QUESTION!r}), timeout=30))
            many = stub.BatchQuery(pb.BatchQueryRequest(requests=[pb.QueryRequest(query={QUESTION!r})] * 3), timeout=30)
        print(json.dumps([
            one.answer, [s.id for s in one.sources], "".join(c.chunk for c in chunks if not c.is_final),
            [c.tool.name for c in chunks if c.tool.name], chunks[-1].response.answer,
            [item.response.answer for item in many.items],
        ]))
    """)

    done = subprocess.run(
        [sys.executable, "-c", client], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    answer, sources, streamed, tools, settled, many = json.loads(done.stdout)
    assert "12 hours" in answer
    assert sources[0].startswith("vpn-setup")
    assert streamed.startswith(answer.split(".")[0])
    assert settled == answer
    assert set(tools) == {"search_knowledge_base"}
    assert many == [answer] * 3


@pytest.mark.row("S7", part="reflection")
def test_client_that_knows_only_reflection_finds_the_service_and_asks(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        known = ProtoReflectionDescriptorDatabase(channel)
        services = known.get_services()
        method = descriptor_pool.DescriptorPool(known).FindServiceByName("agent.AgentService").methods_by_name["Query"]
        request, response = (message_factory.GetMessageClass(kind) for kind in (method.input_type, method.output_type))
        call = channel.unary_unary("/agent.AgentService/Query", request.SerializeToString, response.FromString)
        answer = json_format.MessageToDict(call(request(query=QUESTION), timeout=30))

    assert {"agent.AgentService", "grpc.health.v1.Health"} <= set(services)
    assert "12 hours" in answer["answer"]


@pytest.mark.row("S13", part="streams at the stop")
def test_a_server_that_stops_tells_a_caller_who_still_waits_which_run_to_ask_for(tmp_path: Path) -> None:
    with (
        silent_model(tmp_path / "data", QUARTERDECK_SERVER__GRPC_PORT="0", QUARTERDECK_SERVER__STOP_S="6") as (
            server,
            silent,
        ),
        grpc.insecure_channel(server.told["grpc"]) as channel,
    ):
        call = channel.unary_unary("/agent.AgentService/Query").future(pb.QueryRequest(query="Hi").SerializeToString())
        with asked(silent):
            status = server.stop()
        trailer = dict(call.trailing_metadata())

    assert status == 0
    assert (call.code(), trailer.get("error-code")) == (grpc.StatusCode.UNAVAILABLE, "unavailable")
    assert trailer["run-id"]


def test_what_is_generated_is_generated_from_the_file_beside_it(tmp_path: Path) -> None:
    root = PROTO.parents[3]
    name = PROTO.relative_to(root).as_posix()

    assert protoc.main(["protoc", f"-I{root}", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", name]) == 0

    for suffix in (".py", ".pyi"):
        made = (tmp_path / PROTO.parent.relative_to(root) / f"agent_pb2{suffix}").read_text()
        assert made == (PROTO.parent / f"agent_pb2{suffix}").read_text()
