"""Everything of a person is handed out, then erased: no byte of the data folder holds his words, and the audit log holds."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import yaml
from psycopg import sql

from .conftest import EXAMPLE, QUARTERDECK, Server, environment

pytestmark = pytest.mark.row("G11", part="person and tenant")

MARK = "ZQMARKEDWORD7"


@pytest.fixture(params=["sqlite", "postgres"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    environ = {} if request.param == "sqlite" else {"DATABASE_URL": request.getfixturevalue("postgres_url")}
    folder = tmp_path / "desk"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".quarterdeck"))
    users = yaml.safe_load((folder / "users.yaml").read_text())
    users["users"].append({"id": "petra", "tenant": "acme", "scopes": ["privacy", "audit.read"], "key": "generated"})
    for user in users["users"]:
        if user["id"] == "emma":
            user["scopes"] = [*user.get("scopes", []), "documents.write"]
    (folder / "users.yaml").write_text(yaml.safe_dump(users))
    server = Server(data=tmp_path / "data", folder=folder, environ=environ)
    server.start()
    yield server
    server.stop()


def command(server: Server, *words: str) -> str:
    done = subprocess.run(
        [*QUARTERDECK, *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment(QUARTERDECK_KEY=server.key("petra")),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def holding(server: Server, mark: str) -> list[str]:
    """Files of the data folder, and tables of the database, in which a mark stands."""
    files = (path for path in server.data.rglob("*") if path.is_file())
    found = [path.name for path in files if mark.lower().encode() in path.read_bytes().lower()]
    if url := server.environ.get("DATABASE_URL"):
        found += _tables_with(url, mark)
    return sorted(found)


def _tables_with(url: str, mark: str) -> list[str]:
    """Every table of every schema but the engine's own, read as its owner; bytes are looked through in their digits."""
    with psycopg.connect(url) as connection:
        named = "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        found: list[str] = []
        for schema, table in connection.execute(named).fetchall():
            wanted = sql.SQL("SELECT count(*) FROM {} AS t WHERE strpos(lower(t::text), %s) > 0 OR strpos(t::text, %s) > 0")
            digits = mark.encode().hex()
            row = connection.execute(wanted.format(sql.Identifier(schema, table)), (mark.lower(), digits)).fetchone()
            found += [table] if row and row[0] else []
    return found


def busy(server: Server) -> None:
    """Runs that ended, one that waits for a person, one somebody decided, a session, an exported run, and a document."""
    session = server.send("POST", "/api/v1/session/", {"title": f"about {MARK}"}, user="emma").json
    for question in (f"How long does a VPN session last? {MARK}", f"What is {MARK}? " + f"{MARK} " * 3000):
        answer = server.send("POST", "/chat", {"message": question, "session_id": session.get("id")}, user="emma")
        assert answer.status == 200, answer.body
        server.send("POST", f"/api/v1/runs/{answer.json['run_id']}/export", {}, user="emma")
    forked = server.send("POST", f"/api/v1/runs/{answer.json['run_id']}/fork", {"at": 1}, user="emma")
    assert forked.status == 201, forked.body
    waits = server.ask(f"My laptop {MARK} is broken, please open a ticket about its battery.", user="emma")
    assert waits["stop_reason"] == "awaiting_approval"
    (draft,) = server.ask(f"My {MARK} screen is broken, please open a ticket about it.", user="emma")["drafts"]
    once = {"Idempotency-Key": "decided-once"}
    decision = {"approved": False, "reason": "not now"}
    decided = server.send("POST", f"/api/v1/approvals/{draft}/decisions", decision, user="omar", headers=once)
    assert decided.status == 200, decided.body
    sent = {"name": "own.md", "title": f"Own {MARK}", "groups": ["user:emma"], "text": f"My own note is about {MARK}."}
    uploaded = server.send("POST", "/api/v1/documents", sent, user="emma")
    assert uploaded.status == 202, uploaded.body
    server.send("GET", f"/api/v1/runs/{uploaded.json['run_id']}/events", user="emma")  # to its end
    server.ask(f"What does my own note say about {MARK}?", user="emma")


def test_a_person_is_handed_out_and_erased_and_others_keep_what_is_theirs(server: Server, tmp_path: Path) -> None:
    busy(server)
    kept = server.ask("How long does a VPN session last? ZQKEPT", user="omar")["run_id"]
    assert holding(server, MARK) != []

    command(server, "privacy", "export", "--user", "emma", "--url", server.url, "--output", str(tmp_path / "out.jsonl"))
    told = json.loads(command(server, "privacy", "erase", "--user", "emma", "--yes", "--json", "--url", server.url))

    things = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert {"run", "session", "approval", "document"} <= {thing["kind"] for thing in things}
    assert MARK in json.dumps([thing for thing in things if thing["kind"] == "document"])
    assert told["status"] == "done"
    assert told["runs"] == sum(thing["kind"] == "run" for thing in things)
    assert told["name"] != "emma"
    assert holding(server, MARK) == []
    assert server.send("GET", "/api/v1/runs", user="emma").json["runs"] == []
    assert server.send("GET", f"/api/v1/runs/{kept}", user="omar").status == 200
    assert server.ask("How long does a VPN session last?", user="omar")["sources"] != []
    log = server.send("GET", "/api/v1/audit?limit=1000", user="petra").json["rows"]
    assert [row["decision"] for row in log if row["action"] == "erasure"] == ["begun", "done"]
    assert server.send("GET", "/api/v1/audit/verify", user="petra").json["bad"] is None


def test_a_tenant_is_erased_with_everybody_in_it_and_another_is_not(server: Server) -> None:
    busy(server)
    other = server.send(
        "POST", "/chat", {"message": "Hello ZQOTHER"}, user="gina" if "gina" in server.told["new_keys"] else None
    )
    refused = server.send("POST", "/api/v1/privacy/erasures", {"tenant": "globex"}, user="petra")
    forbidden = server.send("POST", "/api/v1/privacy/erasures", {"user": "emma"}, user="omar")

    command(server, "privacy", "erase", "--tenant", "acme", "--yes", "--url", server.url)

    assert other.status == 200
    assert (refused.status, forbidden.status) == (422, 403)
    assert holding(server, MARK) == []
    assert server.send("GET", "/api/v1/audit/verify", user="petra").json["bad"] is None


def test_an_erasure_goes_on_after_the_server_was_killed(server: Server) -> None:
    busy(server)
    begun = server.send("POST", "/api/v1/privacy/erasures", {"user": "emma"}, user="petra").json
    server.stop(9)
    server.start()

    told = json.loads(command(server, "privacy", "erase", "--user", "emma", "--yes", "--json", "--url", server.url))

    assert told["id"] == begun["id"]
    assert holding(server, MARK) == []
