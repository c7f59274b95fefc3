"""Marked passages, people who may read some of them, and every way to ask: no mark reaches anybody it is not for."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from websockets.sync.client import connect

from quarterdeck.devtools.simulator import Simulator
from quarterdeck.transports.grpc import agent_pb2 as pb

from .conftest import Answer, Server

QUESTION = "What is the budget code of the project Heron?"
MARK = re.compile(r"ZQ[A-Z]+X\d")
# By tenant and group; `X0` stands in the text, `X1` in the title, `X2` in the metadata.
CLOSED = {("acme", "sales"): "ZQACMESALES", ("acme", "hr"): "ZQACMEHR", ("globex", "sales"): "ZQGLOBEXSALES"}
IDS = {"ZQACMESALES": "heron-one", "ZQACMEHR": "heron-two", "ZQGLOBEXSALES": "heron-three"}
PEOPLE = {
    "ann": ("acme", ["sales"], ["chat", "documents.read", "documents.write"]),
    "hugo": ("acme", ["hr"], ["chat", "documents.read"]),
    "eve": ("acme", [], ["chat", "documents.read"]),
    "ole": ("acme", [], ["chat", "approvals", "operate", "documents.read", "documents.write", "metrics.read"]),
    "gil": ("globex", ["sales"], ["chat", "documents.read", "operate", "metrics.read"]),
    "guy": ("globex", [], ["chat", "documents.read"]),
}


def _readable(user: str) -> set[str]:
    tenant, groups, _ = PEOPLE[user]
    return {mark for (owner, group), mark in CLOSED.items() if owner == tenant and group in groups}


def _folder(folder: Path, provider: str | None) -> Path:
    for (tenant, group), mark in CLOSED.items():
        documents = folder / f"knowledge-{tenant}"
        documents.mkdir(parents=True, exist_ok=True)
        (documents / f"{IDS[mark]}.md").write_text(
            f"---\ntitle: Heron budget {mark}X1\ngroups: [{group}]\nowner: {mark}X2\n---\n\n"
            f"The budget code of the project Heron is {mark}X0. It holds until June.\n"
        )
        (documents / "canteen.md").write_text("---\ngroups: [everyone]\n---\n\n# Canteen\n\nThe canteen opens at noon.\n")
    (folder / "agents").mkdir()
    for name, retrieve in (("asking", "tool"), ("knowing", "always"), ("remembering", "always")):
        spec = {"name": name, "retrieve": retrieve, "answer_cache": name == "remembering"}
        spec["tools"] = ["search_knowledge_base"] if retrieve == "tool" else []
        (folder / "agents" / f"{name}.yaml").write_text(json.dumps(spec))
    users = [
        {"id": user, "tenant": tenant, "groups": ["everyone", *groups], "scopes": scopes, "key": "generated"}
        for user, (tenant, groups, scopes) in PEOPLE.items()
    ]
    (folder / "users.yaml").write_text(json.dumps({"users": users}))
    knowledge: dict[str, Any] = {
        "collections": [{"path": f"knowledge-{tenant}", "tenant": tenant} for tenant in ("acme", "globex")]
    }
    settings: dict[str, Any] = {"models": {"mode": "local"}, "knowledge": knowledge, "log": {"level": "debug"}}
    if provider is not None:
        settings["models"]["providers"] = {"acme": {"base_url": provider, "api_key": "sk-simulated-0123456789"}}
        knowledge["embedder"] = {"model": "acme:vectors", "dim": 64, "shorten": True}
    (folder / "quarterdeck.yaml").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module", params=["words", "vectors", "postgres"])
def closed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over the marked documents: by words, by vectors too, and by both in Postgres."""
    folder = tmp_path_factory.mktemp("closed")
    with Simulator() as simulator:
        _folder(folder, None if request.param == "words" else f"{simulator.url}/v1")
        environ = {"QUARTERDECK_SERVER__GRPC_PORT": "0"}
        if request.param == "postgres":
            environ["VECTOR_DB_URL"] = request.getfixturevalue("_shared_postgres").new_database()
        server = Server(folder / "data", environ=environ, folder=folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()


Ask = Callable[[Server, str], Sequence[Answer]]


def _searched(explain: bool) -> Ask:
    def ask(server: Server, user: str) -> Sequence[Answer]:
        body = {"query": QUESTION, "k": 20, "explain": explain}
        twice = [server.send("POST", "/api/v1/search", body, user=user) for _ in range(2)]
        narrowed = {"query": QUESTION, "k": 20, "explain": explain, "where": {"owner": ["ZQACMEHRX2", "ZQGLOBEXSALESX2"]}}
        return [*twice, server.send("POST", "/api/v1/search", narrowed, user=user)]

    return ask


def _asked(agent: str) -> Ask:
    def ask(server: Server, user: str) -> Sequence[Answer]:
        answers = [server.send("POST", "/chat", {"message": QUESTION, "agent": agent}, user=user) for _ in range(2)]
        told = [
            server.send("GET", f"/api/v1/runs/{answer.json['run_id']}{path}", user=user)
            for answer in answers
            for path in ("", "/events")
        ]
        return [*answers, *told]

    return ask


def _streamed(server: Server, user: str) -> Sequence[Answer]:
    body = {"query": QUESTION, "agent_id": "asking"}
    return [server.send("POST", "/api/v1/agent/stream", body, user=user)]


def _batched(server: Server, user: str) -> Sequence[Answer]:
    items = [{"query": QUESTION, "agent_id": agent} for agent in ("asking", "knowing", "remembering")]
    return [server.send("POST", "/api/v1/agent/batch", {"items": items}, user=user)]


def _as_openai(server: Server, user: str) -> Sequence[Answer]:
    body = {"model": "asking", "messages": [{"role": "user", "content": QUESTION}]}
    return [
        server.send("POST", "/v1/chat/completions", body, user=user),
        server.send("POST", "/v1/chat/completions", {**body, "stream": True}, user=user),
        server.send("POST", "/v1/responses", {"model": "knowing", "input": QUESTION}, user=user),
    ]


def _over_grpc(server: Server, user: str) -> Sequence[Answer]:
    service, key = "/agent.AgentService/", (("authorization", f"Bearer {server.key(user)}"),)
    questions = [pb.QueryRequest(query=QUESTION, agent_id=agent) for agent in ("asking", "remembering")]
    with grpc.insecure_channel(server.told["grpc"]) as channel:
        send = pb.QueryRequest.SerializeToString
        query = channel.unary_unary(f"{service}Query", send, pb.QueryResponse.FromString)
        stream = channel.unary_stream(f"{service}StreamQuery", send, pb.QueryChunk.FromString)
        said = [str(query(question, timeout=30, metadata=key)) for question in questions]
        said += [str(chunk) for question in questions for chunk in stream(question, timeout=30, metadata=key)]
    return [Answer(200, {}, "".join(said).encode())]


def _over_a_websocket(server: Server, user: str) -> Sequence[Answer]:
    said = []
    url = server.url.replace("http", "ws", 1) + "/api/v1/stream"
    with connect(url, additional_headers={"Authorization": f"Bearer {server.key(user)}"}) as socket:
        socket.send(json.dumps({"type": "ask", "id": "q", "message": QUESTION, "agent": "asking"}))
        while not said or json.loads(said[-1])["type"] not in ("end", "error"):
            said.append(str(socket.recv(timeout=30)))
    return [Answer(200, {}, "".join(said).encode())]


def _opened(server: Server, user: str) -> Sequence[Answer]:
    answers = [server.send("GET", "/api/v1/documents", user=user)]
    for doc_id in IDS.values():
        path = f"/api/v1/documents/{doc_id}"
        answers += [server.send("GET", path + more, user=user) for more in ("", "?at=0-20", "?edition=1", "/editions")]
        answers.append(server.send("GET", path, user=user, headers={"Accept": "text/html"}))
    return answers


def _looked_around(server: Server, user: str) -> Sequence[Answer]:
    """Everything else that tells of others: lists, metrics, health, the description of the interface."""
    paths = ("/api/v1/runs", "/api/v1/approvals", "/api/v1/session/", "/metrics", "/health", "/ready", "/openapi.json")
    return [server.send("GET", path, user=user) for path in paths]


PATHS: dict[str, Ask] = {
    "search": _searched(explain=False),
    "explain": _searched(explain=True),
    "retrieve by the model": _asked("asking"),
    "retrieve first": _asked("knowing"),
    "remembered answers": _asked("remembering"),
    "stream": _streamed,
    "batch": _batched,
    "openai": _as_openai,
    "grpc": _over_grpc,
    "websocket": _over_a_websocket,
    "documents": _opened,
    "lists and metrics": _looked_around,
}
_FINDING = set(PATHS) - {"lists and metrics"}


def _marks(answers: Sequence[Answer]) -> set[str]:
    said = "\n".join(f"{answer.headers}{answer.body.decode()}" for answer in answers)
    return {found.group().rpartition("X")[0] for found in MARK.finditer(said.upper())}


@pytest.mark.row("K7", part="every path")
@pytest.mark.parametrize("path", PATHS)
def test_nobody_is_told_a_mark_that_is_not_for_him(closed: Server, path: str) -> None:
    # Those who may read ask first, so that caches are full when the others come, and then once more.
    heard = {user: _marks(PATHS[path](closed, user)) for user in (*PEOPLE, *reversed(PEOPLE))}

    own = {user: _readable(user) if path in _FINDING else set() for user in PEOPLE}
    assert {user: marks - _readable(user) for user, marks in heard.items()} == {user: set() for user in PEOPLE}
    assert {user: marks & _readable(user) for user, marks in heard.items()} == own


@pytest.mark.row("K7", part="runs of others")
def test_runs_of_others_tell_nothing_of_what_they_found(closed: Server) -> None:
    owners = {user: closed.ask(QUESTION, user=user, agent="knowing")["run_id"] for user in PEOPLE}

    heard: dict[str, set[str]] = {}
    for user in PEOPLE:
        others = [run for owner, run in owners.items() if owner != user]
        read = [
            closed.send("GET", f"/api/v1/runs/{run}{part}", user=user)
            for run in others
            for part in ("", "/events", "/doubts", "/story")
        ]
        steered = [closed.send("POST", f"/api/v1/runs/{run}/fork", {"at": 1}, user=user) for run in others]
        heard[user] = _marks([*read, *steered]) - _readable(user)

    assert heard == {user: set() for user in PEOPLE}


@pytest.mark.row("K7", part="like what there is not")
@pytest.mark.parametrize("part", ["", "?at=0-20", "?edition=1", "/editions"])
def test_a_closed_document_is_answered_like_one_there_is_not(closed: Server, part: str) -> None:
    closed_id, no_id = "heron-two", "heron-ten"

    there = closed.send("GET", f"/api/v1/documents/{closed_id}{part}", user="ann")
    not_there = closed.send("GET", f"/api/v1/documents/{no_id}{part}", user="ann")

    def told(answer: Answer, doc_id: str) -> Any:
        body = answer.json["error"] | {"request_id": ""}
        same = {name: value for name, value in answer.headers.items() if name not in ("x-request-id", "date")}
        return answer.status, json.loads(json.dumps(body).replace(doc_id, "ID")), same

    assert told(there, closed_id) == told(not_there, no_id)
    assert there.status == 404


@pytest.mark.row("K7", part="taken away")
@pytest.mark.row("K8", part="caches")
def test_what_is_taken_away_is_gone_from_searches_answers_and_caches_at_once(closed: Server) -> None:
    text = "The budget code of the project Heron is ZQCOMETX0, and no other."
    sent = {"name": "heron.md", "title": "Heron budget ZQCOMETX1", "groups": ["sales"], "text": text}
    ways = ("search", "remembered answers", "retrieve first", "documents")

    def hears(user: str) -> dict[str, bool]:
        answers = {way: [*PATHS[way](closed, user)] for way in ways}
        answers["documents"].append(closed.send("GET", path, user=user))
        return {way: "ZQCOMET" in _marks(answers[way]) for way in ways}

    def opened_to(groups: Sequence[str]) -> None:
        changed = closed.send("PUT", f"{path}/groups", {"groups": groups}, user="ann")
        assert changed.status == 200, changed.body

    everywhere, nowhere = dict.fromkeys(ways, True), dict.fromkeys(ways, False)
    uploaded = closed.send("POST", "/api/v1/documents", sent, user="ann")
    assert uploaded.status == 202, uploaded.body
    path = f"/api/v1/documents/{uploaded.json['documents'][0]['id']}"
    closed.send("GET", f"/api/v1/runs/{uploaded.json['run_id']}/events", user="ann")  # to its end
    opened_to(["sales"])  # as it was; what was remembered before the document came is forgotten
    assert hears("ann") == everywhere
    assert hears("eve") == nowhere
    opened_to(["everyone"])
    assert hears("eve") == everywhere
    assert hears("guy") == nowhere
    opened_to(["user:ann"])
    assert hears("eve") == nowhere
    assert hears("ole") == nowhere
    assert hears("ann") == everywhere
    assert closed.send("DELETE", path, user="ann").status == 204
    assert hears("ann") == nowhere


@pytest.mark.row("K7", part="old runs")
@pytest.mark.parametrize("way", ["closed", "deleted"])
def test_an_old_run_shows_nothing_of_what_its_asker_may_not_read_any_more(closed: Server, way: str) -> None:
    text = f"The budget code of the project Heron is ZQ{way.upper()}X0, and no other."
    sent = {"name": f"{way}.md", "title": f"Heron budget ZQ{way.upper()}X1", "groups": ["sales"], "text": text}
    uploaded = closed.send("POST", "/api/v1/documents", sent, user="ann")
    assert uploaded.status == 202, uploaded.body
    doc_id = uploaded.json["documents"][0]["id"]
    closed.send("GET", f"/api/v1/runs/{uploaded.json['run_id']}/events", user="ann")  # to its end
    opened = closed.send("PUT", f"/api/v1/documents/{doc_id}/groups", {"groups": ["everyone"]}, user="ann")
    assert opened.status == 200, opened.body
    asked = closed.ask(QUESTION, user="eve", agent="knowing")
    run, session = asked["run_id"], asked["session_id"]

    def told() -> list[Answer]:
        paths = [f"runs/{run}", f"runs/{run}/story", f"runs/{run}/events", f"session/{session}"]
        read = [closed.send("GET", f"/api/v1/{path}", user="eve") for path in paths]
        exported = closed.send("POST", f"/api/v1/runs/{run}/export", user="eve")
        follow_up = {"message": "And what is it called?", "agent": "knowing", "session_id": session}
        return [*read, exported, closed.send("POST", "/chat", follow_up, user="eve")]

    mark = f"ZQ{way.upper()}"
    before = [mark in _marks([answer]) for answer in told()]
    if way == "closed":
        closed.send("PUT", f"/api/v1/documents/{doc_id}/groups", {"groups": ["user:ann"]}, user="ann")
    else:
        closed.send("DELETE", f"/api/v1/documents/{doc_id}", user="ann")
    after = told()

    assert before[:4] == [True] * 4
    assert [mark in _marks([answer]) for answer in after] == [False] * len(after)
    assert [answer.status for answer in after] == [200, 200, 403, 200, 403, 200]
    assert doc_id in after[1].body.decode()  # that there was something, and where it stood
    assert after[1].json["withheld"] is True


@pytest.mark.row("K7", part="lost groups")
def test_a_group_taken_from_somebody_in_the_users_file_is_gone_from_every_path_within_a_minute(closed: Server) -> None:
    file = closed.folder / "users.yaml"
    before = file.read_text()
    people = json.loads(before)
    run_id = closed.send("POST", "/chat", {"message": QUESTION, "agent": "asking"}, user="ann").json["run_id"]
    assert "ZQACMESALES" in _marks([closed.send("GET", f"/api/v1/runs/{run_id}", user="ann")])
    next(user for user in people["users"] if user["id"] == "ann")["groups"].remove("sales")

    def finds() -> bool:
        return "ZQACMESALES" in _marks(PATHS["search"](closed, "ann"))

    def becomes(found: bool) -> None:
        deadline = time.monotonic() + 60
        while finds() is not found:
            assert time.monotonic() < deadline, f"a minute later ann's searches still say {not found}"
            time.sleep(0.2)

    file.write_text(json.dumps(people))
    try:
        becomes(False)
        told = {path: _marks(ask(closed, "ann")) for path, ask in PATHS.items()}
        old = [closed.send("GET", f"/api/v1/runs/{run_id}{path}", user="ann") for path in ("", "/events", "/story")]
        assert [path for path, found in told.items() if found & set(CLOSED.values())] == []
        assert _marks(old).isdisjoint(CLOSED.values())
    finally:
        file.write_text(before)
    becomes(True)


@pytest.mark.row("K7", part="log")
def test_the_log_holds_no_mark(closed: Server) -> None:
    assert MARK.findall((closed.data / "log").read_text().upper()) == []
