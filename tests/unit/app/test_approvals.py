"""A policy that asks for people who are not there is told of before anybody waits for them."""

from __future__ import annotations

import pytest

from quarterdeck.app.approvals import unheld
from quarterdeck.policy.load import load_policy
from quarterdeck.service.access import User
from quarterdeck.tools.decorator import tool

USERS = (
    User(id="omar", tenant="acme", roles=("finance",), scopes=("approvals",)),
    User(id="emma", tenant="acme", roles=("finance", "cfo")),
)


@tool(effect="write")
async def pay(amount: int) -> str:
    """Pay somebody."""
    return "paid"


@pytest.mark.row("G2", part="policy file")
@pytest.mark.parametrize(
    ("approvals", "warned"),
    [
        ("[finance]", ""),
        ("['user:omar']", ""),
        ("{by: [finance], quorum: 2}", "only 1"),
        ("[cfo]", "nobody"),  # emma may not decide
        ("{levels: [{by: [finance]}, {by: [board]}]}", "level 2 wants board, and nobody"),
        ("[]", "wants approver"),
    ],
)
def test_a_level_nobody_of_a_tenant_can_agree_to_is_warned_of(approvals: str, warned: str) -> None:
    text = f"policy: v1\ntools:\n  pay: {{needs_approval: true, approvals: {approvals}}}\n"

    found = unheld(load_policy(text, "policy.yaml", [pay]), USERS)

    assert len(found) == bool(warned)
    assert warned in "".join(found)


def test_a_tool_that_never_needs_anybody_is_not_warned_of() -> None:
    assert unheld(load_policy("policy: v1\n", "policy.yaml", [pay]), ()) == []
