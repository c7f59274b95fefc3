"""The text of a simple stream is the answer's, also where pieces of it got lost between processes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from quarterdeck.core.answers import Answer
from quarterdeck.core.context import Principal
from quarterdeck.core.events import Delta, FinalAnswer, ModelReply, RunStarted, StateFolded
from quarterdeck.core.labels import PUBLIC, Label
from quarterdeck.core.messages import Message, Role, Text, ToolCall
from quarterdeck.core.runs import StopReason
from quarterdeck.core.usage import Usage
from quarterdeck.service.streams import Signal
from quarterdeck.store.base import Entry
from quarterdeck.transports.http.simple import SimpleFrames
from quarterdeck.transports.http.sse import full_frames

LABEL = Label(readers=PUBLIC)
STARTED = RunStarted(
    input=Message(role=Role.USER),
    agent="a",
    config_hash="",
    tenant="acme",
    principal=Principal(user="emma", tenant="acme"),
)


def pieces(*texts: str, turn: int = 1, first: int = 0, kind: Any = "text") -> list[Signal]:
    return [Delta(kind=kind, text=text, turn=turn, n=n) for n, text in enumerate(texts, first)]


def told(*signals: Signal, answer: str) -> list[str]:
    """What the stream of a run says, frame by frame, when it ends in this answer."""
    frames = SimpleFrames("run")
    final = FinalAnswer(answer=Answer(text=answer), stop_reason=StopReason.COMPLETED, label=LABEL)
    events: list[Signal] = [Entry(event=STARTED), *signals, Entry(event=final)]
    found: list[str] = []
    for seq, signal in enumerate(events, 1):
        if isinstance(signal, Entry):
            signal = Entry(event=signal.event, seq=seq, at=datetime.now(UTC))
        said = [piece for piece in frames(signal) if piece.startswith(b"event: text\n")]
        found += [json.loads(piece.partition(b"data: ")[2])["text"] for piece in said]
    return found


@pytest.mark.parametrize(
    ("signals", "texts"),
    [
        (pieces("one ", "two ", "three"), ["one ", "two ", "three"]),
        ([], ["one two three"]),
        ([*pieces("one "), *pieces("three", first=2)], ["one ", "two three"]),
        (pieces("two ", "three", first=1), ["one two three"]),
        ([*pieces("one ", "two "), *pieces("one ", "two ", "three")], ["one ", "two ", "three"]),
        ([*pieces("Hm.", kind="reasoning"), *pieces("one ", "two three", first=1)], ["one ", "two three"]),
        ([*pieces("no, "), *pieces("one ", "two three", turn=2)], ["no, ", "one ", "two three"]),
    ],
    ids=["all", "none", "one lost", "from the middle", "begun anew", "thought before", "a reply that was sent back"],
)
@pytest.mark.row("S3", part="pieces agree with the answer")
def test_text_is_that_of_the_answer_whatever_pieces_came(signals: list[Signal], texts: list[str]) -> None:
    assert told(*signals, answer="one two three") == texts


def test_what_was_said_before_a_call_is_no_part_of_the_answer() -> None:
    call = ToolCall(id="t1c0", name="look", args={})
    message = Message(role=Role.ASSISTANT, parts=(Text(text="One moment.", label=LABEL),), tool_calls=(call,))
    reply = ModelReply(turn=1, message=message, model="m", usage=Usage())

    said = told(*pieces("One moment."), Entry(event=reply), answer="One moment. Done.")

    assert said == ["One moment.", "One moment. Done."]


def test_a_folded_state_is_told_of_by_its_place_and_not_shown() -> None:
    folded = StateFolded(upto=401, state={"messages": [{"text": "all that was said"}]})

    (shown,) = full_frames(Entry(event=folded, seq=403, at=datetime.now(UTC)))

    assert shown == b'id: 403\nevent: state_folded\ndata: {"upto":401}\n\n'
