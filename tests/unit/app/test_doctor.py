"""What doctor finds in folders that lack something, and that it changes nothing."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.app.doctor import Finding, Severity, examined
from quarterdeck.app.runtime import opened
from quarterdeck.core.errors import Misconfigured
from quarterdeck.devtools.simulator import Options, Simulator
from quarterdeck.settings import load
from quarterdeck.store.migrate import load as migrations
from quarterdeck.store.sqlite_store import migrate_sqlite

pytestmark = pytest.mark.row("D4", part="doctor")

AGENT = "name: helper\n"
LOCAL = {"LLM_MODE": "local"}


async def look(folder: Path, environ: Mapping[str, str], *, calls: bool = False, **flags: Any) -> dict[str, Finding]:
    """The worst finding of each check."""
    (folder / "agents").mkdir(exist_ok=True)
    (folder / "agents" / "helper.yaml").write_text(AGENT)
    flags = {"store": {"data": str(folder / "data")}, "server": {"port": 0}, **flags}
    worst: dict[str, Finding] = {}
    for finding in await examined(load(folder, environ, flags), calls=calls):
        if finding.check not in worst or finding.severity is not Severity.OK:
            worst[finding.check] = finding
    return worst


def severities(found: Mapping[str, Finding]) -> dict[str, str]:
    return {name: finding.severity.value for name, finding in found.items()}


async def test_a_new_folder_lacks_nothing_and_is_left_as_it_was(tmp_path: Path) -> None:
    found = await look(tmp_path, LOCAL, calls=True)

    assert set(severities(found).values()) == {"ok"}
    assert found.keys() >= {"versions", "extras", "data folder", "database", "index", "tools and policy", "port", "models"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agents"]


async def test_an_older_schema_and_a_folder_open_to_others_are_worth_a_look(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    await migrate_sqlite(data, 3)

    found = await look(tmp_path, LOCAL)

    assert (found["database"].severity, found["data folder"].severity) == (Severity.WARN, Severity.WARN)
    assert f"version 3 of {len(migrations('sqlite'))}" in found["database"].said
    assert "quarterdeck migrate" in found["database"].advice
    assert "chmod 700" in found["data folder"].advice


async def test_a_database_that_is_none_of_ours_fails(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / "quarterdeck.db").write_bytes(b"no database at all, but long enough to be looked at" * 40)

    found = await look(tmp_path, LOCAL)

    assert found["database"].severity is Severity.FAIL
    assert "put a copy of it back in its place" in found["database"].said
    assert found["index"].severity is Severity.OK  # a file of its own, with which nothing is wrong


async def test_stores_that_do_not_answer_fail_with_what_to_do_and_the_rest_is_still_looked_at(tmp_path: Path) -> None:
    urls = {"DATABASE_URL": "postgresql://app:hush-hush@127.0.0.1:9/x", "REDIS_URL": "redis://127.0.0.1:9/0"}

    found = await look(tmp_path, {**LOCAL, **urls})

    assert [name for name, level in severities(found).items() if level == "fail"] == ["database", "redis", "index"]
    assert all(finding.advice for finding in found.values() if finding.severity is Severity.FAIL)
    assert "store.redis_url" in found["redis"].said
    assert "store.redis_url" in found["redis"].advice
    assert "hush-hush" not in str(found)


async def test_postgres_is_reached_its_clock_compared_and_no_table_made(tmp_path: Path, postgres_url: str) -> None:
    first = await look(tmp_path, {**LOCAL, "DATABASE_URL": postgres_url})
    second = await look(tmp_path, {**LOCAL, "DATABASE_URL": postgres_url})

    assert severities(first) == severities(second) == dict.fromkeys(first, "ok")
    assert first["database"].said == second["database"].said
    assert "new" in first["database"].said
    assert "differs" in first["clock"].said


async def test_a_model_that_answers_is_told_from_one_that_refuses_the_key(tmp_path: Path) -> None:
    async with Simulator(Options(api_keys=["right-key"])) as simulator:
        base = {"OPENAI_BASE_URL": f"{simulator.url}/v1"}
        good = await look(tmp_path, {**base, "OPENAI_API_KEY": "right-key"}, calls=True)
        bad = await look(tmp_path, {**base, "OPENAI_API_KEY": "wrong-key"}, calls=True)

    assert good["models"].severity is Severity.OK
    assert "answers in" in good["models"].said
    assert bad["models"].severity is Severity.FAIL
    assert "wrong-key" not in bad["models"].said


async def test_a_model_without_a_key_is_said_to_be_simulated(tmp_path: Path) -> None:
    found = await look(tmp_path, {}, calls=True)

    assert found["models"].severity is Severity.WARN
    assert "OPENAI_API_KEY" in found["models"].advice


async def test_outside_development_somebody_needs_a_key(tmp_path: Path) -> None:
    found = await look(tmp_path, {"ENV": "production", "OPENAI_API_KEY": "sk-any"})

    assert found["people"].severity is Severity.FAIL
    assert "users.yaml" in found["people"].advice


async def test_a_tool_an_agent_names_and_nobody_has_fails(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("policy: v1\ntools:\n  fly: {effect: read}\n")

    found = await look(tmp_path, LOCAL)

    assert found["tools and policy"].severity is Severity.FAIL
    assert "fly" in found["tools and policy"].said


async def test_what_policy_lint_warns_of_is_worth_a_look(tmp_path: Path) -> None:
    tools = [
        "from quarterdeck import tool",
        "@tool(effect='read', resolver=True)",
        "def fly(where: str) -> str:",
        "    'Fly.'",
    ]
    tools += ["    return where", "def build_tools(data):", "    return [fly]"]
    (tmp_path / "tools.py").write_text("\n".join(tools))

    found = await look(tmp_path, LOCAL)

    assert found["tools and policy"].severity is Severity.WARN
    assert found["tools and policy"].said.startswith("fly ")


async def test_a_draft_nobody_could_agree_to_is_worth_a_look(tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text(
        "from quarterdeck import tool\n@tool(effect='write')\ndef pay(amount: int) -> None:\n    'Pay.'\n"
        "def build_tools(data):\n    return [pay]\n"
    )
    (tmp_path / "policy.yaml").write_text("policy: v1\ntools:\n  pay: {needs_approval: true, approvals: [cfo]}\n")
    (tmp_path / "users.yaml").write_text("users:\n  - {id: ann, tenant: acme, scopes: [approvals], roles: [owner]}\n")

    found = await look(tmp_path, LOCAL)

    assert found["tools and policy"].severity is Severity.WARN
    assert "level 1 wants cfo, and nobody" in found["tools and policy"].said
    assert "scope approvals" in found["tools and policy"].advice


@pytest.mark.parametrize("name", ["port", "grpc_port"])
async def test_a_port_that_is_taken_is_named_as_it_is_configured(tmp_path: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found = await look(tmp_path, LOCAL, server={"port": 0, name: taken.getsockname()[1]})

    assert (found["port"].severity, found["port"].advice.split()[-1]) == (Severity.WARN, f"server.{name}")


@pytest.mark.parametrize(
    ("written", "check", "said"),
    [
        ("secrets: {crm: {source: 'env:CRM_TOKEN'}}", "secrets", "there is nothing in env:CRM_TOKEN"),
        ("guards: {agents: {legal: {output: {card: block}}}}", "guards", "guards.agents.legal: there is no such agent"),
        ("limits: {deterministic: {tools: [fly]}}", "tools that only compute", "there is no tool 'fly'"),
        ("knowledge: {collections: [{path: nowhere, tenant: acme}]}", "documents", "nowhere is not a folder"),
        (
            "webhooks: {crm: {url: 'https://crm.example', events: [run_failed]}}",
            "webhooks",
            "webhooks.crm.secret is missing",
        ),
        ("event_streams: {bus: {key: events}}", "webhooks", "event_streams.bus needs a url"),
        ("identity: {issuers: {corp: ISSUER}}", "issuers", "corp-ann begins like users of an issuer"),
        ("audit: {checkpoints_url: 'file:///data/checkpoints'}", "audit log", "must be a file outside of the data folder"),
        ("models: {default: 'mistral:large', mode: remote}", "agents", "needs a key"),
    ],
)
async def test_what_a_start_refuses_doctor_names(tmp_path: Path, written: str, check: str, said: str) -> None:
    issuer = "{issuer: 'https://login.example', audience: qd, algorithms: [RS256], tenant: acme}"
    (tmp_path / "quarterdeck.yaml").write_text(written.replace("ISSUER", issuer))
    (tmp_path / "users.yaml").write_text("users: [{id: corp-ann, tenant: acme, scopes: [chat]}]\n")
    environ = {} if check == "agents" else LOCAL

    found = await look(tmp_path, environ)

    assert [name for name, finding in found.items() if finding.severity is Severity.FAIL] == [check]
    assert said in found[check].said
    with pytest.raises(Misconfigured, match=re.escape(said)):
        async with opened(load(tmp_path, environ, {"store": {"data": str(tmp_path / "data")}})):
            pass
