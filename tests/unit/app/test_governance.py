"""What a deployment begins with is a row in the audit log of every tenant people can belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from quarterdeck.app.governance import opened_governance
from quarterdeck.settings import load
from quarterdeck.store.memory import MemoryStore

pytestmark = pytest.mark.row("G7", part="configuration")

CORP = {"issuer": "https://login.example", "audience": "desk", "tenant_claim": "org", "tenants": ["globex", "initech"]}
USER = {"id": "ann", "tenant": "acme", "scopes": ["chat"], "key": "sha256:" + "a" * 64}


async def begun(store: MemoryStore, folder: Path, user: dict[str, Any]) -> None:
    """A start with this user, and an issuer whose people belong to other tenants."""
    (folder / "agents").mkdir(exist_ok=True)
    (folder / "agents" / "desk.yaml").write_text("name: desk\n")
    (folder / "quarterdeck.yaml").write_text(yaml.safe_dump({"identity": {"issuers": {"corp": CORP}}}))
    (folder / "users.yaml").write_text(yaml.safe_dump({"users": [user]}))
    async with opened_governance(load(folder, {}), store):
        pass


async def test_tenants_that_only_an_issuer_names_are_told_of_the_configuration(tmp_path: Path) -> None:
    store = MemoryStore()

    await begun(store, tmp_path, USER)

    rows = {tenant: await store.records.audit_rows(tenant) for tenant in ("acme", "globex", "initech")}
    assert {tenant: [row["decision"] for row in told] for tenant, told in rows.items()} == {
        tenant: ["first"] for tenant in rows
    }


@pytest.mark.parametrize(
    "change", [{"key": "sha256:" + "b" * 64}, {"key": "generated"}, {"default": True}, {"roles": ["lead"]}]
)
async def test_another_key_of_somebody_is_another_configuration(tmp_path: Path, change: dict[str, Any]) -> None:
    store = MemoryStore()
    await begun(store, tmp_path, USER)

    await begun(store, tmp_path, {**USER, **change})

    rows = await store.records.audit_rows("acme")
    assert [(row["object"], row["decision"]) for row in rows[1:]] == [("users", "changed")]
    assert "b" * 64 not in str(await store.records.find("acme", "configuration"))
