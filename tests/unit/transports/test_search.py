"""The search over HTTP: what one may read about a question, and why."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.knowledge.base import Chunk, Document, Space
from quarterdeck.knowledge.indexes.sqlite import SqliteIndex
from quarterdeck.knowledge.search import Searcher
from quarterdeck.service.access import Access, User
from quarterdeck.service.search import Search
from quarterdeck.transports.http.app import Backing, HttpLimits, http_app
from tests.unit.knowledge.meaning import Meaning, vector

from .conftest import Reply, Served

KEYS = {name: "qd_" + letter * 64 for name, letter in zip(("ann", "olga", "gil", "walt"), "abcd", strict=True)}
PEOPLE = (("ann", "acme", ("documents.read",)), ("olga", "acme", ("documents.read", "operate")))
OTHERS = (("gil", "globex", ("documents.read",)), ("walt", "acme", ("chat", "documents.write")))
ARTICLES = (
    ("leave", "acme", "everyone", "Every employee has thirty days of annual leave.", {"topic": "hr"}),
    ("badge", "acme", "everyone", "The badge opens the garage.", {"topic": "it"}),
    ("board", "acme", "board", "Zebrafish: the annual leave of the board.", {"topic": "hr"}),
    ("rival", "globex", "everyone", "Zebrafish of the rival, annual leave.", {"topic": "hr"}),
)


def _user(name: str, tenant: str, scopes: tuple[str, ...]) -> User:
    return User(id=name, tenant=tenant, scopes=scopes, key=f"sha256:{hashlib.sha256(KEYS[name].encode()).hexdigest()}")


class Desk:
    """What a test asks."""

    def __init__(self, served: Served) -> None:
        self._served = served

    async def ask(self, who: str, query: str, **more: Any) -> Reply:
        return await self._served.send("POST", "/api/v1/search", {"query": query, **more}, key=KEYS[who])


@pytest.fixture
async def desk(served: Served, tmp_path: Path) -> AsyncIterator[Desk]:
    index = await SqliteIndex.open(tmp_path / "index.db", Space(embedder=Meaning.id, dim=Meaning.dim))
    for name, tenant, group, text, meta in ARTICLES:
        document = Document(id=name, tenant=tenant, title=name.title(), text=text, groups=frozenset({group}), meta=meta)
        await index.upsert(document, [Chunk(text=text, start=0, end=len(text))], [vector(text)])
    state = served.app.state
    app = http_app(
        Backing(
            desk=state.desk,
            approvals=state.approvals,
            effects=state.effects,
            access=Access((_user(*person) for person in (*PEOPLE, *OTHERS)), {}, keyless=False),
            documents=state.documents,
            search=Search(Searcher(index, embedder=Meaning())),
            checks={},
        ),
        version="0",
        limits=HttpLimits(hosts=("127.0.0.1",)),
    )
    yield Desk(Served(app=app, store=served.store, worker=served.worker))
    await index.close()


@pytest.mark.row("K4", part="rest")
async def test_a_question_gives_ranked_passages_with_their_places(desk: Desk) -> None:
    reply = await desk.ask("ann", "vacation and holiday", k=3)

    assert reply.status == 200
    assert (reply.json["mode"], reply.json["notes"]) == ("hybrid", [])
    [passage] = reply.json["passages"]
    assert (passage["id"], passage["rank"], passage["document"]) == ("leave-1", 1, "leave")
    assert passage["uri"] == f"/api/v1/documents/leave?at=0-{len(passage['content'])}&edition=1"
    assert "explanation" not in reply.json


@pytest.mark.row("K4", part="rest")
async def test_a_search_tells_how_its_result_came_about(desk: Desk) -> None:
    told = (await desk.ask("ann", "annual leave", explain=True)).json["explanation"]

    assert [stage["name"] for stage in told["stages"]] == ["keyword", "vector", "fused", "cut", "reranked", "given"]
    assert (told["gate"], told["candidates"]) == ("open", 1)
    assert told["terms"] == [{"term": "annu", "having": 1}, {"term": "leav", "having": 1}]
    assert [dropped["passage"] for dropped in told["dropped"]] == ["badge-1"]


@pytest.mark.row("K7", part="explained")
async def test_what_is_closed_to_the_asker_stands_nowhere_in_an_answer(desk: Desk) -> None:
    for query in ("zebrafish", "annual leave", "zebrafish leave", "vacation"):
        ann = await desk.ask("ann", query, explain=True)
        gil = await desk.ask("gil", query, explain=True)

        assert not [word for word in ("board", "rival", "Zebrafish") if word in json.dumps(ann.json)]
        assert "acme" not in json.dumps(gil.json)
        assert {passage["document"] for passage in gil.json["passages"]} <= {"rival"}


@pytest.mark.row("K7", part="explained")
async def test_what_rests_on_everybodys_passages_is_for_operators(desk: Desk) -> None:
    mine = (await desk.ask("ann", "annual leave", explain=True)).json["explanation"]
    theirs = (await desk.ask("olga", "annual leave", explain=True)).json["explanation"]

    assert (mine["seconds"], mine["stages"][0]["places"][0]["engine_score"]) == ({}, None)
    assert theirs["seconds"]["keyword"] >= 0
    assert theirs["stages"][0]["places"][0]["engine_score"] is not None


async def test_metadata_narrows_a_search(desk: Desk) -> None:
    for where, found in (({"topic": "it"}, []), ({"topic": ["it", "hr"]}, ["leave"]), ({"topic": []}, [])):
        reply = await desk.ask("ann", "annual leave", where=where)

        assert [passage["document"] for passage in reply.json["passages"]] == found


@pytest.mark.parametrize(
    "body",
    [
        {"query": ""},
        {"query": " \u200b "},
        {"query": "a" * 2_001},
        {"query": "a", "k": 0},
        {"query": "a", "k": 51},
        {"query": "a", "tenant": "globex"},
        {"query": "a", "groups": ["board"]},
        {"query": "a", "where": {"topic": 3}},
        {"query": "a", "where": {str(number): "x" for number in range(17)}},
        {"query": "a", "explain": "yes"},
        {},
    ],
)
async def test_other_bodies_are_refused(desk: Desk, body: dict[str, Any]) -> None:
    reply = await desk.ask("ann", **{"query": None} | body) if "query" in body else await desk.ask("ann", None)  # type: ignore[arg-type]

    assert (reply.status, reply.code) == (422, "invalid_input")


async def test_a_key_without_the_scope_may_not_search(desk: Desk) -> None:
    assert (await desk.ask("walt", "leave")).status == 403
