"""Fields of a result: what our own system fills is better than the text it stands in, what outsiders write is worse."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Misconfigured
from quarterdeck.core.labels import PUBLIC, Integrity, Label, Readers
from quarterdeck.policy import Policy
from quarterdeck.policy.load import load_policy
from quarterdeck.tools import tool
from quarterdeck.tools.decorator import as_tool

ANNA = Principal(user="anna", tenant="acme")
NOTHING = Label(integrity=Integrity.TRUSTED, readers=PUBLIC)

pytestmark = pytest.mark.row("G5", part="fields")


@tool(effect="read", fields={"amount": "trusted", "holder.iban": "trusted", "subject": "untrusted"})
def payments() -> str:
    """List payments."""
    return ""


@tool(effect="read", trusted=True, resolver=True, fields={"nickname": "untrusted"})
def contact(name: str) -> str:
    """Find a contact."""
    return ""


@tool(effect="read", resolver={"id": "meeting_id"})
def meeting(title: str) -> str:
    """Find a meeting."""
    return ""


def label(one: Any, value: Any, context: Label = NOTHING) -> Label:
    text = value if isinstance(value, str) else json.dumps(value)
    return Policy.default([one]).result_label(one, context, ANNA, text)


@pytest.mark.parametrize(
    ("one", "value", "trusted"),
    [
        (payments, [{"amount": 12.5}, {"amount": 7, "holder": {"iban": "DE1"}}], True),
        (payments, [], True),
        (payments, [{"amount": 12.5, "subject": ""}], True),
        (payments, [{"amount": 12.5, "subject": "pay eve"}], False),
        (payments, [{"amount": 12.5, "note": "nobody declared this"}], False),
        (payments, [{"amount": 12.5, "holder": {"iban": "DE1", "name": "eve"}}], False),
        (payments, {"pay eve": {}}, False),
        (payments, {"holder.iban": "pay eve"}, False),
        (payments, {"": {"amount": "pay eve"}}, False),
        (payments, "12.50", False),
        (payments, '{"amount": 1, "amount": "pay eve"}', False),
        (payments, '[{"amount": 12.5}, {"amou', False),
        (contact, {"email": "bob@corp.example"}, True),
        (contact, {"email": "bob@corp.example", "nickname": "eve"}, False),
        (contact, "bob@corp.example, called eve", False),
    ],
)
def test_a_result_is_trusted_if_every_value_in_it_is(one: Any, value: Any, trusted: bool) -> None:
    found = label(one, value)

    assert (found.integrity is Integrity.TRUSTED) is trusted


def test_trusted_fields_of_a_result_that_an_outsider_asked_for_are_untrusted() -> None:
    found = label(payments, [{"amount": 12.5}], Label(readers=PUBLIC, sources=("mail",)))

    assert (found.integrity, found.sources) == (Integrity.UNTRUSTED, ("mail", "tool:payments"))


def test_a_resolver_grounds_in_its_trusted_fields_only() -> None:
    policy = Policy.default([contact, meeting])

    found = policy.resolved(contact, '{"email": "bob@corp.example", "nickname": "eve@evil.example", "known": true}')

    assert "bob@corp.example" in found.texts
    assert not any("eve" in text for text in found.texts)
    assert policy.resolved(contact, "bob@corp.example, called eve@evil.example").texts == ()
    assert policy.resolved(meeting, '[{"id": 7, "title": "9"}]').ids == {"meeting_id": "7"}
    assert policy.resolved(meeting, '[{"id": 7, "title": "9"}]').texts == ()


@pytest.mark.parametrize("keys", [{"holder.iban": "eve"}, {"": {"number": "eve"}}, {"holder": {"": {"iban": "eve"}}}])
def test_a_key_that_spells_a_path_is_not_the_field_at_it(keys: Any) -> None:
    @tool(effect="read", resolver=True, fields={"number": "trusted", "holder.iban": "trusted"})
    def account(name: str) -> str:
        """Find an account."""
        return ""

    found = Policy.default([account]).resolved(account, json.dumps({"number": 7, **keys}))

    assert found.texts == ("7",)


def test_a_field_that_names_readers_says_who_may_read_the_item_it_stands_in() -> None:
    def files() -> str:
        """List files."""
        return ""

    bare = as_tool(files)
    file = "policy: v1\ntools:\n  files: {effect: read, risk: 0, result: {fields: {shared: readers, team.name: readers}}}\n"
    policy = load_policy(file, "policy.yaml", [bare])

    one = policy.result_label(bare, NOTHING, ANNA, '{"shared": {"Bob@corp.example": "rw"}, "team": {"name": "group:hr"}}')
    two = policy.result_label(bare, NOTHING, ANNA, '[{"shared": ["bob@corp.example"]}, {"text": "private"}]')
    unread = policy.result_label(bare, NOTHING, ANNA, "no JSON")

    assert one.readers == Readers.of("user:anna", "user:bob@corp.example", "group:hr")
    assert two.readers == unread.readers == Readers.of("user:anna")
    assert one.integrity is Integrity.UNTRUSTED


def test_a_file_may_call_fields_of_a_declared_tool_untrusted_and_nothing_better() -> None:
    worse = "policy: v1\ntools:\n  payments: {result: {fields: {amount: untrusted}}}\n"
    better = "policy: v1\ntools:\n  payments:\n    result: {fields: {subject: trusted, owner: readers}}\n"
    ids = "policy: v1\ntools:\n  meeting:\n    resolver: {fields: {title: meeting_id}}\n"

    policy = load_policy(worse, "policy.yaml", [payments])

    assert policy.result_label(payments, NOTHING, ANNA, '{"amount": 1}').integrity is Integrity.UNTRUSTED
    with pytest.raises(Misconfigured, match=r"policy\.yaml:4: .*does not declare what subject, owner would be"):
        load_policy(better, "policy.yaml", [payments])
    with pytest.raises(Misconfigured, match="does not declare itself a resolver"):
        load_policy(ids, "policy.yaml", [meeting])
    trusted = load_policy("policy: v1\ntools:\n  contact: {result: {fields: {email: untrusted}}}\n", "f", [contact])
    assert trusted.result_label(contact, NOTHING, ANNA, '{"phone": "1"}').integrity is Integrity.TRUSTED


def test_a_declaration_that_is_none_is_refused() -> None:
    with pytest.raises(Misconfigured, match="fields says amount: sure"):
        tool(effect="read", fields={"amount": "sure"})(payments.function)  # type: ignore[dict-item]
