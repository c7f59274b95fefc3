"""Compaction keeps what belongs together, and the token account costs the same however long the conversation is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.agent.conversation import Compaction, compact, cost_of, orphans
from quarterdeck.core.labels import PUBLIC, Integrity, Label
from quarterdeck.core.messages import Message, Role, Text, ToolCall

TRUSTED = Label(integrity=Integrity.TRUSTED, readers=PUBLIC)
UNTRUSTED = Label(integrity=Integrity.UNTRUSTED, readers=PUBLIC, sources=("web",))


def message(role: Role, text: str, label: Label = TRUSTED, **fields: object) -> Message:
    return Message(role=role, parts=(Text(text=text, label=label),), **fields)  # type: ignore[arg-type]  # test shorthand


def turn(number: int, size: int, calls: int) -> list[Message]:
    made = tuple(ToolCall(id=f"t{number}c{i}", name="look", args={"n": i}) for i in range(calls))
    results = [message(Role.TOOL, f"result {i} " * size, UNTRUSTED, call_id=call.id) for i, call in enumerate(made)]
    return [message(Role.ASSISTANT, f"turn {number}", tool_calls=made), *results]


conversations = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), st.booleans()), min_size=1, max_size=12).map(
    lambda turns: [
        m
        for n, (size, calls, asked) in enumerate(turns)
        for m in ([message(Role.USER, f"question {n}")] if asked or n == 0 else []) + turn(n, size, calls)
    ]
)


def applied(messages: list[Message], compaction: Compaction) -> list[Message]:
    return [*compaction.replaced, *messages[compaction.dropped :]]


@pytest.mark.row("R8", part="pairs")
@given(conversations, st.integers(50, 3000))
def test_compaction_never_orphans_a_tool_message(messages: list[Message], budget: int) -> None:
    compaction = compact(messages, budget)

    if compaction is not None:
        assert orphans(applied(messages, compaction)) == []


@pytest.mark.row("R8", part="budget")
@given(conversations, st.integers(50, 3000))
def test_a_compacted_conversation_fits_and_keeps_its_newest_message(messages: list[Message], budget: int) -> None:
    compaction = compact(messages, budget)

    if compaction is not None:
        after = applied(messages, compaction)
        assert sum(map(cost_of, after)) == compaction.tokens <= budget
        assert after[-1] == messages[-1]


@given(conversations, st.integers(50, 3000))
def test_what_replaces_messages_is_no_more_trusted_than_they_were(messages: list[Message], budget: int) -> None:
    compaction = compact(messages, budget)

    if compaction is not None and compaction.strategy == "window":
        dropped = [m for m in messages if m not in applied(messages, compaction)]
        note = compaction.replaced[0].label
        assert note.integrity >= max((m.label.integrity for m in dropped if m.role is not Role.TOOL), default=0)


def test_old_tool_results_are_trimmed_before_anything_leaves() -> None:
    messages = [message(Role.USER, "find it"), *turn(1, 500, 1), *turn(2, 5, 1), *turn(3, 5, 1)]

    compaction = compact(messages, sum(map(cost_of, messages)) - 100)

    assert compaction is not None
    assert compaction.strategy == "trim"
    assert len(applied(messages, compaction)) == len(messages)
    assert "left out" in applied(messages, compaction)[2].text


def test_the_newest_question_outlives_older_turns() -> None:
    messages = [message(Role.USER, "old question"), *turn(1, 300, 2), message(Role.USER, "new question"), *turn(2, 300, 1)]

    compaction = compact(messages, sum(map(cost_of, messages[-3:])) + 50)

    assert compaction is not None
    texts = [m.text for m in applied(messages, compaction)]
    assert "new question" in texts
    assert "old question" not in texts


def test_a_conversation_whose_newest_block_is_too_large_cannot_be_compacted() -> None:
    assert compact([message(Role.USER, "x"), *turn(1, 5000, 1)], 100) is None
