"""The report tells what policy and rights would really allow."""

from __future__ import annotations

import pytest

from quarterdeck.policy.load import load_policy
from quarterdeck.service.access import User
from quarterdeck.service.access_report import access_report
from quarterdeck.tools import tool

pytestmark = pytest.mark.row("G4", part="access report")

POLICY = """
policy: v1
tools:
  open_ticket: { approvals: [lead] }
"""


@tool(effect="read", scope="tickets.read")
def get_ticket(number: int) -> str:
    """Read a ticket."""
    return "open"


@tool(effect="write", risk=2, needs_approval=True, scope="tickets.write")
def open_ticket(title: str) -> str:
    """Open a ticket."""
    return title


def test_each_person_has_what_scopes_roles_and_policy_give_and_no_more() -> None:
    tools = (get_ticket, open_ticket)
    users = [
        User(id="omar", tenant="acme", roles=("lead",), scopes=("approvals",), key="generated"),
        User(id="emma", tenant="acme", groups=("hr",), scopes=("chat", "tickets.read", "tickets.write"), key="generated"),
        User(id="guest", tenant="acme", roles=("lead",), scopes=("chat",)),
    ]

    emma, guest, omar = access_report(users, tools, load_policy(POLICY, "policy.yaml", tools))

    assert (emma.reads, emma.tools, emma.with_approval) == (("hr",), ("get_ticket", "open_ticket"), ("open_ticket",))
    assert (emma.approves, emma.logs_in) == ((), True)
    assert (guest.tools, guest.approves, guest.logs_in) == ((), (), False)
    assert (omar.tools, omar.approves) == ((), ("open_ticket",))
