"""A policy file is read as a whole: it can only tighten, and every error is told with its line."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import pytest
from pydantic import Field

from quarterdeck.core.context import Principal
from quarterdeck.core.decisions import Verdict
from quarterdeck.core.errors import Misconfigured
from quarterdeck.core.labels import PUBLIC, Integrity, Label, Readers
from quarterdeck.core.messages import ToolCall
from quarterdeck.core.tools import Effect, Tool
from quarterdeck.policy import Bound, Grounds, Policy
from quarterdeck.policy.load import load_policy
from quarterdeck.tools import as_tool, tool


@tool(effect="read", scope="tickets.read")
def get_ticket(ticket_id: str) -> None: ...


@tool(effect="write", identity=("iban",), content=("note",), needs_approval=True, scope="pay", sink="user")
def pay(iban: str, amount: Annotated[float, Field(ge=0, le=5000)], note: str = "") -> None: ...


@tool(effect="write")
def grade(level: Literal["low", "high"], urgent: bool = False) -> None: ...


def foreign(url: str, text: str) -> None: ...


TOOLS: list[Tool] = [get_ticket, pay, grade, as_tool(foreign)]


def load(text: str) -> Policy:
    return load_policy(text, "policy.yaml", TOOLS)


@pytest.mark.row("G4", part="tools")
def test_a_file_tightens_what_the_tools_declare() -> None:
    policy = load(
        """
policy: v1
defaults: {result: untrusted, effect: write, risk: 2, on_violation: deny}
tools:
  get_ticket: {effect: read, risk: 1, scope: tickets.read, roles: [agent], identity: [ticket_id], result: untrusted}
  pay:
    risk: 3
    approvals: [owner, finance]
    needs_approval: true
    bounds: {amount: {max: 2500}}
    expires_s: 86400
    max_calls: 2
    sink: everybody
"""
    )

    ticket, payment = policy.table["get_ticket"], policy.table["pay"]
    assert (ticket.effect, ticket.risk, ticket.roles, ticket.identity_args) == (Effect.READ, 1, ("agent",), ("ticket_id",))
    assert (payment.risk, payment.approvers, payment.needs_approval) == (3, ("owner", "finance"), True)
    assert payment.bounds == {"amount": Bound(minimum=0, maximum=2500)}
    assert (payment.expires_s, payment.max_calls, payment.sink, payment.scope) == (86400, 2, "everybody", "pay")
    assert policy.on_violation is Verdict.DENY


def test_a_file_that_says_nothing_leaves_the_declarations() -> None:
    policy = load("policy: v1\n")

    assert policy.table == Policy.default(TOOLS).table
    assert policy.version == Policy.default(TOOLS).version


def test_the_version_follows_the_content_and_not_the_writing() -> None:
    one = load("policy: v1\ntools:\n  pay: {risk: 3}\n")
    other = load("# as agreed\npolicy: v1\ntools:\n  pay:\n    risk: 3\n")

    assert one.version == other.version
    assert load("policy: v1\ntools: {pay: {risk: 2}}").version != one.version


def test_a_tool_nobody_declared_is_described_by_the_file() -> None:
    policy = load(
        "policy: v1\ntools:\n  foreign: {effect: read_egress, risk: 1, identity: [url], content: [text], "
        "allow_domains: ['*.corp.example'], result: {integrity: trusted, readers: from_acl}, sink: user}\n"
    )

    entry = policy.table["foreign"]
    assert (entry.effect, entry.risk, entry.identity_args, entry.content_args) == (
        Effect.READ_EGRESS,
        1,
        ("url",),
        ("text",),
    )
    assert (entry.result_trusted, entry.allow_domains) == (True, ("*.corp.example",))


@pytest.mark.row("G5", part="resolvers")
def test_a_tool_nobody_declared_may_find_ids_and_public_texts_and_be_asked_for_in_the_companys_words() -> None:
    policy = load(
        """
policy: v1
tools:
  foreign:
    result: {readers: public}
    resolver: {fields: {id: page_id}}
    asked: [look/search page, fetch]
    bounds: {text: {earliest: 2026-01-01, latest: 2026-12-31}}
"""
    )

    entry = policy.table["foreign"]
    assert (entry.result_public, entry.result_trusted, entry.resolver) == (True, False, False)
    assert (entry.resolver_fields, entry.asked) == ({"id": "page_id"}, ("look/search page", "fetch"))
    assert entry.bounds["text"] == Bound(earliest="2026-01-01", latest="2026-12-31")
    assert policy.resolved(TOOLS[3], '[{"id": 7}]').ids == {"page_id": "7"}


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("get_ticket: {effect: write, scope: other}", "tools.get_ticket.scope"),
        ("pay: {effect: read}", "tools.pay.effect: pay declares write"),
        ("pay: {effect: write_local}", "tools.pay.effect"),
        ("pay: {risk: 1}", "tools.pay.risk: pay declares risk 2"),
        ("pay: {needs_approval: false}", "tools.pay.needs_approval"),
        ("pay: {result: trusted}", "tools.pay.result"),
        ("pay: {resolver: true}", "tools.pay.resolver"),
        ("pay: {resolver: {fields: {id: iban}}}", "tools.pay.resolver"),
        ("pay: {result: {readers: public}}", "tools.pay.result"),
        ("pay: {identity: []}", "tools.pay.identity: pay declares iban too"),
        ("pay: {content: [note, iban]}", "tools.pay.content: pay does not declare iban"),
        ("pay: {sink: tenant}", "tools.pay.sink: pay declares user"),
        ("get_ticket: {sink: nobody}", "tools.get_ticket.sink"),
    ],
)
@pytest.mark.row("G4", part="tools")
def test_a_file_cannot_loosen_a_declaration(entry: str, complaint: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        load(f"policy: v1\ntools:\n  {entry}\n")

    assert str(refused.value).startswith(f"policy.yaml:3: {complaint}")
    assert "only tighten" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "place", "complaint"),
    [
        ("tools: {}", "policy.yaml:1", "policy: is missing"),
        ("policy: v2", "policy.yaml:1", "policy: "),
        ("- policy", "policy.yaml:1", ""),
        ("", "policy.yaml:1", ""),
        ("policy: v1\nrule: []", "policy.yaml:2", "rule: unknown key"),
        ("policy: v1\ntools:\n  pay:\n    risky: 3", "policy.yaml:4", "tools.pay.risky: unknown key"),
        ("policy: v1\ntools:\n  pay:\n    risk: 4", "policy.yaml:4", "tools.pay.risk"),
        ("policy: v1\ntools:\n  pay:\n    risk: '3'", "policy.yaml:4", "tools.pay.risk"),
        ("policy: v1\ntools:\n  pay:\n    effect: destroy", "policy.yaml:4", "tools.pay.effect"),
        ("policy: v1\ntools:\n  pay:\n    expires_s: 0", "policy.yaml:4", "tools.pay.expires_s"),
        ("policy: v1\ntools:\n  payy: {}", "policy.yaml:3", "did you mean pay?"),
        ("policy: v1\ntools:\n  pay:\n    bounds: {sum: {max: 1}}", "policy.yaml:4", "takes no argument sum"),
        (
            "policy: v1\ntools:\n  pay:\n    bounds: {amount: {max: 1, currency: EUR}}",
            "policy.yaml:4",
            "currency: unknown key",
        ),
        ("policy: v1\ntools:\n  pay:\n    bounds: {amount: {min: 9, max: 1}}", "policy.yaml:4", "leave no value"),
        ("policy: v1\ntools:\n  pay:\n    bounds: {amount: {max: .inf}}", "policy.yaml:4", "valid number"),
        ("policy: v1\ntools:\n  get_ticket:\n    allow_domains: ['*.x']", "policy.yaml:4", "no identity argument"),
        ("policy: v1\ntools:\n  grade:\n    bounds: {level: {one_of: [top]}}", "policy.yaml:4", "leave no value"),
        ("policy: v1\ntools:\n  foreign:\n    sink: emails(whom)", "policy.yaml:4", "reads whom"),
        ("policy: v1\ntools:\n  foreign:\n    sink: eval(url)", "policy.yaml:4", "none of"),
        ("policy: v1\ntools:\n  foreign:\n    sink: emails", "policy.yaml:4", "none of"),
        ("policy: v1\ntools:\n  foreign:\n    resolver: {fields: {}}", "policy.yaml:4", "tools.foreign.resolver"),
        ("policy: v1\ntools:\n  foreign:\n    asked: ['']", "policy.yaml:4", "tools.foreign.asked"),
        ("policy: v1\ntools:\n  foreign:\n    bounds: {text: {earliest: soon}}", "policy.yaml:4", "earliest"),
        (
            "policy: v1\ntools:\n  foreign:\n    bounds: {text: {earliest: 2026-02-01, latest: 2026-01-01}}",
            "policy.yaml:4",
            "leave no value",
        ),
        ("policy: v1\ndefaults:\n  risk: 1", "policy.yaml:3", "defaults.risk"),
        ("policy: v1\ndefaults:\n  effect: read", "policy.yaml:3", "defaults.effect"),
        ("policy: v1\ndefaults:\n  result: trusted", "policy.yaml:3", "defaults.result"),
        ("policy: v1\nrules:\n  - {id: a, when: {}, then: allow}", "policy.yaml:3", "rules.0.then"),
        ("policy: v1\nrules:\n  - id: a\n    when:\n      weather: bad\n    then: deny", "policy.yaml:5", "unknown"),
        (
            "policy: v1\nrules:\n  - id: a\n    when:\n      tool.risk: '>=x'\n    then: deny",
            "policy.yaml:5",
            "rules.0.when",
        ),
        ("policy: v1\nrules:\n  - {id: a, when: {label.readers: public}, then: deny}", "policy.yaml:3", "!public"),
        ("policy: v1\nrules:\n  - {id: a, when: {label.integrity: bad}, then: deny}", "policy.yaml:3", "untrusted"),
        ("policy: v1\nrules:\n  - {id: a, when: {tool: pay}, then: deny, by: manager}", "policy.yaml:3", "nobody is asked"),
        ("policy: v1\nrules:\n  - {id: a, when: {tool: pya}, then: deny}", "policy.yaml:3", "no tool 'pya'"),
        ("policy: v1\nrules:\n  - {id: a, when: {args.sum: 1}, then: deny}", "policy.yaml:3", "takes no argument sum"),
        (
            "policy: v1\nrules:\n  - {id: a, when: {tool: pay, args.note: '>5'}, then: deny}",
            "policy.yaml:3",
            "note of pay is no number",
        ),
        ("policy: v1\nrules:\n  - {id: a, when: {tool: pay, args.amount: '>=nan'}, then: deny}", "policy.yaml:3", "finite"),
        ("policy: v1\nrules:\n  - {id: a, when: {tool.risk: '<1e999'}, then: deny}", "policy.yaml:3", "finite"),
        ("policy: v1\nrules:\n  - {id: a, when: {tool.risk: '>3'}, then: deny}", "policy.yaml:3", "none of 0, 1, 2, 3"),
        ("policy: v1\nrules:\n  - {id: a, when: {tool.effect: wirte}, then: deny}", "policy.yaml:3", "none of read"),
        ("policy: v1\nrules:\n  - {id: a, when: {args.amount: '=>5'}, then: deny}", "policy.yaml:3", "is never '=>5'"),
        ("policy: v1\nrules:\n  - {id: a, when: {args.ticket_id: 7}, then: deny}", "policy.yaml:3", "is never 7"),
        ("policy: v1\nrules:\n  - {id: a, when: {args.urgent: yes}, then: deny}", "policy.yaml:3", "is never 'yes'"),
        ("policy: v1\nrules:\n  - {id: a, when: {args.level: top}, then: deny}", "policy.yaml:3", "is never 'top'"),
        (
            "policy: v1\nrules:\n  - {id: a, when: {tool: pay}, then: deny}\n  - {id: a, when: {}, then: approve}",
            "policy.yaml:4",
            "there is a rule a already",
        ),
        ("policy: v1\npolicy: v1", "policy.yaml:2", "line 1"),
        ("policy: &a v1\ntools: *a", "policy.yaml:2", "aliases"),
    ],
)
@pytest.mark.row("G4", part="tools")
def test_a_wrong_file_is_refused_with_its_line(text: str, place: str, complaint: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        load(text)

    assert str(refused.value).startswith(f"{place}: ")
    assert complaint in str(refused.value)


def test_all_errors_are_told_at_once() -> None:
    with pytest.raises(Misconfigured) as refused:
        load(
            "policy: v1\ntools:\n  pay:\n    risk: 1\n    effect: read\n  nobody: {}\n"
            "rules:\n  - {id: a, when: {x: 1}, then: deny}\n"
        )

    assert [line.split(": ")[0] for line in str(refused.value).splitlines()] == [
        "policy.yaml:4",
        "policy.yaml:5",
        "policy.yaml:6",
        "policy.yaml:8",
    ]


@pytest.mark.row("G4", part="tools")
def test_rules_of_a_file_decide_under_their_own_ids() -> None:
    policy = load(
        """
policy: v1
rules:
  - {id: T3, when: {tool: "*", label.integrity: untrusted, tool.risk: ">=2", tool.effect: "write*"}, then: deny}
  - {id: C1, when: {tool: "get_*", label.readers: "!public"}, then: approve, by: data-owner}
  - {id: A1, when: {tool: pay, args.amount: ">1000", args.note: "!gift*"}, then: deny}
"""
    )
    principal = Principal(user="anna", tenant="acme", scopes=("pay", "tickets.read"))
    trusted = Label(integrity=Integrity.TRUSTED, readers=PUBLIC)
    private = replace(trusted, readers=Readers.of("user:anna"))
    small = ToolCall(id="t1c1", name="pay", args={"iban": "DE1", "amount": 5, "note": "gift for Eve"})
    large = ToolCall(id="t1c1", name="pay", args={"iban": "DE1", "amount": 1001, "note": "invoice"})
    ticket = ToolCall(id="t1c2", name="get_ticket", args={"ticket_id": "T-1"})

    def decided(call: ToolCall, made: Tool, label: Label) -> tuple[str, str, tuple[str, ...]]:
        decision = policy.decide(call, made, label, principal, Grounds(words=("pay DE1",)))
        return decision.verdict.value, decision.rule, decision.approvers

    assert decided(small, pay, trusted) == ("approve", "approval.required", ())
    assert decided(small, pay, replace(trusted, integrity=Integrity.UNTRUSTED)) == ("deny", "T3", ())
    assert decided(large, pay, trusted) == ("deny", "A1", ())
    assert decided(ticket, get_ticket, trusted) == ("allow", "effect.read", ())
    assert decided(ticket, get_ticket, private) == ("approve", "C1", ("data-owner",))


@pytest.mark.row("G5", part="extraction")
def test_a_file_says_what_is_taken_out_of_results_and_a_mistake_in_it_is_told_with_its_line() -> None:
    good = """
policy: v1
tools:
  foreign:
    effect: read
    risk: 0
    extract:
      question: When is it due?
      values:
        day: {kind: date, earliest: "2026-01-01", description: Of payment.}
        order: {kind: id, pattern: "ORD-[0-9]+"}
"""
    wrong = {
        "effect: read": "effect: write",
        'pattern: "ORD-[0-9]+"': 'pattern: "("',
        "kind: id": "kind: word",
        "kind: date": "kind: integer",
    }

    policy = load_policy(good, "policy.yaml", TOOLS)

    found = policy.extraction(TOOLS[3])
    assert found is not None
    assert (found.question, list(found.slots), found.free) == ("When is it due?", ["day", "order"], ("order",))
    assert policy.version != load_policy(good.replace("due", "paid"), "policy.yaml", TOOLS).version
    for right, mistake in wrong.items():
        with pytest.raises(Misconfigured, match=r"policy\.yaml:\d+: tools\.foreign\.extract"):
            load_policy(good.replace(right, mistake), "policy.yaml", TOOLS)
