"""Two tenants on one server: whatever one names of the other does not exist, in no answer, header or line of the log."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import pytest
import yaml
from websockets.sync.client import connect

from quarterdeck.service.access import SCOPES
from quarterdeck.transports.grpc import agent_pb2 as pb

from .conftest import EXAMPLE, Answer, Server

pytestmark = pytest.mark.row("G8", part="every endpoint")

MARK = "zqcanary7731"
NOWHERE = "0" * 32

# How a request that names something is said: its parameters are in the path, or in a body as here. {run_id} and the like
# are put in for both. A route that is in neither table is a mistake of whoever added it.
NAMING: Mapping[str, Any] = {
    "POST /api/v1/approvals/{draft_id}/decisions": {"approved": True},
    "POST /api/v1/approvals/{draft_id}/endorsements": {"argument": "title", "value": "x", "reason": "seen"},
    "POST /api/v1/approvals/{draft_id}/undo": {},
    "DELETE /api/v1/approvals/delegations/{delegation_id}": None,
    "GET /api/v1/approvals/{draft_id}": None,
    "DELETE /api/v1/documents/{doc_id}": None,
    "GET /api/v1/documents/{doc_id}": None,
    "GET /api/v1/documents/{doc_id}/editions": None,
    "PUT /api/v1/documents/{doc_id}/groups": {"groups": ["everyone"]},
    "POST /api/v1/deliveries/{delivery_id}/retry": {},
    "DELETE /api/v1/keys/{key_id}": None,
    "POST /api/v1/keys/{key_id}/rotate": {},
    "GET /api/v1/privacy/erasures/{erasure_id}": None,
    "GET /api/v1/requests/{request_id}": None,
    "GET /api/v1/runs/{run_id}": None,
    "GET /api/v1/runs/{run_id}/events": None,
    "GET /api/v1/runs/{run_id}/story": None,
    "POST /api/v1/runs/{run_id}/cancel": {},
    "POST /api/v1/runs/{run_id}/doubts/{call_id}": {"outcome": "done"},
    "POST /api/v1/runs/{run_id}/export": None,
    "POST /api/v1/runs/{run_id}/fork": {"at": 1},
    "POST /api/v1/runs/{run_id}/pause": {},
    "POST /api/v1/runs/{run_id}/resume": {},
    "POST /api/v1/runs/{run_id}/retry": {},
    "POST /api/v1/runs/{run_id}/steer": {"message": "Hello"},
    "DELETE /api/v1/session/{session_id}": None,
    "GET /api/v1/session/{session_id}": None,
    "DELETE /api/v1/webhooks/{webhook_id}": None,
    "GET /api/v1/webhooks/{webhook_id}": None,
    "POST /api/v1/webhooks/{webhook_id}/enable": {},
    "POST /api/v1/webhooks/{webhook_id}/secret": {},
    "POST /api/v1/webhooks/{webhook_id}/test": {},
    "GET /v1/responses/{response_id}": None,
    "POST /api/v1/agent/query": {"query": "Hello", "session_id": "{session_id}"},
    "POST /api/v1/query": {"query": "Hello", "session_id": "{session_id}"},
    "POST /api/v1/agent/stream": {"query": "Hello", "session_id": "{session_id}"},
    "GET /api/v1/query": "?query=Hello&session_id={session_id}",
    "GET /api/v1/agent/stream": "?query=Hello&session_id={session_id}",
    "POST /chat": {"message": "Hello", "session_id": "{session_id}"},
}
# What names nothing of a tenant, or answers for each thing apart: nothing of the other tenant is in what it says.
TELLING: Mapping[str, Any] = {
    "GET /api/v1/agents": None,
    "GET /api/v1/approvals": None,
    "GET /api/v1/approvals/delegations": None,
    "POST /api/v1/approvals/delegations": {"to": "omar", "ends_at": "{tomorrow}"},
    "POST /api/v1/approvals/decisions": {"ids": ["{draft_id}"], "approved": True},
    "GET /api/v1/audit": None,
    "GET /api/v1/audit/export": None,
    "GET /api/v1/audit/verify": None,
    "GET /api/v1/costs": None,
    "GET /api/v1/deliveries": None,
    "GET /api/v1/documents": None,
    "POST /api/v1/documents": {"name": "notes.md", "text": "# Notes\n\nNothing new."},
    "POST /api/v1/documents/import": {"collection": "nowhere"},
    "GET /api/v1/doubts": None,
    "POST /api/v1/agent/batch": {"items": [{"query": "What is {mark}?", "session_id": "{session_id}"}]},
    "GET /api/v1/keys": None,
    "POST /api/v1/keys": {"name": "mine", "scopes": ["chat"]},
    "POST /api/v1/privacy/erasures": {"user": "{user}"},
    "POST /api/v1/privacy/exports": {"user": "{user}"},
    "GET /api/v1/runs": None,
    "POST /api/v1/search": {"query": "{mark}"},
    "GET /api/v1/session": None,
    "GET /api/v1/session/": None,
    "POST /api/v1/session": {},
    "POST /api/v1/session/": {},
    "POST /api/v1/stream-tokens": None,
    "GET /api/v1/tools": None,
    "GET /api/v1/webhooks": None,
    "POST /api/v1/webhooks": {"url": "https://crm.example/hook", "events": ["run_finished"]},
    "GET /health": None,
    "GET /ready": None,
    "GET /openapi.json": None,
    "GET /v1/models": None,
    "GET /v1/models/{model}": None,
    "POST /v1/chat/completions": {"model": "support", "messages": [{"role": "user", "content": "What is {mark}?"}]},
    "POST /v1/embeddings": {"model": "support", "input": "{mark}"},
    "POST /v1/responses": {"model": "support", "input": "What is {mark}?", "previous_response_id": "{response_id}"},
}
# Counts and times of the whole process, for who answers for it; no names of people or things.
OF_THE_PROCESS = {"GET /metrics"}


@dataclass(frozen=True)
class Scene:
    """A server, and ids of things that belong to acme."""

    server: Server
    ids: Mapping[str, str]

    def send(self, case: str, body: Any, ids: Mapping[str, str], request_id: str) -> Answer:
        """A case as somebody of the other tenant sends it."""
        method, path = case.split(" ")
        if isinstance(body, str):
            path, body = path + body, None
        for name, value in ids.items():
            path = path.replace(f"{{{name}}}", quote(value, safe=""))
        filled = json.dumps(body)
        for name, value in ids.items():
            filled = filled.replace(f"{{{name}}}", value)
        return self.server.send(method, path, json.loads(filled), user="spy", headers={"X-Request-Id": request_id})


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    home = tmp_path_factory.mktemp("tenants")
    environ = {"QUARTERDECK_SERVER__GRPC_PORT": "0"}
    if request.param == "postgres":
        postgres = request.getfixturevalue("_shared_postgres")
        environ |= {"DATABASE_URL": postgres.new_database(), "VECTOR_DB_URL": postgres.new_database()}
    server = Server(data=home / "data", folder=_folder(home / "desk"), environ=environ)
    try:
        server.start()
        yield Scene(server, _things(server))
    finally:
        server.stop()


def _folder(folder: Path) -> Path:
    """The example with somebody in each of two tenants who may do everything there."""
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("data", ".quarterdeck", "__pycache__"))
    people = yaml.safe_load((folder / "users.yaml").read_text())
    everything = {"groups": ["everyone"], "key": "generated", "scopes": list(SCOPES), "roles": ["employee", "approver"]}
    people["users"] += [{"id": "root", "tenant": "acme", **everything}, {"id": "spy", "tenant": "globex", **everything}]
    (folder / "users.yaml").write_text(json.dumps(people))  # as YAML it would say the lists once only, with an alias
    return folder


def _things(server: Server) -> dict[str, str]:
    """One of everything that has an id, made by root of acme."""

    def made(method: str, path: str, body: Any = None, **headers: str) -> Any:
        answer = server.send(method, path, body, user="root", headers={k.replace("_", "-"): v for k, v in headers.items()})
        assert answer.status < 300, (path, answer)
        return answer.json

    hook = made("POST", "/api/v1/webhooks", {"url": "https://crm.example/hook", "events": ["run_finished"]})
    session = made("POST", "/api/v1/session/", {"context": {"note": MARK}})
    session_id = session.get("session_id") or session["id"]
    ask = {"message": f"How do I report phishing of {MARK}?", "session_id": session_id}
    run = made("POST", "/chat", ask, X_Request_Id="request-of-root")["run_id"]
    made("POST", "/chat", {"message": f"Please open a ticket because my laptop {MARK} does not charge."})
    document = made("POST", "/api/v1/documents", {"name": "handbook-of-root.md", "text": f"# {MARK}\n\nA secret of acme."})
    assert server.send("GET", f"/api/v1/runs/{document['run_id']}/events", user="root").status == 200
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    delegation = made("POST", "/api/v1/approvals/delegations", {"to": "omar", "ends_at": tomorrow})
    response = made("POST", "/v1/responses", {"model": "support", "input": f"Who is {MARK}?"})
    return {
        "run_id": run,
        "session_id": session_id,
        "webhook_id": hook["id"],
        "draft_id": made("GET", "/api/v1/approvals")["approvals"][0]["id"],
        "doc_id": document["documents"][0]["id"],
        "delegation_id": delegation["id"],
        "response_id": response["id"],
        "erasure_id": made("POST", "/api/v1/privacy/erasures", {"user": "marc"})["id"],
        "delivery_id": made("GET", "/api/v1/deliveries")["deliveries"][0]["id"],
        "request_id": "request-of-root",
        "key_id": made("POST", "/api/v1/keys", {"name": MARK, "scopes": ["chat"]})["id"],
        "call_id": "t1c1",
        "tomorrow": tomorrow,
        "mark": "a-secret",
        "user": "emma",
        "model": "support",
    }


def _foreign(scene: Scene) -> set[str]:
    """What nothing that is told to globex may hold."""
    chosen = {"call_id", "tomorrow", "mark", "user", "model"}
    return {MARK, *(value for name, value in scene.ids.items() if name not in chosen)}


def _sent(case: str, body: Any, ids: Mapping[str, str]) -> set[str]:
    """Ids that stand in the request itself, which its answer may repeat."""
    return {value for name, value in ids.items() if f"{{{name}}}" in case + json.dumps(body)}


def test_every_route_of_the_server_is_tried(scene: Scene) -> None:
    described = scene.server.send("GET", "/openapi.json", user="root").json["paths"]

    routes = {f"{method.upper()} {path}" for path, methods in described.items() for method in methods}

    undescribed = {"GET /api/v1/session", "POST /api/v1/session"}
    assert routes - {*NAMING, *TELLING, *OF_THE_PROCESS} == set()
    assert {*NAMING, *TELLING, *OF_THE_PROCESS} - routes <= undescribed | {"POST /v1/embeddings"}


@pytest.mark.parametrize("case", NAMING)
def test_what_is_anothers_is_answered_as_what_never_was(scene: Scene, case: str) -> None:
    nothing = {name: NOWHERE if name in case + json.dumps(NAMING[case]) else value for name, value in scene.ids.items()}
    if case.startswith("GET /v1/responses"):
        nothing |= {"response_id": f"resp_{NOWHERE}"}

    foreign = scene.send(case, NAMING[case], scene.ids, "spy-1")
    never = scene.send(case, NAMING[case], nothing, "spy-1")

    assert foreign.status == never.status == 404
    assert _without(foreign, scene.ids) == _without(never, nothing)


def _without(answer: Answer, ids: Mapping[str, str]) -> tuple[bytes, dict[str, str]]:
    """An answer without what was sent and what differs each time."""
    body = answer.body
    for value in ids.values():
        body = body.replace(value.removeprefix("resp_").encode(), b"ID")
    counted = {"date", "content-length", "ratelimit", "ratelimit-policy", "x-process-time"}
    return body, {name: value for name, value in answer.headers.items() if name not in counted}


@pytest.mark.parametrize("case", [*TELLING, *NAMING])
def test_nothing_of_another_tenant_is_told(scene: Scene, case: str) -> None:
    body = {**TELLING, **NAMING}[case]
    request_id = f"spy-{len(case)}-{abs(hash(case))}"

    answer = scene.send(case, body, scene.ids, request_id)

    told = answer.body.decode() + json.dumps(dict(answer.headers))
    assert answer.status != 500
    assert [found for found in _foreign(scene) - _sent(case, body, scene.ids) if found in told] == []
    line = json.dumps(scene.server.logged(request_id))
    assert [found for found in _foreign(scene) if found in line] == []


def test_nothing_was_changed_by_who_may_not_know_of_it(scene: Scene) -> None:
    ids = scene.ids
    paths = {
        "run_id": f"/api/v1/runs/{ids['run_id']}",
        "session_id": f"/api/v1/session/{ids['session_id']}",
        "webhook_id": f"/api/v1/webhooks/{ids['webhook_id']}",
        "doc_id": f"/api/v1/documents/{ids['doc_id']}",
        "draft_id": f"/api/v1/approvals/{ids['draft_id']}",
    }
    for case, body in NAMING.items():
        scene.send(case, body, ids, "spy-2")

    kept = {name: scene.server.send("GET", path, user="root") for name, path in paths.items()}

    assert {name: answer.status for name, answer in kept.items()} == dict.fromkeys(paths, 200)
    assert kept["draft_id"].json["status"] == "waiting"


def test_a_connection_hears_nothing_of_another_tenant(scene: Scene) -> None:
    ids = scene.ids
    messages = [
        {"type": "ask", "message": "Hello", "session_id": ids["session_id"]},
        {"type": "follow", "run_id": ids["run_id"]},
        *({"type": kind, "draft_id": ids["draft_id"]} for kind in ("approve", "reject")),
        *({"type": kind, "run_id": ids["run_id"]} for kind in ("cancel", "pause", "resume")),
        {"type": "steer", "run_id": ids["run_id"], "message": "Hello"},
    ]
    address = f"ws://127.0.0.1:{scene.server.port}/api/v1/stream"
    headers = {"Authorization": f"Bearer {scene.server.key('spy')}"}

    heard = []
    with connect(address, additional_headers=headers, proxy=None) as client:
        for number, message in enumerate(messages):
            client.send(json.dumps({**message, "id": str(number)}))
            heard.append(json.loads(client.recv(10)))

    codes = [(said["type"], said.get("code") or said.get("error", {}).get("code")) for said in heard]
    assert codes == [("error", "not_found")] * len(messages)
    assert MARK not in json.dumps(heard)


def test_a_call_gets_nothing_of_another_tenant(scene: Scene) -> None:
    metadata = (("authorization", f"Bearer {scene.server.key('spy')}"),)
    question = pb.QueryRequest(query="Hello", session_id=scene.ids["session_id"])

    with grpc.insecure_channel(scene.server.told["grpc"]) as channel:
        path = "/agent.AgentService/"
        query = channel.unary_unary(path + "Query", pb.QueryRequest.SerializeToString, pb.QueryResponse.FromString)
        stream = channel.unary_stream(path + "StreamQuery", pb.QueryRequest.SerializeToString, pb.QueryChunk.FromString)
        batch = channel.unary_unary(
            path + "BatchQuery", pb.BatchQueryRequest.SerializeToString, pb.BatchQueryResponse.FromString
        )
        with pytest.raises(grpc.RpcError) as asked:
            query(question, metadata=metadata, timeout=20)
        with pytest.raises(grpc.RpcError) as streamed:
            list(stream(question, metadata=metadata, timeout=20))
        many = batch(pb.BatchQueryRequest(requests=[question]), metadata=metadata, timeout=20)

    assert [error.value.code() for error in (asked, streamed)] == [grpc.StatusCode.NOT_FOUND] * 2
    assert MARK not in str(asked.value) + str(streamed.value) + str(many)
