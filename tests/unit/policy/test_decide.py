"""One test per rule of the policy, and the property that makes it safe: nothing worse is ever judged more mildly."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from quarterdeck.core.context import Principal
from quarterdeck.core.decisions import Decision, Verdict
from quarterdeck.core.labels import NOBODY, PUBLIC, Integrity, Label, Readers
from quarterdeck.core.messages import ToolCall
from quarterdeck.core.tools import Effect, Tool
from quarterdeck.policy import Bound, Grounds, Policy, ToolPolicy
from quarterdeck.policy.rules import Rule, comparison, matches
from quarterdeck.tools import as_tool, tool

ANNA = Principal(user="anna", tenant="acme", roles=("clerk",), groups=("hr",), scopes=("mail.send", "pay"))
TRUSTED = Label(integrity=Integrity.TRUSTED, readers=PUBLIC)
UNTRUSTED = Label(readers=PUBLIC)


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@tool(effect="read")
def look(id: str) -> None: ...


@tool(effect="read_egress", identity=("url",))
def fetch(url: str) -> None: ...


@tool(effect="write_local", risk=0, content=("text",))
def remember(text: str) -> None: ...


@tool(effect="write", content=("title",))
def open_ticket(title: str, colour: Colour = Colour.RED, note: str = "none") -> None: ...


@tool(effect="write_egress", identity=("to",), content=("subject", "body"), sink="emails(to)", scope="mail.send")
def send_email(to: list[str], subject: str, body: str) -> None: ...


@tool(effect="write", risk=3, identity=("iban",), scope="pay")
def pay(iban: str, amount: Annotated[float, Field(gt=0, le=2500)]) -> None: ...


@tool(effect="write", identity=("account",))
def adjust(account: int, amount: Annotated[int, Field(ge=-100, le=100)], free: int = 0) -> None: ...


@tool(needs_approval=True)
def publish(text: str) -> None: ...


@tool(effect="read", resolver=True, trusted=True)
def contacts(name: str) -> None: ...


@tool(effect="write")
def wipe(everything: bool = False) -> None: ...


@tool(effect="write", identity=("channel",), content=("text",), sink="nobody")
def post(text: str, channel: str = "general") -> None: ...


@tool(effect="write", identity=("assignee",), content=("text",), sink="users(assignee)")
def assign(assignee: int, text: str) -> None: ...


@tool(effect="write", identity=("account",))
def credit(account: int, amount: Annotated[int, Field(le=100)]) -> None: ...


def bare(target: str, options: dict[str, str]) -> None: ...


TOOLS: list[Tool] = [
    look,
    fetch,
    remember,
    open_ticket,
    send_email,
    pay,
    adjust,
    publish,
    contacts,
    wipe,
    post,
    assign,
    credit,
    as_tool(bare),
]
POLICY = Policy.default(TOOLS)


def decide(
    made: Tool | None,
    args: dict[str, Any],
    *words: str,
    label: Label = UNTRUSTED,
    policy: Policy = POLICY,
    principal: Principal = ANNA,
    **grounds: Any,
) -> Decision:
    name = made.name if made else "nowhere"
    bound = made.bind(args) if made else args
    return policy.decide(ToolCall(id="t1c1", name=name, args=bound), made, label, principal, Grounds(words=words, **grounds))


def outcome(decision: Decision) -> tuple[str, str]:
    return decision.verdict.value, decision.rule


def edited(policy: Policy, made: Tool, **changes: Any) -> Policy:
    return replace(policy, table={**policy.table, made.name: replace(policy.table[made.name], **changes)})


@pytest.mark.row("G4", part="tools")
def test_a_tool_there_is_not_is_denied() -> None:
    assert outcome(decide(None, {}, label=TRUSTED)) == ("deny", "rights.unknown_tool")


@pytest.mark.row("G4", part="tools")
def test_arguments_nobody_could_read_are_denied() -> None:
    call = ToolCall(id="t1c1", name="look", malformed="cut off")

    assert outcome(POLICY.decide(call, look, TRUSTED, ANNA, Grounds())) == ("deny", "rights.arguments")


@pytest.mark.row("G4", part="tools")
def test_a_caller_without_the_scope_is_denied() -> None:
    decision = decide(pay, {"iban": "DE1", "amount": 1}, label=TRUSTED, principal=replace(ANNA, scopes=("mail.send",)))

    assert outcome(decision) == ("deny", "rights.scope")
    assert "pay" in decision.reasons[0]


@pytest.mark.row("G4", part="tools")
def test_a_caller_without_the_role_is_denied() -> None:
    policy = edited(POLICY, look, roles=("admin", "auditor"))

    assert outcome(decide(look, {"id": "1"}, policy=policy)) == ("deny", "rights.role")
    assert outcome(decide(look, {"id": "1"}, policy=policy, principal=replace(ANNA, roles=("auditor",)))) == (
        "allow",
        "effect.read",
    )


def test_a_value_outside_its_bounds_is_denied_in_any_context() -> None:
    policy = edited(POLICY, open_ticket, bounds={"title": Bound(one_of=("a", "b"))})
    lower = edited(POLICY, adjust, bounds={"free": Bound(minimum=0, maximum=3)})

    assert outcome(decide(open_ticket, {"title": "c"}, label=TRUSTED, policy=policy)) == ("deny", "limits.bounds")
    assert outcome(decide(adjust, {"account": 1, "amount": 1, "free": 4}, label=TRUSTED, policy=lower)) == (
        "deny",
        "limits.bounds",
    )
    assert outcome(decide(adjust, {"account": 1, "amount": 1, "free": 3}, label=TRUSTED, policy=lower)) == (
        "allow",
        "context.trusted",
    )


def test_a_tool_called_often_enough_is_denied() -> None:
    policy = edited(POLICY, look, max_calls=2)

    assert outcome(decide(look, {"id": "1"}, policy=policy, calls_made={"look": 1})) == ("allow", "effect.read")
    assert outcome(decide(look, {"id": "1"}, policy=policy, calls_made={"look": 2})) == ("deny", "limits.calls")


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("https://docs.corp.example/a", "context.trusted"),
        ("https://evil.example/?docs.corp.example", "limits.domain"),
        ("https://docs.corp.example@evil.example/", "limits.domain"),
        ("docs.corp.example", "limits.domain"),
    ],
)
def test_an_address_outside_the_allowed_domains_is_denied(url: str, rule: str) -> None:
    policy = edited(POLICY, fetch, allow_domains=("*.corp.example",))

    assert decide(fetch, {"url": url}, url, label=TRUSTED, policy=policy).rule == rule


@pytest.mark.row("G5", part="decide")
def test_what_only_hr_may_read_does_not_leave_unasked() -> None:
    secret = Label(integrity=Integrity.TRUSTED, readers=Readers.of("group:hr"))
    args = {"to": ["bob@corp.example"], "subject": "Salaries", "body": "Eve earns 5000"}

    decision = decide(send_email, args, "Mail bob@corp.example the salaries", label=secret)

    assert outcome(decision) == ("approve", "readers.sink")
    assert "bob@corp.example" in decision.reasons[0]
    assert "group:hr" in decision.reasons[0]


@pytest.mark.row("G5", part="decide")
def test_typed_words_may_go_to_the_recipients_the_user_typed() -> None:
    secret = Label(integrity=Integrity.TRUSTED, readers=Readers.of("group:hr"))
    args = {"to": ["bob@corp.example"], "subject": "Lunch", "body": "Lunch at noon"}

    decision = decide(send_email, args, "Write to bob@corp.example: Lunch at noon", label=secret)

    assert outcome(decision) == ("allow", "context.trusted")


def test_a_recipient_the_user_did_not_type_needs_approval_even_in_a_trusted_context() -> None:
    args = {"to": ["bob@corp.example", "eve@evil.example"], "subject": "Lunch", "body": "Lunch at noon"}

    decision = decide(send_email, args, "Write to bob@corp.example: Lunch at noon", label=TRUSTED)

    assert outcome(decision) == ("approve", "readers.sink")
    assert "eve@evil.example would read" in decision.reasons[0]


def test_somebody_who_may_read_it_all_may_be_sent_it_all() -> None:
    shared = Label(integrity=Integrity.TRUSTED, readers=Readers.of("user:bob@corp.example", "user:anna"))
    args = {"to": ["Bob@corp.example"], "subject": "S", "body": "the whole report"}

    assert outcome(decide(send_email, args, "send bob@corp.example the report", label=shared)) == (
        "allow",
        "context.trusted",
    )


def test_a_fetch_carries_data_out_unless_the_user_typed_all_of_it() -> None:
    mine = Label(integrity=Integrity.TRUSTED, readers=Readers.of("user:anna"))

    assert decide(fetch, {"url": "https://x.example/?q=secret"}, "look at x.example", label=mine).rule == "readers.sink"
    assert decide(fetch, {"url": "https://x.example/a"}, "open https://x.example/a", label=mine).rule == "context.trusted"


def test_what_nobody_may_read_goes_nowhere() -> None:
    label = Label(integrity=Integrity.TRUSTED, readers=NOBODY)

    assert decide(fetch, {"url": "https://x.example/b"}, label=label).rule == "readers.sink"
    assert decide(look, {"id": "b"}, label=label).rule == "effect.read"


def test_violations_are_denied_where_the_policy_says_so() -> None:
    strict = replace(POLICY, on_violation=Verdict.DENY)
    secret = Label(integrity=Integrity.TRUSTED, readers=Readers.of("group:hr"))

    assert outcome(decide(fetch, {"url": "https://x.example"}, label=secret, policy=strict)) == ("deny", "readers.sink")
    assert outcome(decide(fetch, {"url": "https://x.example"}, policy=strict)) == ("deny", "ground.identity")


@pytest.mark.row("G1", part="policy")
@pytest.mark.parametrize("label", [TRUSTED, UNTRUSTED])
def test_risk_three_always_needs_approval(label: Label) -> None:
    decision = decide(pay, {"iban": "DE1", "amount": 1}, "pay 1 to DE1", label=label)

    assert outcome(decision) == ("approve", "approval.risk")


@pytest.mark.row("G1", part="policy")
def test_a_tool_that_needs_approval_gets_it_from_its_approvers() -> None:
    policy = edited(POLICY, publish, approvers=("editor",), expires_s=60.0)

    decision = decide(publish, {"text": "x"}, "publish x", label=TRUSTED, policy=policy)

    assert outcome(decision) == ("approve", "approval.required")
    assert (decision.approvers, decision.expires_s, decision.label) == (("editor",), 60.0, TRUSTED)


def test_a_read_is_allowed_in_any_context() -> None:
    assert outcome(decide(look, {"id": "anything"})) == ("allow", "effect.read")


def test_a_local_write_without_risk_is_allowed_in_any_context() -> None:
    assert outcome(decide(remember, {"text": "anything"})) == ("allow", "effect.local")
    assert outcome(decide(remember, {"text": "x y"}, policy=edited(POLICY, remember, risk=1))) == (
        "approve",
        "ground.content",
    )


@pytest.mark.parametrize("integrity", [Integrity.TRUSTED, Integrity.ENDORSED])
@pytest.mark.parametrize("readers", [PUBLIC, Readers.of("user:anna")])
def test_a_write_is_allowed_as_long_as_no_outsider_had_a_say(integrity: Integrity, readers: Readers) -> None:
    decision = decide(open_ticket, {"title": "whatever"}, label=Label(integrity=integrity, readers=readers))

    assert outcome(decision) == ("allow", "context.trusted")


@pytest.mark.row("G5", part="decide")
def test_untrusted_context_needs_the_tool_in_the_intent() -> None:
    args = {"account": 7, "amount": 5}

    assert decide(adjust, args, "adjust 7", intent={"adjust": 1}).rule == "context.grounded"
    assert outcome(decide(adjust, args, "adjust 7", intent={"adjust": 0})) == ("approve", "ground.intent")
    assert outcome(decide(adjust, args, "adjust 7", intent={})) == ("approve", "ground.intent")


@pytest.mark.row("G5", part="intent")
def test_untrusted_context_needs_words_that_ask_for_the_tool_as_often_as_it_is_called() -> None:
    args = {"account": 7, "amount": 5}

    assert outcome(decide(adjust, args, "adjust 7")) == ("allow", "context.grounded")
    assert outcome(decide(adjust, args, "what is on account 7?")) == ("approve", "ground.intent")
    assert outcome(decide(adjust, args, "do not adjust 7")) == ("approve", "ground.intent")
    assert outcome(decide(adjust, args, "adjust 7", calls_made={"adjust": 1})) == ("approve", "ground.intent")
    assert outcome(decide(adjust, args, "adjust 7 for each of them", calls_made={"adjust": 1})) == (
        "allow",
        "context.grounded",
    )
    worded = edited(POLICY, adjust, asked=("correct balance/account",))
    assert outcome(decide(adjust, args, "correct account 7", policy=worded)) == ("allow", "context.grounded")
    assert outcome(decide(adjust, args, "adjust 7", policy=worded)) == ("approve", "ground.intent")


@pytest.mark.row("G5", part="resolvers")
def test_an_id_found_by_the_users_words_is_grounded_and_gives_nothing_away() -> None:
    mine = Label(readers=Readers.of("user:anna"))
    args = {"to": ["bob@corp.example"], "subject": "A-17", "body": ""}

    assert outcome(decide(adjust, {"account": 7, "amount": 5}, "adjust my account", ids={"account": ("7",)})) == (
        "allow",
        "context.grounded",
    )
    assert outcome(decide(adjust, {"account": 7, "amount": 5}, "adjust my account", ids={"account": ("77",)})) == (
        "approve",
        "ground.identity",
    )
    assert outcome(decide(adjust, {"account": 7, "amount": 5}, "adjust my account", ids={"file": ("7",)})) == (
        "approve",
        "ground.identity",
    )
    assert (
        decide(send_email, args, "mail bob@corp.example", label=mine, ids={"subject": ("A-17",)}).rule == "context.grounded"
    )
    assert decide(send_email, args, "mail bob@corp.example", label=mine).rule == "readers.sink"


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2026-05-19", ("allow", "context.grounded")),
        ("2026-05-19 12:00", ("allow", "context.grounded")),
        ("2026-05-19T12:00:30Z", ("allow", "context.grounded")),
        ("2027-01-01", ("deny", "limits.bounds")),
        ("2026-02-30", ("deny", "limits.bounds")),
        ("2026-05-19 and call me", ("deny", "limits.bounds")),
        ("tomorrow", ("deny", "limits.bounds")),
    ],
)
@pytest.mark.row("G5", part="decide")
def test_a_date_between_two_is_harmless_and_anything_else_no_date(day: str, expected: tuple[str, str]) -> None:
    bounds = {"note": Bound(earliest="2026-01-01", latest="2026-12-31")}
    policy = edited(POLICY, open_ticket, bounds={**POLICY.table["open_ticket"].bounds, **bounds})

    decision = decide(open_ticket, {"title": "x", "note": day}, "open a ticket x", policy=policy)

    assert outcome(decision) == expected


@pytest.mark.row("G5", part="decide")
def test_untrusted_context_needs_identity_in_the_users_words_or_a_resolver() -> None:
    args = {"account": 7, "amount": 5}

    assert outcome(decide(adjust, args, "adjust account 7")) == ("allow", "context.grounded")
    assert outcome(decide(adjust, args, "adjust my account", resolved=('{"account": 7}',))) == ("allow", "context.grounded")
    assert outcome(decide(adjust, args, "adjust account 8")) == ("approve", "ground.identity")
    assert outcome(decide(adjust, args, "adjust my account")) == ("approve", "ground.identity")


@pytest.mark.row("G5", part="decide")
def test_what_nobody_declared_must_stand_in_the_users_words_as_a_whole() -> None:
    args = {"target": "db-1", "options": {"mode": "fast"}}

    assert outcome(decide(as_tool(bare), args, "bare db-1 with mode fast")) == ("allow", "context.grounded")
    assert outcome(decide(as_tool(bare), args, "bare db-1 with fast")) == ("approve", "ground.undeclared")
    assert outcome(decide(as_tool(bare), {**args, "target": "db-2"}, "bare db-1 with mode fast")) == (
        "approve",
        "ground.undeclared",
    )


@pytest.mark.row("G5", part="decide")
def test_without_an_identity_the_content_must_be_the_users_own() -> None:
    assert outcome(decide(open_ticket, {"title": "no power"}, "open a ticket: no power")) == ("allow", "context.grounded")
    assert outcome(decide(open_ticket, {"title": "give eve admin"}, "open a ticket: no power")) == (
        "approve",
        "ground.content",
    )


@pytest.mark.row("G5", part="decide")
def test_links_and_addresses_in_content_must_be_the_users_own() -> None:
    words = "Write to bob@corp.example about https://corp.example/plan"
    label = Label(readers=Readers.of("user:bob@corp.example"))

    def write(body: str) -> tuple[str, str]:
        return outcome(decide(send_email, {"to": ["bob@corp.example"], "subject": "Hi", "body": body}, words, label=label))

    assert write("a summary of the plan, see https://corp.example/plan") == ("allow", "context.grounded")
    assert write("see https://evil.example/plan") == ("approve", "ground.address")
    assert write("see evil.example") == ("approve", "ground.address")
    assert write("ask eve@evil.example") == ("approve", "ground.address")
    assert write("call +49 30 1234567") == ("approve", "ground.address")


@pytest.mark.row("G5", part="decide")
def test_numbers_and_choices_inside_their_limits_are_harmless_and_defaults_too() -> None:
    assert decide(adjust, {"account": 7, "amount": 99}, "adjust 7").rule == "context.grounded"
    assert decide(adjust, {"account": 7, "amount": 99, "free": 5}, "adjust 7").rule == "ground.undeclared"
    assert decide(open_ticket, {"title": "x", "colour": "blue"}, "open a ticket x").rule == "context.grounded"
    assert decide(open_ticket, {"title": "x", "note": "y"}, "open a ticket x").rule == "ground.undeclared"


@pytest.mark.row("G5", part="decide")
def test_a_call_that_names_nothing_of_the_users_needs_approval_unless_it_was_asked_for() -> None:
    assert outcome(decide(wipe, {}, "what is new?")) == ("approve", "ground.nothing")
    assert outcome(decide(wipe, {"everything": True}, "what is new?")) == ("approve", "ground.nothing")
    assert outcome(decide(wipe, {}, "wipe it", intent={"wipe": 1})) == ("allow", "context.grounded")
    assert outcome(decide(wipe, {}, label=TRUSTED)) == ("allow", "context.trusted")


@pytest.mark.row("G5", part="decide")
@pytest.mark.parametrize("channel", ["general", "\u200b", " "])
def test_a_recipient_by_default_or_blank_does_not_excuse_content_from_a_document(channel: str) -> None:
    words = "post a summary of the page"

    assert outcome(decide(post, {"text": "send me money", "channel": channel}, words)) == ("approve", "ground.content")
    assert outcome(decide(post, {"text": "the page", "channel": channel}, words)) == ("allow", "context.grounded")


@pytest.mark.row("G5", part="decide")
def test_a_maximum_alone_does_not_open_what_lies_below_nothing() -> None:
    assert decide(credit, {"account": 7, "amount": 99}, "credit 7").rule == "context.grounded"
    assert decide(credit, {"account": 7, "amount": -(10**9)}, "credit 7").rule == "ground.undeclared"
    assert decide(credit, {"account": 7, "amount": -5}, "credit -5 to 7").rule == "context.grounded"


def test_a_recipient_named_by_a_number_is_a_reader_like_any_other() -> None:
    decision = decide(assign, {"assignee": 42, "text": "x"}, "assign", label=Label(readers=Readers.of("group:hr")))

    assert outcome(decision) == ("approve", "readers.sink")


def test_private_data_in_an_untrusted_context_does_not_leave_unasked() -> None:
    mine = Label(readers=Readers.of("user:anna"))

    assert outcome(decide(open_ticket, {"title": "balance 77"}, "open a ticket", label=mine)) == ("approve", "readers.sink")
    assert outcome(decide(open_ticket, {"title": "no power"}, "open a ticket: no power", label=mine)) == (
        "allow",
        "context.grounded",
    )


def test_a_rule_makes_the_outcome_stricter_and_never_milder() -> None:
    untrusted_high = Rule(id="T3", verdict=Verdict.DENY, integrity=Integrity.UNTRUSTED, risk=comparison(">=3"))
    milder = Rule(id="M", verdict=Verdict.APPROVE, approvers=("owner",))
    policy = replace(POLICY, rules=(milder, untrusted_high))
    args = {"iban": "DE1", "amount": 1}

    assert outcome(decide(pay, args, "pay 1 to DE1", policy=policy)) == ("deny", "T3")
    assert outcome(decide(pay, args, "pay 1 to DE1", policy=policy, label=TRUSTED)) == ("approve", "approval.risk")
    assert decide(pay, args, "pay 1 to DE1", policy=policy, label=TRUSTED).approvers == ("owner",)
    assert outcome(decide(look, {"id": "1"}, policy=policy)) == ("approve", "M")


def test_a_rule_holds_for_a_tool_that_the_policy_was_not_made_for() -> None:
    rules = (Rule(id="N", verdict=Verdict.DENY, tool="lo*"), Rule(id="O", verdict=Verdict.DENY, tool="pay"))
    policy = Policy(table={}, rules=rules)

    assert outcome(decide(look, {"id": "1"}, policy=policy, label=TRUSTED)) == ("deny", "N")


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("*", "", True),
        ("*", "x", True),
        ("export_*", "export_all", True),
        ("export_*", "xexport_all", False),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "a-c", False),
        ("ab*ba", "aba", False),
        ("*.corp.example", "corp.example", False),
        ("plain", "plain", True),
        ("pl?in", "plain", False),
        ("[a-z]*", "abc", False),
    ],
)
def test_patterns_know_only_the_star(pattern: str, text: str, fits: bool) -> None:
    assert matches(pattern, text) is fits


@pytest.mark.parametrize(
    ("written", "value", "holds"),
    [
        (">=3", 3, True),
        (">3", 3, False),
        ("<2.5", 2, True),
        (">3", "4", False),
        (">0", True, False),
        ("T-*", "T-7", True),
        ("!T-*", "T-7", False),
        ("!T-*", ["T-7", "X"], True),
        ("!T-*", None, False),
        (5, 5, True),
        (True, True, True),
        ("5", 5, True),
    ],
)
def test_comparisons(written: Any, value: Any, holds: bool) -> None:
    assert comparison(written).holds(value) is holds


def test_an_error_inside_is_a_denial() -> None:
    broken = replace(POLICY, table={**POLICY.table, "adjust": ToolPolicy(effect=Effect.WRITE, sink="eval(os)")})

    decision = decide(adjust, {"account": 1, "amount": 1}, label=TRUSTED, policy=broken)

    assert outcome(decision) == ("deny", "error")
    assert decision.policy_version == broken.version


def test_a_tool_the_policy_was_not_made_for_counts_as_a_write_of_risk_two() -> None:
    policy = Policy.default([])

    assert outcome(decide(look, {"id": "x"}, "do it", policy=policy)) == ("approve", "ground.undeclared")
    assert outcome(decide(pay, {"iban": "x", "amount": 1}, policy=policy, label=TRUSTED)) == ("approve", "approval.risk")
    assert outcome(decide(publish, {"text": "x"}, policy=policy, label=TRUSTED)) == ("approve", "approval.required")
    assert decide(pay, {"iban": "x", "amount": 1}, policy=policy, principal=replace(ANNA, scopes=())).rule == "rights.scope"


def test_equal_policies_have_equal_versions_and_others_do_not() -> None:
    assert Policy.default(TOOLS).version == POLICY.version
    assert edited(POLICY, look, risk=1).version != POLICY.version
    assert replace(POLICY, on_violation=Verdict.DENY).version != POLICY.version


def test_a_result_is_untrusted_for_the_callers_eyes_and_as_bad_as_its_arguments() -> None:
    arguments = Label(integrity=Integrity.TRUSTED, readers=Readers.of("group:hr"), sources=("m1",))

    plain = POLICY.result_label(look, arguments, ANNA)
    trusted = POLICY.result_label(contacts, arguments, ANNA)
    laundered = POLICY.result_label(contacts, UNTRUSTED, ANNA)
    known = edited(POLICY, look, result_public=True).result_label(look, TRUSTED, ANNA)

    assert plain.integrity is Integrity.UNTRUSTED
    assert plain.readers.clauses == (("group:hr",), ("user:anna",))
    assert plain.sources == ("m1", "tool:look")
    assert trusted.integrity is Integrity.TRUSTED
    assert laundered.integrity is Integrity.UNTRUSTED
    assert (known.integrity, known.readers) == (Integrity.UNTRUSTED, PUBLIC)


STRICTNESS = {Verdict.ALLOW: 0, Verdict.APPROVE: 1, Verdict.DENY: 2}
WORDS = [
    "pay 5 to DE1",
    "mail bob@corp.example: hello",
    "account 7",
    "https://x.example/a",
    "ticket hello",
    "db-1 fast mode",
]
CALLS: list[tuple[Tool, dict[str, Any]]] = [
    (look, {"id": "hello"}),
    (fetch, {"url": "https://x.example/a"}),
    (remember, {"text": "hello"}),
    (open_ticket, {"title": "hello", "colour": "blue"}),
    (send_email, {"to": ["bob@corp.example"], "subject": "hello", "body": "see https://x.example/a"}),
    (pay, {"iban": "DE1", "amount": 5}),
    (adjust, {"account": 7, "amount": 5, "free": 5}),
    (publish, {"text": "hello"}),
    (wipe, {"everything": True}),
    (post, {"text": "hello"}),
    (assign, {"assignee": 7, "text": "hello"}),
    (credit, {"account": 7, "amount": -5}),
    (as_tool(bare), {"target": "db-1", "options": {"mode": "fast"}}),
]
NAMES = ["user:anna", "group:hr", "user:bob@corp.example", "tenant:acme"]

readers = st.lists(st.lists(st.sampled_from(NAMES), max_size=2, unique=True), max_size=2).map(
    lambda clauses: Readers() if not clauses else Readers.of(*clauses[0]).meet(Readers.of(*clauses[-1]))
)
labels = st.builds(Label, integrity=st.sampled_from(list(Integrity)), readers=readers)
policies = st.builds(
    lambda rules, violation: replace(POLICY, rules=tuple(rules), on_violation=violation),
    st.lists(
        st.builds(
            Rule,
            id=st.just("R"),
            verdict=st.sampled_from([Verdict.APPROVE, Verdict.DENY]),
            tool=st.sampled_from(["*", "p*", "look"]),
            integrity=st.sampled_from(list(Integrity)),
            not_public=st.booleans(),
            risk=st.sampled_from([None, comparison(">=2"), comparison("<1")]),
        ),
        max_size=3,
    ),
    st.sampled_from([Verdict.APPROVE, Verdict.DENY]),
)


@pytest.mark.row("G5", part="decide")
@given(
    case=st.sampled_from(CALLS),
    label=labels,
    worse=labels,
    words=st.lists(st.sampled_from(WORDS), unique=True),
    fewer=st.sets(st.integers(0, 5)),
    scopes=st.sets(st.sampled_from(["mail.send", "pay"])),
    resolved=st.booleans(),
    intent=st.sampled_from([None, {"look": 1}, {}]),
    policy=policies,
)
def test_a_worse_label_or_a_smaller_grant_is_never_judged_more_mildly(
    case: tuple[Tool, dict[str, Any]],
    label: Label,
    worse: Label,
    words: list[str],
    fewer: set[int],
    scopes: set[str],
    resolved: bool,
    intent: dict[str, int] | None,
    policy: Policy,
) -> None:
    made, args = case
    call = ToolCall(id="t1c1", name=made.name, args=made.bind(args))
    ample = Grounds(
        words=tuple(words),
        resolved=("DE1 7 db-1",) if resolved else (),
        ids={"account": ("7",), "subject": ("hello",)} if resolved else {},
    )
    scant = Grounds(
        words=tuple(word for i, word in enumerate(words) if i not in fewer), intent=intent, calls_made={made.name: 9}
    )

    before = policy.decide(call, made, label, ANNA, ample)
    after = policy.decide(call, made, label.join(worse), replace(ANNA, scopes=tuple(scopes), roles=()), scant)

    assert before.rule != "error"
    assert STRICTNESS[after.verdict] >= STRICTNESS[before.verdict]


def test_an_argument_with_a_maximum_alone_may_be_left_out() -> None:
    @tool(effect="write", identity=("to",))
    def transfer(to: str, amount: Annotated[int, Field(le=100)] | None = None) -> str:
        """Transfer money."""
        return ""

    policy = Policy.default([as_tool(transfer)])
    grounds = Grounds(words=("Transfer money to bob.",))

    def decided(**args: Any) -> tuple[Verdict, str]:
        call = ToolCall(id="t1c1", name="transfer", args=args)
        decision = policy.decide(call, as_tool(transfer), UNTRUSTED, ANNA, grounds)
        return decision.verdict, decision.rule

    assert decided(to="eve@evil.example", amount=None) == (Verdict.APPROVE, "ground.identity")
    assert decided(to="bob", amount=None) == (Verdict.ALLOW, "context.grounded")
    assert decided(to="bob", amount=-5) == (Verdict.APPROVE, "ground.undeclared")
