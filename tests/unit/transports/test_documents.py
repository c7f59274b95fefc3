"""Documents over HTTP: an index in a file, a worker that is advanced by hand."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import NotFound
from quarterdeck.service.access import Access, User
from quarterdeck.service.orders import Order, Upload, encode
from quarterdeck.transports.http.app import Backing, HttpLimits, http_app
from quarterdeck.transports.http.shapes import place_of
from tests.unit.service.intake import ANN, BOB, GIL, OLGA, Intake, folder_sources, intake_at

from .conftest import Reply, Served

KEYS = {
    name: "qd_" + letter * 64 for name, letter in zip(("ann", "bob", "olga", "gil", "rita", "walt"), "abcdef", strict=True)
}
RITA = Principal(user="rita", tenant="acme", groups=("it",), scopes=("documents.read",))
WALT = Principal(user="walt", tenant="acme", groups=(), scopes=("documents.write",))
SECRET = "omicron salaries"


def _user(person: Principal) -> User:
    digest = hashlib.sha256(KEYS[person.user].encode()).hexdigest()
    return User(id=person.user, tenant=person.tenant, groups=person.groups, scopes=person.scopes, key=f"sha256:{digest}")


class Desk:
    """What a test speaks to."""

    def __init__(self, intake: Intake, served: Served) -> None:
        self.intake = intake
        self._served = served

    async def send(self, who: Principal, method: str, path: str, body: Any = None, **more: Any) -> Reply:
        return await self._served.send(method, path, body, key=KEYS[who.user], **more)

    async def upload(self, who: Principal, name: str, text: str, groups: list[str] | None = None, **more: Any) -> str:
        """Bring a document in; returns its id."""
        reply = await self.send(who, "POST", "/api/v1/documents", {"name": name, "text": text, "groups": groups, **more})
        assert reply.status == 202, reply.body
        await self.intake.ingestion.advance(who.tenant, reply.json["run_id"])
        return str(reply.json["documents"][0]["id"])


@pytest.fixture
async def desk(served: Served, tmp_path: Path) -> AsyncIterator[Desk]:
    async with intake_at(tmp_path, sources=folder_sources(tmp_path, 3)) as intake:
        people = (ANN, BOB, OLGA, GIL, RITA, WALT)
        intake.people.known |= {person.user: person for person in people}
        state = served.app.state
        app = http_app(
            Backing(
                desk=state.desk,
                approvals=state.approvals,
                effects=state.effects,
                access=Access(map(_user, people), {}, keyless=False),
                documents=intake.documents,
                checks={},
            ),
            version="0",
            limits=HttpLimits(hosts=("127.0.0.1",), max_body_bytes=20_000, max_upload_bytes=200_000),
        )
        yield Desk(intake, Served(app=app, store=served.store, worker=served.worker))


@pytest.mark.row("K8", part="rest")
async def test_a_document_is_sent_as_text_as_base64_or_as_it_is(desk: Desk) -> None:
    await desk.upload(ANN, "a.md", "# One\n\nalpha\n", ["it"])
    encoded = base64.b64encode(b"word,meaning\nbeta,two\n").decode()
    packed = await desk.send(ANN, "POST", "/api/v1/documents", {"name": "b.csv", "base64": encoded, "groups": ["it"]})
    raw = await desk.send(
        ANN,
        "POST",
        "/api/v1/documents?name=c.txt&groups=it&title=Three",
        raw=b"gamma " * 9_000,
        headers={"content-type": "text/plain"},
    )
    for reply in (packed, raw):
        assert reply.status == 202
        await desk.intake.ingestion.advance("acme", reply.json["run_id"])

    listed = (await desk.send(ANN, "GET", "/api/v1/documents")).json

    assert [(row["title"], row["groups"], row["edition"]) for row in listed["documents"]] == [
        ("One", ["it"], 1),
        ("b", ["it"], 1),
        ("Three", ["it"], 1),
    ]
    assert {row["trusted"] for row in listed["documents"]} == {False}
    assert listed["next"] is None


@pytest.mark.parametrize(
    "body",
    [
        {"name": "a.md"},
        {"name": "a.md", "text": "x", "base64": "eA=="},
        {"name": "a.md", "base64": "no base64"},
        {"name": "", "text": "x"},
        {"name": "a\n.md", "text": "x"},
        {"name": "a.md", "text": "x", "title": "a\u0000b"},
        {"name": "a.md", "text": "x", "trusted": True},
        {"name": "a.md", "text": "x", "tenant": "globex"},
        {"name": "a.md", "text": "x", "groups": ["no group"]},
        {"name": "a.md", "text": "x", "groups": "it"},
        {"name": "a.md", "text": "x", "id": "../x"},
    ],
)
async def test_what_is_no_document_is_refused(desk: Desk, body: Any) -> None:
    reply = await desk.send(ANN, "POST", "/api/v1/documents", body)

    assert (reply.status, reply.code) == (422, "invalid_input")


async def test_a_body_that_says_one_thing_twice_or_is_too_large_is_refused(desk: Desk) -> None:
    twice = await desk.send(ANN, "POST", "/api/v1/documents", raw=b'{"name": "a.md", "name": "b.md", "text": "x"}')
    large = await desk.send(ANN, "POST", "/api/v1/documents?name=a.txt", raw=b"x" * 200_001)
    elsewhere = await desk.send(ANN, "POST", "/api/v1/documents/import", raw=b"x", headers={"content-type": "text/plain"})

    assert (twice.status, twice.code) == (400, "duplicate_key")
    assert (large.status, large.code) == (413, "too_large")
    assert elsewhere.status == 415


@pytest.mark.row("K8", part="rest")
async def test_the_same_name_from_the_same_person_is_another_edition_and_from_another_another_document(desk: Desk) -> None:
    first = await desk.upload(ANN, "plan.md", "# Plan\n\nalpha one\n", ["everyone"])
    second = await desk.upload(ANN, "plan.md", "# Plan\n\nalpha two\n")
    other = await desk.upload(BOB, "plan.md", "# Plan\n\nalpha three\n", ["everyone"])

    told = (await desk.send(RITA, "GET", f"/api/v1/documents/{first}/editions")).json["editions"]
    before = (await desk.send(RITA, "GET", f"/api/v1/documents/{first}?edition=1")).json

    assert first == second != other
    assert [edition["number"] for edition in told] == [2, 1]
    assert (before["edition"], before["text"]) == (1, "# Plan\n\nalpha one\n")
    assert (await desk.send(RITA, "GET", f"/api/v1/documents/{first}")).json["groups"] == ["everyone"]
    assert (await desk.send(RITA, "GET", f"/api/v1/documents/{first}?edition=9")).status == 404


async def test_a_new_document_without_groups_is_for_its_sender_alone(desk: Desk) -> None:
    mine = await desk.upload(ANN, "mine.md", "alpha\n")

    assert (await desk.send(ANN, "GET", f"/api/v1/documents/{mine}")).json["groups"] == ["user:ann"]
    assert (await desk.send(RITA, "GET", f"/api/v1/documents/{mine}")).status == 404


@pytest.mark.row("K7", part="rest")
async def test_nobody_speaks_for_a_group_he_is_not_in_but_an_operator(desk: Desk) -> None:
    body = {"name": "a.md", "text": "alpha\n", "groups": ["hr"]}
    own = await desk.upload(ANN, "own.md", "beta\n", ["it", "everyone", "user:ann"])

    replies = [
        await desk.send(ANN, "POST", "/api/v1/documents", body),
        await desk.send(ANN, "POST", "/api/v1/documents", body | {"groups": ["user:bob"]}),
        await desk.send(ANN, "POST", "/api/v1/documents/import", {"urls": ["https://example.com/"], "groups": ["hr"]}),
        await desk.send(ANN, "PUT", f"/api/v1/documents/{own}/groups", {"groups": ["hr"]}),
    ]

    assert [(reply.status, reply.code) for reply in replies] == [(403, "forbidden")] * 4
    assert (await desk.send(OLGA, "POST", "/api/v1/documents", body)).status == 202


@pytest.mark.row("K7", part="rest")
async def test_front_matter_cannot_open_a_document_to_those_its_sender_may_not_name(desk: Desk) -> None:
    text = "---\ngroups: [hr]\n---\nomega\n"
    reply = await desk.send(ANN, "POST", "/api/v1/documents", {"name": "a.md", "text": text})

    await desk.intake.ingestion.advance("acme", reply.json["run_id"])

    assert await desk.intake.outcomes(reply.json["run_id"]) == [("a.md", "refused")]
    assert await desk.intake.found("omega", "hr", "user:ann") == []


@pytest.mark.row("K7", part="rest")
async def test_every_route_answers_alike_for_what_is_forbidden_and_what_is_not_there(desk: Desk) -> None:
    secret = await desk.upload(BOB, "pay.md", f"# Pay\n\n{SECRET}\n", ["hr"])
    absent = secret[:-4] + ("0000" if not secret.endswith("0000") else "1111")

    for who in (ANN, GIL):
        for method, tail, body in [
            ("GET", "", None),
            ("GET", "?at=0-3", None),
            ("GET", "?at=0-99999", None),
            ("GET", "?edition=1", None),
            ("GET", "?edition=7", None),
            ("GET", "/editions", None),
            ("PUT", "/groups", {"groups": ["everyone"]}),
            ("DELETE", "", None),
        ]:
            forbidden = await desk.send(who, method, f"/api/v1/documents/{secret}{tail}", body)
            unknown = await desk.send(who, method, f"/api/v1/documents/{absent}{tail}", body)
            told = [
                reply.json["error"]["message"].replace(doc, "ID") for reply, doc in ((forbidden, secret), (unknown, absent))
            ]
            assert (forbidden.status, unknown.status) == (404, 404), (who.user, method, tail)
            assert told[0] == told[1]
            assert SECRET not in forbidden.body.decode()
        for doc in (secret, absent):
            reply = await desk.send(who, "POST", "/api/v1/documents", {"name": "x.md", "text": "x", "id": doc})
            assert reply.status == 404
        listed = await desk.send(who, "GET", "/api/v1/documents")
        assert listed.json == {"documents": [], "next": None}
    assert (await desk.send(BOB, "GET", f"/api/v1/documents/{secret}")).status == 200


@pytest.mark.row("K7", part="rest")
async def test_whoever_may_read_may_not_thereby_write_nor_the_other_way_round(desk: Desk) -> None:
    shared = await desk.upload(ANN, "shared.md", "alpha\n", ["everyone"])

    by_reader = [
        await desk.send(RITA, "DELETE", f"/api/v1/documents/{shared}"),
        await desk.send(RITA, "PUT", f"/api/v1/documents/{shared}/groups", {"groups": ["it"]}),
        await desk.send(RITA, "POST", "/api/v1/documents", {"name": "a.md", "text": "x"}),
        await desk.send(RITA, "POST", "/api/v1/documents/import", {"urls": ["https://example.com/"]}),
    ]
    by_writer = [
        await desk.send(WALT, "GET", "/api/v1/documents"),
        await desk.send(WALT, "GET", f"/api/v1/documents/{shared}"),
        await desk.send(WALT, "GET", f"/api/v1/documents/{shared}/editions"),
    ]

    assert {reply.status for reply in by_reader + by_writer} == {403}


async def test_a_right_taken_away_from_the_sender_is_not_regained_by_sending_again(desk: Desk) -> None:
    doc = await desk.upload(ANN, "plan.md", "alpha\n", ["it"])
    await desk.send(OLGA, "PUT", f"/api/v1/documents/{doc}/groups", {"groups": ["hr"]})
    moved = await desk.send(OLGA, "PUT", f"/api/v1/documents/{doc}/groups", {"groups": ["hr"]})
    olga_in_it = Principal(user="olga", tenant="acme", groups=("it",), scopes=OLGA.scopes)
    await desk.intake.documents.set_groups(olga_in_it, doc, ["hr"])

    again = await desk.send(ANN, "POST", "/api/v1/documents", {"name": "plan.md", "text": "beta\n"})
    await desk.intake.ingestion.advance("acme", again.json["run_id"])

    assert moved.status == 404  # an operator who may not read it sees it no more than others
    assert await desk.intake.outcomes(again.json["run_id"]) == [("plan.md", "refused")]
    assert await desk.intake.found("alpha", "hr") == [doc]
    assert (await desk.send(ANN, "GET", f"/api/v1/documents/{doc}")).status == 404


@pytest.mark.row("K8", part="rest")
async def test_groups_are_changed_and_documents_removed_at_once_and_both_are_audited(desk: Desk) -> None:
    doc = await desk.upload(ANN, "plan.md", "alpha\n", ["it", "everyone"])

    narrowed = await desk.send(ANN, "PUT", f"/api/v1/documents/{doc}/groups", {"groups": ["it"]})
    seen = await desk.send(BOB, "GET", f"/api/v1/documents/{doc}")
    nobody = await desk.send(ANN, "PUT", f"/api/v1/documents/{doc}/groups", {"groups": []})
    removed = await desk.send(ANN, "DELETE", f"/api/v1/documents/{doc}")
    again = await desk.send(ANN, "DELETE", f"/api/v1/documents/{doc}")

    assert (narrowed.json["groups"], seen.status, nobody.status) == (["it"], 404, 422)
    assert (removed.status, again.status) == (204, 404)
    assert await desk.intake.found("alpha", "it") == []
    rows = await desk.intake.store.records.audit_rows("acme")
    assert [(row["actor"], row["action"], row["decision"]) for row in rows] == [
        ("user:ann", "documents", "ingest"),
        ("user:ann", "documents", "groups:it"),
        ("user:ann", "documents", "delete"),
    ]


async def test_documents_of_a_configured_folder_are_changed_in_the_folder(desk: Desk) -> None:
    begun = await desk.send(OLGA, "POST", "/api/v1/documents/import", {"collection": "kb"})
    await desk.intake.ingestion.advance("acme", begun.json["run_id"])

    replies = [
        await desk.send(OLGA, "DELETE", "/api/v1/documents/000"),
        await desk.send(OLGA, "PUT", "/api/v1/documents/000/groups", {"groups": ["it"]}),
        await desk.send(OLGA, "POST", "/api/v1/documents", {"name": "a.md", "text": "x", "id": "000"}),
    ]

    assert [(reply.status, reply.code) for reply in replies] == [(409, "conflict")] * 3
    assert (await desk.send(ANN, "GET", "/api/v1/documents/000")).json["trusted"] is True
    assert (await desk.send(ANN, "POST", "/api/v1/documents/import", {"collection": "kb"})).status == 403
    assert (await desk.send(GIL, "POST", "/api/v1/documents/import", {"collection": "kb"})).status == 404


async def test_one_idempotency_key_is_one_run(desk: Desk) -> None:
    body = {"name": "a.md", "text": "alpha\n"}
    headers = {"idempotency-key": "once"}

    first = await desk.send(ANN, "POST", "/api/v1/documents", body, headers=headers)
    again = await desk.send(ANN, "POST", "/api/v1/documents", body, headers=headers)
    other = await desk.send(ANN, "POST", "/api/v1/documents", body | {"text": "beta\n"}, headers=headers)
    of_bob = await desk.send(BOB, "POST", "/api/v1/documents", body, headers=headers)

    assert first.json == again.json
    assert (other.status, other.code) == (422, "key_reused")
    assert of_bob.json["run_id"] != first.json["run_id"]
    assert len(desk.intake.woken) == 2
    refused = encode(Order(what=Upload(name="a.md", data=b"beta\n")))
    with pytest.raises(NotFound):  # what was refused is not kept
        await desk.intake.store.journal.get_blob(ANN.tenant, hashlib.sha256(refused).hexdigest())
    kept = encode(Order(what=Upload(name="a.md", data=b"alpha\n")))
    assert await desk.intake.store.journal.get_blob(ANN.tenant, hashlib.sha256(kept).hexdigest()) == kept


async def test_documents_are_listed_a_page_at_a_time(desk: Desk) -> None:
    ids = [await desk.upload(ANN, f"{number}.md", "alpha\n", ["it"]) for number in range(5)]

    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page = (await desk.send(RITA, "GET", f"/api/v1/documents?limit=2&after={after}")).json
        found += [row["id"] for row in page["documents"]]
        after = page["next"]

    assert found == sorted(ids)


@pytest.mark.row("K6", part="place")
async def test_a_document_is_opened_at_a_place_with_its_headings_and_surroundings(desk: Desk) -> None:
    text = "# VPN\n\n## Sessions\n\n### Length\n\nA session lasts twelve hours. Then it ends.\n"
    doc = await desk.upload(ANN, "vpn.md", text, ["it"])
    start = text.index("A session")
    end = start + len("A session lasts twelve hours.")

    place = (await desk.send(RITA, "GET", f"/api/v1/documents/{doc}?at={start}-{end}")).json["passage"]

    assert place == {
        "start": start,
        "end": end,
        "text": "A session lasts twelve hours.",
        "before": text[:start],
        "after": " Then it ends.\n",
        "heading_path": ["Sessions", "Length"],
    }


@pytest.mark.row("K6", part="place")
async def test_a_citation_opens_the_text_it_was_taken_from_or_nothing(desk: Desk) -> None:
    async def opened(place: str) -> tuple[int, str | None, list[str] | None]:
        reply = await desk.send(RITA, "GET", place)
        held = reply.json.get("passage", {})
        return reply.status, held.get("text"), held.get("heading_path")

    text = "# VPN\n\n## Length\n\nA session lasts twelve hours.\n"
    doc = await desk.upload(ANN, "vpn.md", text, ["it"])
    [cited] = await desk.intake.passages("twelve", "it")

    at_first = await opened(place_of(cited))
    await desk.upload(ANN, "vpn.md", "# VPN\n\n## Nothing\n\nNobody knows how long sessions last.\n")
    with_a_newer_one = await opened(place_of(cited))
    await desk.send(ANN, "DELETE", f"/api/v1/documents/{doc}")
    await desk.upload(ANN, "vpn.md", "# VPN\n\n## Length\n\nA session lasts two hours at most.\n", ["it"])
    after_its_end = await opened(place_of(cited))

    assert at_first == (200, "A session lasts twelve hours.", ["Length"])
    assert with_a_newer_one == (200, "A session lasts twelve hours.", [])
    assert after_its_end == (404, None, None)


@pytest.mark.row("K6", part="page")
async def test_a_browser_gets_a_page_with_the_place_marked_and_nothing_in_it_runs(desk: Desk) -> None:
    text = "# Attack\n\n<script>alert(1)</script> and <b>bold</b> words\u202eback.\n"
    doc = await desk.upload(ANN, "attack.md", text, ["it"], title="<i>Title</i>")
    kept = text.replace("\u202e", "")
    start = kept.index("<b>")

    reply = await desk.send(
        RITA,
        "GET",
        f"/api/v1/documents/{doc}?at={start}-{start + 11}",
        headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"},
    )

    page = reply.body.decode()
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert '<mark id="place">&lt;b&gt;bold&lt;/b&gt;</mark>' in page
    assert "<script" not in page
    assert "<i>" not in page
    assert "\u202e" not in page
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert (await desk.send(RITA, "GET", f"/api/v1/documents/{doc}", headers={"accept": "*/*"})).json["id"] == doc


async def test_the_answer_says_where_its_run_is_seen(desk: Desk) -> None:
    reply = await desk.send(OLGA, "POST", "/api/v1/documents", {"name": "a.md", "text": "x"})

    assert reply.headers["location"] == f"/api/v1/runs/{reply.json['run_id']}"
