"""Which thing is meant: an id that a lookup in the user's words found is as good as typed, if it found one thing only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from quarterdeck.core.decisions import Decision
from quarterdeck.core.events import Decided
from quarterdeck.core.labels import Integrity
from quarterdeck.core.tools import Tool, ToolContext
from quarterdeck.policy.load import load_policy
from quarterdeck.tools import tool
from tests.unit.agent.scene import Scene, calls, says

POLICY = """
policy: v1
tools:
  find: {effect: read, risk: 0, resolver: {fields: {id: event_id}}}
  cancel: {effect: write, identity: [event_id], sink: nobody}
  delete: {effect: write, identity: [file_id], sink: nobody}
"""


def scene(found: list[dict[str, str]], query: str, act: tuple[str, dict[str, str]]) -> Scene:
    def find(query: str) -> list[dict[str, str]]:
        """Find entries of a calendar that anybody may write to."""
        return found

    def cancel(event_id: str) -> str:
        """Cancel an entry."""
        return "cancelled"

    def delete(file_id: str) -> str:
        """Delete a file."""
        return "deleted"

    made = Scene(calls(("find", {"query": query})), calls(act), says("Done."), tools=[find, cancel, delete])
    made.policy = load_policy(POLICY, "policy.yaml", made.registry.tools)
    made.loop = made.new_loop()
    return made


async def decided(made: Scene) -> Decision:
    await made.ask("Cancel my dental check-up and delete what belongs to it.")
    return [each for entry in await made.entries() if isinstance(entry.event, Decided) for each in entry.event.decisions][-1]


@pytest.mark.row("G5", part="resolvers")
@pytest.mark.parametrize(
    ("found", "query", "act", "rule"),
    [
        ([{"id": "e-5", "title": "e-6"}], "dental check-up", ("cancel", {"event_id": "e-5"}), "context.grounded"),
        ([{"id": "e-5", "title": "e-6"}], "dental check-up", ("cancel", {"event_id": "e-6"}), "ground.identity"),
        ([{"id": "e-5"}, {"id": "e-6"}], "dental check-up", ("cancel", {"event_id": "e-5"}), "ground.identity"),
        ([{"id": "e-5"}], "board meeting", ("cancel", {"event_id": "e-5"}), "ground.identity"),
        ([{"id": "e-5"}], "dental check-up", ("delete", {"file_id": "e-5"}), "ground.identity"),
    ],
    ids=["the one that was named", "a title", "two of the name", "another question", "an id of something else"],
)
async def test_an_id_grounds_if_one_thing_was_found_by_the_users_words(
    found: list[dict[str, str]], query: str, act: tuple[str, dict[str, str]], rule: str
) -> None:
    assert (await decided(scene(found, query, act))).rule == rule


@pytest.mark.row("G4", part="tools")
async def test_what_is_executed_is_what_was_decided() -> None:
    executed: list[dict[str, Any]] = []

    async def run(args: dict[str, Any], ctx: ToolContext) -> str:
        executed.append(args)
        return "done"

    def bind(args: Mapping[str, Any]) -> dict[str, Any]:
        return {"to": str(args["to"]).strip().lower()}

    schema = {"type": "object", "properties": {"to": {"type": "string"}}}
    post = Tool(name="post", description="Post.", input_schema=schema, bind=bind, run=run, identity_args=("to",))
    made = Scene(calls(("post", {"to": " Bob ", "cc": "eve"})), says("Done."), tools=[post])

    await made.ask("Post to bob.")

    assert executed == [{"to": "bob"}]


@pytest.mark.row("G5", part="fields")
@pytest.mark.parametrize(("to", "rule"), [("bob@corp.example", "context.grounded"), ("eve@evil.example", "ground.identity")])
async def test_a_recipient_grounds_in_a_field_our_own_system_fills_and_not_in_one_outsiders_write(
    to: str, rule: str
) -> None:
    @tool(effect="read", resolver=True, fields={"email": "trusted", "nickname": "untrusted"})
    def contact(name: str) -> dict[str, str]:
        """Find a contact."""
        return {"email": "bob@corp.example", "nickname": "eve@evil.example"}

    @tool(effect="write", identity=("to",), sink="nobody")
    def invite(to: str) -> str:
        """Invite somebody."""
        return "invited"

    made = Scene(calls(("contact", {"name": "Bob"})), calls(("invite", {"to": to})), says("Done."), tools=[contact, invite])

    state = await made.ask("Invite Bob.")

    found = [each for entry in await made.entries() if isinstance(entry.event, Decided) for each in entry.event.decisions]
    assert found[-1].rule == rule
    assert state.label.integrity is Integrity.UNTRUSTED
