"""Marked secrets in every place that holds one, a busy server whose tools and provider tell them on, and no mark left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from tests.provider import Provider, called, completion, fails

from .conftest import Server

pytestmark = pytest.mark.row("G5", part="secret canary")

CANARIES = {
    "QUARTERDECK_MODELS__PROVIDERS__ACME__API_KEY": "sk-CANARYPROVIDER0123456789",
    "QUARTERDECK_STORE__STATE_SECRET": "CANARYSTATE-0123456789",
    "QUARTERDECK_STORE__REDIS_URL": "redis://:CANARYREDIS-0123456789@127.0.0.1:1/0",
    "CRM_TOKEN": "CANARYTOOL/0123&456789",
}
TOOLS = '''
import logging
import sys

from quarterdeck import tool
from quarterdeck.core.tools import ToolContext


@tool(effect="read", risk=0)
async def look(ctx: ToolContext) -> str:
    """Look a customer up."""
    token = ctx.secret("crm")
    await ctx.emit(f"asking with {token}")
    logging.getLogger("crm").error("GET https://crm.example/?key=%s", token)
    raise ConnectionError(f"GET https://crm.example/?key={token} answered 500")


@tool(effect="read", risk=0)
def tell(ctx: ToolContext) -> dict[str, object]:
    """Tell what is there."""
    return {"headers": {"x-token": ctx.secret("crm")}, "name": "Jane"}


@tool(effect="read", risk=0)
def note(text: str, ctx: ToolContext) -> str:
    """Write something down."""
    raise RuntimeError("cannot: " + ctx.secret("crm") + ctx.secret("mail"))


def build_tools(data):
    return [look, tell, note]
'''


def folder(place: Path, provider: str) -> Path:
    place.mkdir()
    (place / "agents").mkdir()
    agent = {"name": "desk", "model": "acme:m", "retrieve": "never", "tools": ["look", "tell", "note"]}
    (place / "agents" / "desk.yaml").write_text(json.dumps(agent))
    user = {"id": "ann", "tenant": "acme", "scopes": ["chat"], "key": "generated"}
    (place / "users.yaml").write_text(json.dumps({"users": [user]}))
    (place / "tools.py").write_text(TOOLS)
    (place / "mail.token").write_text("CANARYMAIL-0123456789\n")
    settings: dict[str, Any] = {
        "models": {"providers": {"acme": {"base_url": provider}}, "retries": 0},
        "secrets": {
            "crm": {"source": "env:CRM_TOKEN", "tools": ["look", "tell", "note"]},
            "mail": {"source": "file:mail.token"},
        },
        "log": {"level": "debug"},
    }
    (place / "quarterdeck.yaml").write_text(json.dumps(settings))
    return place


async def test_no_secret_is_found_in_anything_a_busy_server_wrote_said_or_asked(tmp_path: Path) -> None:
    async with Provider() as provider:
        server = Server(
            data=tmp_path / "data", folder=folder(tmp_path / "folder", provider.base_url), environ=dict(CANARIES)
        )
        await to_thread.run_sync(server.start)
        try:
            key = server.key("ann")
            provider.script.extend(
                [
                    completion(calls=[called("look", "{}", "1"), called("tell", "{}", "2")], finish="tool_calls"),
                    completion(calls=[called("note", '{"text": "hm"}', "3")], finish="tool_calls"),
                    completion("Done."),
                    fails(401, f"Incorrect API key provided: {CANARIES['QUARTERDECK_MODELS__PROVIDERS__ACME__API_KEY']}"),
                ]
            )
            answers = []
            for _ in range(2):
                answer = await to_thread.run_sync(ask, server)
                run = (
                    answer.json.get("run_id")
                    or server.send("GET", "/api/v1/runs?limit=1", user="ann").json["runs"][0]["run_id"]
                )
                answers.append(answer.body)
                answers += [
                    await to_thread.run_sync(get, server, f"/api/v1/runs/{run}{more}") for more in ("", "/events", "/story")
                ]
            answers.append(await to_thread.run_sync(get, server, "/api/v1/runs/none"))
        finally:
            await to_thread.run_sync(server.stop)
        asked = json.dumps(provider.requests).encode()

    told = b"\n".join(answers)
    written = {path: path.read_bytes() for path in files(server.data)}
    assert b"ConnectionError: GET https://crm.example" in asked  # they did run, and their words did go around
    assert len(provider.requests) == 4
    for where, data in {"answers": told, "prompts": asked, "announced": json.dumps(server.told).encode(), **written}.items():
        found = [
            name
            for name in ("CANARYPROVIDER", "CANARYSTATE", "CANARYREDIS", "CANARYTOOL", "CANARYMAIL")
            if name.encode() in data
        ]
        assert found == [], where
        if where not in ("announced", server.data / "keys"):
            assert key.encode() not in data, where


def ask(server: Server) -> Any:
    return server.send("POST", "/chat", {"message": "Look Jane up."}, user="ann")


def get(server: Server, path: str) -> bytes:
    return server.send("GET", path, user="ann").body


def files(place: Path) -> Iterator[Path]:
    return (path for path in place.rglob("*") if path.is_file())
