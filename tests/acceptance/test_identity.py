"""Who is let in by a configured server: somebody with a token of an identity provider, and nobody with a forged one."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml
from joserfc import jwt
from joserfc.jwk import RSAKey
from websockets.sync.client import connect

from .beside import beside
from .conftest import EXAMPLE, Server

KEY, FORGED = (RSAKey.generate_key(2048, {"kid": "k1"}) for _ in range(2))


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """An identity provider: describes itself, and gives its keys."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            pages = {
                "/.well-known/openid-configuration": {"issuer": url, "jwks_uri": f"{url}/keys"},
                "/keys": {"keys": [KEY.as_dict(private=False)]},
            }
            body = json.dumps(pages[self.path]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with beside(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        yield url


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, issuer: str) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("identity")
    folder = home / "desk"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("data", ".quarterdeck", "__pycache__"))
    settings = yaml.safe_load((folder / "quarterdeck.yaml").read_text())
    corp = {"issuer": issuer, "audience": "desk", "tenant": "acme", "groups": ["everyone"], "scopes": ["chat"]}
    roles = {"operator": ["operate"], "approver": ["approvals"]}
    corp |= {"roles_claim": "roles", "groups_claim": "groups", "roles": roles}
    settings["identity"] = {"issuers": {"corp": corp | {"roles_of_groups": {"service-leads": ["approver"]}}}}
    (folder / "quarterdeck.yaml").write_text(yaml.safe_dump(settings))
    server = Server(data=home / "data", folder=folder)
    server.start()
    yield server
    server.stop()


def bearer(issuer: str, *, key: Any = KEY, **more: Any) -> dict[str, str]:
    said = {"iss": issuer, "aud": "desk", "sub": "ann", "exp": int(time.time()) + 600, **more}
    return {"Authorization": f"Bearer {jwt.encode({'alg': 'RS256', 'kid': 'k1'}, said, key)}"}


@pytest.mark.row("S9", part="by configuration")
def test_holder_of_a_token_asks_and_sees_his_run(desk: Server, issuer: str) -> None:
    asked = desk.send("POST", "/chat", {"message": "How do I report phishing?"}, headers=bearer(issuer))

    shown = desk.send("GET", f"/api/v1/runs/{asked.json['run_id']}", headers=bearer(issuer))

    assert (asked.status, shown.status) == (200, 200)
    assert (shown.json["user"], shown.json["status"]) == ("corp-ann", "done")
    assert desk.send("GET", "/api/v1/doubts", headers=bearer(issuer)).status == 403
    assert desk.send("GET", "/api/v1/doubts", headers=bearer(issuer, roles=["operator"])).status == 200


@pytest.mark.row("S9", part="by configuration")
def test_forged_foreign_and_old_tokens_are_refused(desk: Server, issuer: str) -> None:
    wrong = [
        bearer(issuer, key=FORGED),
        bearer(issuer, aud="another"),
        bearer(issuer, exp=int(time.time()) - 120),
        bearer("http://127.0.0.1:9"),
    ]

    answers = [desk.send("GET", "/api/v1/runs", headers=headers) for headers in wrong]

    assert [answer.status for answer in answers] == [401] * len(wrong)


@pytest.mark.row("S9", part="by configuration")
def test_holder_of_a_token_opens_a_connection(desk: Server, issuer: str) -> None:
    address = f"ws://127.0.0.1:{desk.port}/api/v1/stream"

    with connect(address, additional_headers=bearer(issuer), proxy=None) as client:
        client.send(json.dumps({"type": "ping", "id": "a"}))
        heard = json.loads(client.recv(10))

    assert heard["type"] == "pong"


@pytest.mark.row("S9", part="by configuration")
def test_member_of_a_group_that_gives_the_role_approves_a_draft_and_nobody_else(desk: Server, issuer: str) -> None:
    asked = desk.ask("Please open a ticket because my monitor flickers.", user="emma")
    path = f"/api/v1/approvals/{asked['drafts'][0]}/decisions"

    stranger = desk.send("POST", path, {"approved": True}, headers=bearer(issuer, sub="bea", groups=["everyone"]))
    lead = desk.send("POST", path, {"approved": True}, headers=bearer(issuer, sub="cem", groups=["service-leads"]))

    assert (stranger.status, lead.status) == (403, 200)
    assert desk.ended(asked["run_id"])["status"] == "done"
