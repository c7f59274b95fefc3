"""Marked secrets of every kind a configuration knows, and those a server hands out, looked for in whatever was said."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from anyio import to_thread
from joserfc import jwt
from joserfc.jwk import OctKey
from psycopg import sql

from tests.provider import Provider, called, completion, fails

from .conftest import QUARTERDECK, Server, environment
from .test_secrets import folder, get

pytestmark = pytest.mark.row("G5", part="secret canary")

MARK = "CANARY"
WEBHOOK = "whsec_" + "CANARYHOOK1+CANARYHOOK2+0123CANA"
SHARED = "CANARYISSUER-0123456789-0123456789"
CANARIES = {
    "QUARTERDECK_MODELS__PROVIDERS__ACME__API_KEY": "sk-CANARYPROVIDER0123456789",
    "QUARTERDECK_STORE__STATE_SECRET": "CANARYSTATE-0123456789",
    "QUARTERDECK_WEBHOOKS__CRM__SECRET": WEBHOOK,
    "QUARTERDECK_MAIL__PASSWORD": "CANARYMAILBOX-0123456789",
    "QUARTERDECK_IDENTITY__ISSUERS__CORP__SECRET": SHARED,
    "QUARTERDECK_KNOWLEDGE__RERANKER__API_KEY": "CANARYRERANKER-0123456789",
    "QUARTERDECK_KNOWLEDGE__INDEX_KEY": "CANARYINDEX-0123456789",
    "REDIS_URL": "redis://:CANARYREDIS-0123456789@127.0.0.1:1/0",
    "CRM_TOKEN": "CANARYTOOL/0123&456789",
}
SCOPES = ["chat", "keys.write", "webhooks", "metrics.read", "audit.read", "operate", "costs.read"]


def furnished(place: Path, provider: str) -> Path:
    """A folder with somebody who may see everything, an issuer, a webhook and a mailbox."""
    folder(place, provider)
    user = {"id": "ann", "tenant": "acme", "scopes": SCOPES, "key": "generated"}
    (place / "users.yaml").write_text(json.dumps({"users": [user]}))
    settings = json.loads((place / "quarterdeck.yaml").read_text())
    corp = {"issuer": "https://login.example", "audience": "desk", "tenant": "acme", "scopes": ["chat"]}
    settings |= {
        "identity": {"issuers": {"corp": corp}},
        "webhooks": {"crm": {"url": "http://127.0.0.1:9/hook", "events": ["run_finished", "run_failed"]}},
        "mail": {"host": "127.0.0.1", "port": 9, "username": "desk", "sender": "desk@example.com"},
    }
    (place / "quarterdeck.yaml").write_text(json.dumps(settings))
    return place


def with_password(url: str) -> str:
    """The same database, named with a password, which this one does not ask for."""
    return url.replace("postgres@", "postgres:CANARYDATABASE-0123456789@")


def token() -> str:
    said = {"iss": "https://login.example", "aud": "desk", "sub": "bea", "exp": int(time.time()) + 600}
    return jwt.encode({"alg": "HS256"}, said, OctKey.import_key(SHARED))


def ran(environ: Mapping[str, str], *words: str) -> bytes:
    done = subprocess.run([*QUARTERDECK, *words], capture_output=True, env=environment(**environ), timeout=120)
    return done.stdout + done.stderr


def dumped(url: str) -> Iterator[tuple[str, bytes]]:
    """Every row of every table, as text."""
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        for schema, table in tables:
            rows = connection.execute(sql.SQL("SELECT one::text FROM {} one").format(sql.Identifier(schema, table)))
            yield f"table {table}", "\n".join(str(row[0]) for row in rows).encode()


async def test_no_secret_of_any_kind_is_found_in_anything_that_was_written_or_said(
    tmp_path: Path, postgres_url: str
) -> None:
    async with Provider() as provider:
        place = furnished(tmp_path / "folder", provider.base_url)
        environ = {**CANARIES, "DATABASE_URL": with_password(postgres_url)}
        server = Server(data=tmp_path / "data", folder=place, environ=environ)
        try:
            await to_thread.run_sync(server.start)
            provider.script.extend(
                [
                    completion(calls=[called("look", "{}", "1"), called("tell", "{}", "2")], finish="tool_calls"),
                    completion("Done."),
                    fails(401, f"Incorrect API key provided: {CANARIES['QUARTERDECK_MODELS__PROVIDERS__ACME__API_KEY']}"),
                ]
            )
            handed, said = await to_thread.run_sync(busy, server)
        finally:
            await to_thread.run_sync(server.stop)
        asked = json.dumps(provider.requests).encode()
    said |= {
        "config": ran(environ, "config", str(place)) + ran(environ, "config", str(place), "--json"),
        "doctor": ran(environ, "doctor", str(place), "--data", str(server.data)),
        "announced": json.dumps({name: value for name, value in server.told.items() if name != "new_keys"}).encode(),
        "prompts": asked,
        **{str(path): path.read_bytes() for path in server.data.rglob("*") if path.is_file() and path.name != "keys"},
        **dict(dumped(postgres_url)),
    }

    assert b"answered 500" in asked  # the tools did run
    for where, data in said.items():
        assert MARK.encode() not in data, (where, data[max(0, data.find(MARK.encode()) - 80) :][:160])
        found = [name for name, secret in handed.items() if secret.encode() in data]
        assert found == [], where


def busy(server: Server) -> tuple[dict[str, str], dict[str, bytes]]:
    """What the server handed out as secrets, and what it said when it was asked all kinds of things with them."""
    made = server.send("POST", "/api/v1/keys", {"name": "a", "scopes": ["chat"]}, user="ann").json
    handed = {"key": server.key("ann"), "made key": made["key"].rsplit(".", 1)[1], "token": token()}
    said: dict[str, bytes] = {}
    for name, credential in (("made key", made["key"]), ("token", handed["token"])):
        headers = {"Authorization": f"Bearer {credential}"}
        said[f"asked with {name}"] = server.send("POST", "/chat", {"message": "Look Jane up."}, headers=headers).body
        stream = server.send("POST", "/api/v1/stream-tokens", headers=headers).json["token"]
        handed[f"stream token by {name}"] = stream.rsplit(".", 1)[1]
        said[f"followed by {name}"] = server.send("GET", f"/api/v1/agent/stream?query=hello&token={stream}").body
        said[f"refused by {name}"] = server.send("GET", f"/api/v1/runs/x?token={stream}&key={credential}").body
        wrong = {"Authorization": f"Bearer {credential[:-1]}"}
        said[f"wrong {name}"] = server.send("GET", "/api/v1/runs", headers=wrong).body
    runs = server.send("GET", "/api/v1/runs?limit=50", user="ann").json["runs"]
    paths = [f"/api/v1/runs/{run['run_id']}{more}" for run in runs for more in ("", "/story")]
    paths += ["/api/v1/runs", "/api/v1/keys", "/api/v1/audit", "/api/v1/deliveries?status=waiting", "/api/v1/webhooks"]
    paths += ["/api/v1/costs", "/api/v1/agents", "/api/v1/tools", "/openapi.json", "/metrics", "/health", "/ready"]
    return handed, said | {path: get(server, path) for path in paths}


@pytest.mark.parametrize(
    ("environ", "files"),
    [
        ({"DATABASE_URL": "postgresql://app:CANARYDATABASE-0123@127.0.0.1:1/none"}, {}),
        ({"DATABASE_URL": "postgresql://app:CANARYDATABASE-0123@127.0.0.1:port/none"}, {}),
        ({"DATABASE_URL": "oracle://app:CANARYDATABASE-0123@127.0.0.1/none"}, {}),
        ({"REDIS_URL": "CANARYREDIS-0123"}, {"store": {"broker": "redis"}}),
        ({"QUARTERDECK_WEBHOOKS__CRM__SECRET": "CANARYHOOK"}, {}),
        ({"QUARTERDECK_IDENTITY__ISSUERS__CORP__SECRET": "CANARYISSUER"}, {}),
        ({"QUARTERDECK_STORE__STATE_URL": "s3://app:CANARYSTATE-0123@bucket/x?endpoint=nowhere"}, {}),
        ({}, {"models": {"providers": {"acme": {"api_key": ["CANARYPROVIDER"]}}}}),
        ({}, {"models": {"providers": {"acme": {"apikey": "CANARYPROVIDER"}}}}),
    ],
    ids=["away", "port", "engine", "redis", "webhook", "issuer", "states", "no text", "misspelt"],
)
def test_server_that_cannot_start_does_not_say_the_secret_that_is_wrong(
    tmp_path: Path, environ: dict[str, str], files: dict[str, Any]
) -> None:
    place = furnished(tmp_path / "folder", "http://127.0.0.1:9/v1")
    settings = json.loads((place / "quarterdeck.yaml").read_text())
    (place / "quarterdeck.yaml").write_text(json.dumps(settings | files))
    given = {name: value for name, value in CANARIES.items() if name in ("CRM_TOKEN", "QUARTERDECK_WEBHOOKS__CRM__SECRET")}
    given |= {"QUARTERDECK_IDENTITY__ISSUERS__CORP__SECRET": SHARED, **environ}

    for words in (("migrate",), ("doctor",), ("config",)):
        said = ran(given, *words, str(place), "--data", str(tmp_path / "data"))

        assert said
        assert MARK.encode() not in said, (words, said)
