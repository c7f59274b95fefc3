"""Events and records as JSON text."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.core.answers import Answer, Passage
from quarterdeck.core.decisions import Draft, DraftStatus
from quarterdeck.core.errors import InvalidInput, SchemaMismatch
from quarterdeck.core.events import (
    KINDS,
    ApprovalDecided,
    ApprovalRequested,
    Event,
    FinalAnswer,
    ModelReply,
    Retrieved,
    Steer,
    ToolReturned,
    Unknown,
)
from quarterdeck.core.labels import Integrity, Label, Readers
from quarterdeck.core.messages import Message, ResultStatus, Role, Text, ToolCall, ToolResult
from quarterdeck.core.runs import StopReason
from quarterdeck.core.usage import Usage
from quarterdeck.store.codec import clean_text, decode, encode, encode_full, from_json, json_text, to_json

GOLDEN = [
    json.loads(line) for line in (Path(__file__).parent / "golden" / "journal-v1.jsonl").read_text("utf-8").splitlines()
]
LABEL = Label(readers=Readers.of("user:anna"))

# What a database takes: NUL and surrogates have tests of their own.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(texts, json_values, max_size=4)
instants = st.datetimes(timezones=st.just(UTC))
readers = st.lists(st.lists(texts, max_size=3).map(tuple), max_size=3).map(lambda clauses: Readers(tuple(clauses)))
labels = st.builds(
    Label, integrity=st.sampled_from(Integrity), readers=readers, sources=st.lists(texts, max_size=3).map(tuple)
)
messages = st.builds(
    Message,
    role=st.sampled_from(Role),
    parts=st.lists(st.builds(Text, text=texts, label=labels), max_size=2).map(tuple),
    tool_calls=st.lists(
        st.builds(ToolCall, id=texts, name=texts, args=objects, malformed=st.none() | texts), max_size=2
    ).map(tuple),
    call_id=st.none() | texts,
)
usages = st.builds(Usage, prompt_tokens=st.integers(0), cost_usd=st.none() | numbers, estimated=st.booleans())
passages = st.builds(Passage, id=texts, doc_id=texts, title=texts, text=texts, label=labels, score=numbers)
results = st.builds(
    ToolResult,
    call_id=texts,
    name=texts,
    status=st.sampled_from(ResultStatus),
    label=labels,
    output=texts,
    error=st.none() | texts,
    passages=st.lists(passages, max_size=2).map(tuple),
    duration_ms=numbers,
)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(ModelReply, turn=st.integers(0, 99), message=messages, model=texts, usage=usages, route=texts),
    st.builds(ToolReturned, result=results),
    st.builds(Steer, by=texts, message=messages),
    st.builds(ApprovalRequested, id=texts, draft=texts, args_hash=texts, expires_at=instants),
    st.builds(ApprovalDecided, id=texts, approved=st.booleans(), by=texts, args_hash=texts, edited_args=st.none() | objects),
    st.builds(
        FinalAnswer,
        answer=st.builds(Answer, text=texts, needs_human_review=st.booleans()),
        stop_reason=st.sampled_from(StopReason),
        label=labels,
        output=json_values,
    ),
)


def steer(text: str) -> Steer:
    return Steer(by="anna", message=Message(role=Role.USER, parts=(Text(text=text, label=LABEL),)))


def contains(whole: Any, part: Any) -> bool:
    """True if `whole` says all that `part` says; it may have more fields."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and contains(whole[key], part[key]) for key in part)
    if isinstance(part, list):
        return isinstance(whole, list) and len(whole) == len(part) and all(map(contains, whole, part))
    return bool(whole == part)


@given(event=events)
def test_every_event_comes_back_as_it_was(event: Event) -> None:
    kind, data = encode(event)

    assert decode(kind, data) == event
    assert encode(decode(kind, data)) == (kind, data)
    assert json.loads(data)["v"] == 1


@given(event=events)
def test_full_text_means_the_same_event_when_none_is_a_default(event: Event) -> None:
    kind, data = encode_full(event)

    again = decode(kind, data)
    if not isinstance(event, ModelReply) or event.usage.cost_usd is not None:
        assert again == event


@pytest.mark.row("L2", part="golden journal")
@pytest.mark.parametrize("line", GOLDEN, ids=lambda line: line["kind"])
def test_event_stored_by_the_first_version_still_means_the_same(line: dict[str, Any]) -> None:
    event = decode(line["kind"], line["data"])

    assert event.kind == line["kind"]
    assert event.key == line["key"]
    assert contains(json.loads(encode_full(event)[1]), line["full"])
    assert decode(*encode(event)) == event


def test_golden_journal_has_every_kind() -> None:
    assert {line["kind"] for line in GOLDEN} >= set(KINDS)


def test_unknown_kind_is_kept_to_the_letter() -> None:
    text = '{"b": 1,  "a":null, "n": 1.0}'

    event = decode("from_the_future", text)

    assert isinstance(event, Unknown)
    assert encode(event) == encode_full(event) == ("from_the_future", text)
    assert decode("from_the_future", text.encode()) == event


def test_unknown_kind_made_of_values_becomes_json() -> None:
    assert encode(Unknown(kind="note", data={"a": [1]})) == ("note", '{"a":[1]}')


def test_fields_of_a_later_version_are_ignored() -> None:
    kind, data = encode(steer("x"))
    later = {**json.loads(data), "mood": "good", "v": 7}

    assert decode(kind, json.dumps(later)) == Steer(by="anna", message=steer("x").message, v=7)


def test_known_kind_that_does_not_fit_is_no_unknown_event() -> None:
    with pytest.raises(SchemaMismatch, match=r"steer.*message") as caught:
        decode("steer", '{"by": "anna", "message": "a secret"}')

    assert "a secret" not in str(caught.value)


def test_unknown_cost_is_not_free() -> None:
    reply = ModelReply(turn=1, message=Message(role=Role.ASSISTANT), model="m", usage=Usage(cost_usd=None))

    assert decode(*encode(reply)) == reply


def test_none_inside_arguments_is_kept() -> None:
    args = {"a": None, "b": {"c": [None]}}
    event = ApprovalDecided(id="t1c0", approved=True, by="anna", args_hash="", edited_args=args)

    again = decode(*encode(event))

    assert isinstance(again, ApprovalDecided)
    assert again.edited_args == args


@pytest.mark.parametrize(
    ("hostile", "stored"),
    [
        ("a\0b", "ab"),
        ("a\ud800b", "a\ufffdb"),
        ("\udc00\0\ud83d", "\ufffd\ufffd"),
        ("\ud83d\ude00", "😀"),  # two halves of one character, as some decoders leave them
        ("back\\u0000slash", "back\\u0000slash"),
    ],
)
def test_text_a_database_refuses_is_cleaned(hostile: str, stored: str) -> None:
    kind, data = encode(steer(hostile))

    event = decode(kind, data)
    assert isinstance(event, Steer)
    assert event.message.text == clean_text(hostile) == stored
    assert json.loads(data)["v"] == 1
    data.encode()
    assert json.loads(json_text({hostile: [hostile]})) == {stored: [stored]}


def test_number_that_is_none_does_not_poison_a_run() -> None:
    passage = Passage(id="p", doc_id="d", title="t", text="x", label=LABEL, score=float("nan"))
    event = Retrieved(turn=1, query="q", passages=(passage,), mode="vector", label=LABEL)

    again = decode(*encode(event))

    assert isinstance(again, Retrieved)
    assert again.passages[0].score != again.passages[0].score
    json.loads(encode(event)[1], parse_constant=pytest.fail)


def test_draft_goes_through_a_record() -> None:
    now = datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC)
    draft = Draft(
        id="d1",
        run_id="r1",
        call_id="t1c0",
        tool="create_ticket",
        args={"title": "x", "none": None},
        args_hash="h",
        label=LABEL,
        policy_version="p1",
        rule="writes",
        requested_by="anna",
        created_at=now,
        expires_at=now,
        status=DraftStatus.APPROVED,
        edited_args={},
    )

    data = json.loads(json_text(to_json(draft)))

    assert from_json(Draft, data) == draft
    with pytest.raises(SchemaMismatch, match="Draft"):
        from_json(Draft, {"id": 5})


def test_what_is_no_json_is_refused() -> None:
    for value in (object(), float("inf"), {"a": b"bytes"}):
        with pytest.raises(InvalidInput, match="not JSON"):
            json_text(value)


def test_importing_the_stores_loads_no_validator() -> None:
    names = "quarterdeck.store.memory, quarterdeck.store.sqlite_store"
    code = f"import sys, {names}; print(sorted({{'pydantic', 'pydantic_core'}} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
