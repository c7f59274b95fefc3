"""The example's tools, called as the runtime calls them: arguments are bound, then the tool is run in somebody's name."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import InvalidArguments
from quarterdeck.core.tools import Effect, Tool, ToolContext

FOLDER = Path(__file__).parents[3] / "examples" / "support_desk"
EMMA = Principal(user="emma", tenant="acme", roles=("employee",), groups=("everyone",))
OMAR = Principal(user="omar", tenant="acme", roles=("employee", "approver"), groups=("everyone",))
INES = Principal(user="ines", tenant="acme", roles=("employee",), groups=("everyone", "it-admins"))
WISH = {
    "title": "Laptop does not charge",
    "description": "My laptop does not charge.",
    "category": "hardware",
    "priority": "medium",
}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Tool]]:
    """The tools by name, over a fresh data folder; the example's folder is importable meanwhile."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield {tool.name: tool for tool in import_module("tools").build_tools(tmp_path)}
    for name in ("tools", "tickets"):
        sys.modules.pop(name, None)


async def call(tool: Tool, args: dict[str, Any], principal: Principal, key: str = "run:t1c0") -> Any:
    ctx = ToolContext(
        principal=principal, run_id="run", call_id="t1c0", idempotency_key=key, deadline=time.monotonic() + 30.0
    )
    return await tool.run(tool.bind(args), ctx)


def test_one_tool_reads_and_the_other_is_a_write_that_needs_approval(desk: dict[str, Tool]) -> None:
    status, create = desk["get_ticket_status"], desk["create_ticket_draft"]

    assert (status.effect, status.risk) == (Effect.READ, 0)
    assert (create.effect, create.risk, create.idempotent, create.needs_approval) == (Effect.WRITE, 2, True, True)


def test_model_is_told_what_every_argument_means_and_not_of_the_surroundings(desk: dict[str, Tool]) -> None:
    properties = {name: tool.input_schema["properties"] for name, tool in desk.items()}

    assert set(properties["get_ticket_status"]) == {"ticket_id"}
    assert set(properties["create_ticket_draft"]) == {"title", "description", "category", "priority"}
    assert all(field["description"] for fields in properties.values() for field in fields.values())
    assert "laptop" in properties["create_ticket_draft"]["category"]["description"]


async def test_status_of_an_own_ticket_is_told(desk: dict[str, Tool]) -> None:
    found = await call(desk["get_ticket_status"], {"ticket_id": "T-1001"}, EMMA)

    assert (found["ticket_id"], found["status"]) == ("T-1001", "in progress")


async def test_somebody_elses_ticket_looks_like_one_that_does_not_exist(desk: dict[str, Tool]) -> None:
    foreign = await call(desk["get_ticket_status"], {"ticket_id": "T-1003"}, EMMA)
    missing = await call(desk["get_ticket_status"], {"ticket_id": "T-9003"}, EMMA)

    assert str(foreign).replace("T-1003", "T-9003") == str(missing)


@pytest.mark.parametrize("principal", [OMAR, INES], ids=lambda principal: principal.user)
async def test_approvers_and_administrators_see_the_tickets_of_others(desk: dict[str, Tool], principal: Principal) -> None:
    found = await call(desk["get_ticket_status"], {"ticket_id": "T-1003"}, principal)

    assert found["status"] == "open"


async def test_create_called_again_with_its_key_gives_the_same_ticket(desk: dict[str, Tool]) -> None:
    first = await call(desk["create_ticket_draft"], WISH, EMMA)
    repeated = await call(desk["create_ticket_draft"], WISH, EMMA)
    other = await call(desk["create_ticket_draft"], WISH, EMMA, key="run:t2c0")

    assert first == repeated
    assert first["status"] == "open"
    assert other["ticket_id"] != first["ticket_id"]


@pytest.mark.parametrize("wrong", [{"category": "kitchen"}, {"priority": "urgent"}, {"title": ""}, {"requester": "omar"}])
def test_ticket_with_arguments_that_do_not_fit_is_refused(desk: dict[str, Tool], wrong: dict[str, str]) -> None:
    with pytest.raises(InvalidArguments):
        desk["create_ticket_draft"].bind({**WISH, **wrong})


@pytest.mark.parametrize("ticket_id", ["1001", "T-1", "T-1001; DROP TABLE tickets", "T-" + "9" * 40])
def test_status_of_what_is_no_ticket_number_is_refused(desk: dict[str, Tool], ticket_id: str) -> None:
    with pytest.raises(InvalidArguments):
        desk["get_ticket_status"].bind({"ticket_id": ticket_id})
