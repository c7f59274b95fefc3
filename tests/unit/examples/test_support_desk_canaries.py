"""Markers in every field of the example that somebody outside may write: none comes back as a trusted text."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.app.policy import described
from quarterdeck.core.context import Principal
from quarterdeck.core.labels import PUBLIC, Integrity, Label
from quarterdeck.core.tools import Tool, ToolContext
from quarterdeck.policy import Policy
from quarterdeck.settings import load
from quarterdeck.tools import tool
from quarterdeck.tools.encode import encode

FOLDER = Path(__file__).parents[3] / "examples" / "support_desk"
EMMA = Principal(user="emma", tenant="acme", roles=("employee",), groups=("everyone",))
MARKERS = {"title": "CANARY-title-7", "description": "CANARY-description-7"}
WISH = {**MARKERS, "category": "hardware", "priority": "low"}
TYPED_NOTHING = Label(integrity=Integrity.TRUSTED, readers=PUBLIC)

pytestmark = pytest.mark.row("G5", part="canaries")


@pytest.fixture
def desk() -> Iterator[tuple[dict[str, Tool], Policy]]:
    """The example's tools by name, over an empty ticket system, and its policy."""
    with described(load(FOLDER, {})) as (tools, policy):
        yield {one.name: one for one in tools}, policy
    for name in ("tools", "tickets"):
        sys.modules.pop(name, None)


async def said(one: Tool, args: Mapping[str, Any]) -> str:
    """What a model would read of a call."""
    ctx = ToolContext(principal=EMMA, run_id="run", call_id="t1c0", idempotency_key="k", deadline=time.monotonic() + 30.0)
    text, _ = encode(await one.run(one.bind(dict(args)), ctx), one.max_output_chars)
    return text


def laundered(one: Tool, policy: Policy, text: str) -> list[str]:
    """The markers that would reach a model as trusted text."""
    trusted = policy.result_label(one, TYPED_NOTHING, EMMA).integrity is Integrity.TRUSTED
    return [marker for marker in MARKERS.values() if trusted and marker in text]


async def test_no_field_of_a_ticket_comes_back_as_trusted(desk: tuple[dict[str, Tool], Policy]) -> None:
    tools, policy = desk

    created = await said(tools["create_ticket_draft"], WISH)
    number = json.loads(created)["ticket_id"]
    said_of = {
        "create_ticket_draft": created,
        "get_ticket_status": await said(tools["get_ticket_status"], {"ticket_id": number}),
    }

    assert set(said_of) == set(tools) - {"search_knowledge_base"}  # whose passages carry labels of their own
    assert any(MARKERS["title"] in text for text in said_of.values())  # or the markers would prove nothing
    assert {name: laundered(tools[name], policy, text) for name, text in said_of.items()} == {name: [] for name in said_of}


async def test_a_tool_that_is_wrongly_declared_trusted_is_found() -> None:
    @tool(effect="read", trusted=True)
    def channels() -> list[str]:
        """List the channels, whose names anybody chooses."""
        return ["general", MARKERS["title"]]

    policy = Policy.default([channels])

    assert laundered(channels, policy, await said(channels, {})) == [MARKERS["title"]]
