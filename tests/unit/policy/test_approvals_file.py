"""Who must agree, as policy files write it."""

from __future__ import annotations

import pytest

from quarterdeck.core.context import Principal
from quarterdeck.core.decisions import Level, Terms, Verdict
from quarterdeck.core.errors import Misconfigured
from quarterdeck.core.labels import PUBLIC, Integrity, Label
from quarterdeck.core.messages import ToolCall
from quarterdeck.policy import Grounds, Policy
from quarterdeck.policy.load import load_policy
from quarterdeck.tools.decorator import tool


@tool(effect="write")
async def pay(amount: int) -> str:
    """Pay somebody."""
    return "paid"


def load(approvals: str, more: str = "") -> Policy:
    text = f"policy: v1\ntools:\n  pay:\n    needs_approval: true\n    expires_s: 900\n    approvals: {approvals}\n{more}"
    return load_policy(text, "policy.yaml", [pay])


def asked(policy: Policy) -> Terms:
    principal = Principal(user="anna", tenant="acme")
    label = Label(integrity=Integrity.TRUSTED, readers=PUBLIC)
    decision = policy.decide(ToolCall(id="t1c0", name="pay", args={"amount": 5}), pay, label, principal, Grounds())
    assert decision.verdict is Verdict.APPROVE
    assert decision.terms is not None
    return decision.terms


def test_a_list_names_who_may_decide_and_one_level_needs_no_list_of_levels() -> None:
    short = asked(load("[owner, finance]"))
    one = asked(load("{by: [finance], quorum: 2, escalate: {after_s: 60, to: ['user:carl']}, reason: required}"))

    assert short == Terms(levels=(Level(by=("owner", "finance"), expires_s=900),))
    level = Level(by=("finance",), quorum=2, expires_s=900, escalate_to=("user:carl",), escalate_s=60)
    assert one == Terms(levels=(level,), reason_required=True)


def test_without_anybody_named_the_role_approver_decides() -> None:
    assert asked(load("[]")).levels == (Level(by=("approver",), expires_s=900),)
    assert asked(load("{four_eyes: true}")) == Terms(levels=(Level(by=("approver",), expires_s=900),), four_eyes=True)


def test_a_rule_adds_a_level_and_lets_nobody_decide_in_place_of_those_of_the_table() -> None:
    rules = "rules:\n  - {id: L, when: {tool: pay, args.amount: '>1'}, then: approve, by: cfo}\n"

    terms = asked(load("[finance]", rules))

    assert [level.by for level in terms.levels] == [("finance",), ("cfo",)]


def test_a_tool_that_policy_holds_for_high_risk_wants_four_eyes_whatever_its_author_said() -> None:
    assert asked(load("[finance]", "    risk: 3\n")).four_eyes


@pytest.mark.row("G2", part="policy file")
@pytest.mark.parametrize(
    ("approvals", "problem"),
    [
        ("{by: [finance], quorum: 0}", "quorum"),
        ("{by: ['no one']}", "by"),
        ("{by: []}", "by"),
        ("{levels: [{by: [a], four: 1}]}", "unknown key"),
        ("{by: [a], reason: maybe}", "reason"),
        ("{by: ['user:a'], quorum: 2}", "wants 2 people and names 1"),
        ("{by: [a], escalate: {after_s: 900, to: [b]}}", "before it escalates"),
        ("{by: [a], on_expiry: approve}", "on_expiry"),
    ],
)
def test_what_can_never_hold_is_told_with_its_line(approvals: str, problem: str) -> None:
    with pytest.raises(Misconfigured, match=problem) as caught:
        load(approvals)

    assert all(line.startswith("policy.yaml:6: ") for line in str(caught.value).splitlines())
