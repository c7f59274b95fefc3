"""A server behind a proxy: whom it believes, who gets in without a key, and what the audit log tells of who did not."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from quarterdeck.transports.grpc import agent_pb2 as pb

from .conftest import EXAMPLE, QUARTERDECK, Server, environment

FORWARDED = {"X-Forwarded-For": "127.0.0.1, 198.51.100.7"}
WRONG = {"Authorization": "Bearer qd_wrong"}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Server]:
    server = Server(
        tmp_path / "data", {"QUARTERDECK_IDENTITY__REFUSED_TENANT": "acme", "QUARTERDECK_SERVER__GRPC_PORT": "0"}
    )
    try:
        yield server
    finally:
        server.stop()


def refused(desk: Server) -> list[tuple[str, str, str]]:
    """Rows about refused logins, once the server has stopped: it writes down what it counted."""
    assert desk.stop() == 0
    done = subprocess.run(
        [*QUARTERDECK, "audit", "export", str(EXAMPLE), "--data", str(desk.data), "--tenant", "acme"],
        capture_output=True, text=True, env=environment(), timeout=60, check=True,
    )  # fmt: skip
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    told = [row for row in rows if str(row.get("decision", "")).startswith("refused")]
    return [(row["actor"], row["object"], row["decision"]) for row in told]


@pytest.mark.row("S9", part="proxies")
def test_nobody_gets_in_without_a_key_from_where_the_proxy_is_and_its_word_is_taken_for_who_calls(desk: Server) -> None:
    desk.environ["QUARTERDECK_SERVER__PROXIES"] = "127.0.0.0/8, ::1"
    desk.start()

    without = [desk.send("GET", "/api/v1/runs", headers=headers).status for headers in ({}, FORWARDED)]
    with_key = desk.send("GET", "/api/v1/runs", user="emma", headers=FORWARDED).status
    wrong = [desk.send("GET", "/api/v1/runs", headers=FORWARDED | WRONG).status for _ in range(3)]
    with grpc.insecure_channel(desk.told["grpc"]) as channel:
        call = channel.unary_unary("/agent.AgentService/Query", pb.QueryRequest.SerializeToString)
        codes = []
        for metadata in ((), (("x-forwarded-for", "198.51.100.7"), ("authorization", "Bearer qd_wrong"))):
            with pytest.raises(grpc.RpcError) as caught:
                call(pb.QueryRequest(query="Hello"), metadata=metadata, timeout=20)
            codes.append(caught.value.code())

    assert (without, with_key, wrong) == ([401, 401], 200, [401] * 3)
    assert codes == [grpc.StatusCode.UNAUTHENTICATED] * 2
    assert refused(desk) == [("address:198.51.100.7", "key", "refused:4")]


@pytest.mark.row("S9", part="refused logins")
def test_who_says_of_himself_where_he_comes_from_is_not_believed(desk: Server) -> None:
    desk.start()

    direct = desk.send("GET", "/api/v1/runs").status
    wrong = [desk.send("GET", "/api/v1/runs", headers=FORWARDED | WRONG).status for _ in range(200)]

    assert (direct, set(wrong)) == (200, {401})
    assert refused(desk) == [("address:127.0.0.1", "key", "refused:200")]
