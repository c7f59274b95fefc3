"""The text of a stream that nothing can be taken back from adds up to what the run says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from quarterdeck.core.answers import Answer, Passage
from quarterdeck.core.context import Principal
from quarterdeck.core.events import Delta, Event, FinalAnswer, ModelReply, Retrieved, RunCancelled, RunFailed, RunStarted
from quarterdeck.core.labels import PUBLIC, Label
from quarterdeck.core.messages import Message, Role, Text, ToolCall
from quarterdeck.core.runs import StopReason
from quarterdeck.core.usage import Usage
from quarterdeck.knowledge.cite import resolve
from quarterdeck.service.streams import Signal
from quarterdeck.store.base import Entry
from quarterdeck.transports.openai_compat.chat import ChatChunks, Served
from quarterdeck.transports.openai_compat.responses import ResponseEvents
from quarterdeck.transports.openai_compat.words import Words

LABEL = Label(readers=PUBLIC)
FOUND = {
    name: Passage(id=name, doc_id="d", title="Leave", text="Leave is 30 days. 5 days carry over.", label=LABEL)
    for name in ("leave-1", "leave-2")
}
STARTED = RunStarted(
    input=Message(role=Role.USER, parts=(Text(text="How long is leave?", label=LABEL),)),
    agent="a",
    config_hash="",
    tenant="acme",
    principal=Principal(user="emma", tenant="acme"),
)
RETRIEVED = Retrieved(turn=0, query="leave", passages=tuple(FOUND.values()), mode="keyword", label=LABEL)


def pieces(text: str, *, turn: int = 1, size: int = 1) -> list[Signal]:
    return [Delta(kind="text", text=text[at : at + size], turn=turn, n=at // size) for at in range(0, len(text), size)]


def reply(text: str, *, turn: int = 1, calls: tuple[ToolCall, ...] = ()) -> ModelReply:
    message = Message(role=Role.ASSISTANT, parts=(Text(text=text, label=LABEL),), tool_calls=calls)
    return ModelReply(turn=turn, message=message, model="m", usage=Usage())


def final(text: str) -> FinalAnswer:
    return FinalAnswer(answer=Answer(text=text), stop_reason=StopReason.COMPLETED, label=LABEL)


def told(signals: Iterable[Signal | Event], *, live: bool = True) -> list[str]:
    """The pieces a run gives from its first event on."""
    words = Words("run", live=live)
    found = [piece for signal in stored(signals) for piece in words(signal)]
    assert words.over
    assert "".join(found) == words.text
    return found


def stored(signals: Iterable[Signal | Event]) -> Iterator[Signal]:
    """The signals of a run behind its first event, its events with their places."""
    seq = 0
    for signal in (STARTED, *signals):
        if isinstance(signal, Event):
            seq += 1
            signal = Entry(event=signal, seq=seq, at=datetime.now(UTC))
        yield signal


@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize(
    "text",
    [
        "Leave is 30 days.",
        "Leave is 30 days. [leave-1] " * 60,
        "Leave is 30 days. [leave-1] 5 days carry over. [leave-2]",
        "Leave is 30 days [leave-1], and 5 days carry over [leave-1][leave-2].\n\n\n\nAsk again!",
        "  - Leave is 30 days. [leave-2]\n  - 5 days carry over (see [the page](https://a.example)). [leave-1]\n",
        "Leave is 30 days【leave-1】. An array[0] is code: `a[1]`.",
        "Leave is 30 days. [leave-1](https://evil.example) 5 days carry over.",
    ],
)
def test_pieces_add_up_to_the_answer_with_its_marks_as_numbers(text: str, size: int) -> None:
    answer = resolve(text, FOUND).text

    said = told([RETRIEVED, *pieces(text, size=size), reply(text), final(answer)])

    assert "".join(said) == answer
    assert len(said) > 1


def test_what_was_said_before_a_tool_call_stands_in_front_of_the_answer() -> None:
    call = ToolCall(id="t1c1", name="look")

    said = told(
        [*pieces("Let me look."), reply("Let me look.", calls=(call,)), *pieces("It is 5.", turn=2), final("It is 5.")]
    )

    assert "".join(said) == "Let me look.\n\nIt is 5."


def test_answer_that_was_changed_after_it_was_made_follows_as_a_paragraph() -> None:
    said = told([*pieces("It is 5. It is 6."), reply("It is 5. It is 6."), final("It is 6.")])

    assert "".join(said) == "It is 5. It is 6.\n\nIt is 6."


def test_answer_of_which_no_piece_came_is_given_whole() -> None:
    assert told([reply("It is 5."), final("It is 5.")]) == ["It is 5."]


def test_pieces_behind_a_gap_wait_for_the_answer() -> None:
    first, _, *rest = pieces("One two three", size=4)

    assert told([first, *rest, reply("One two three"), final("One two three")]) == ["One", " two three"]


def test_typed_answer_is_given_whole_and_alone() -> None:
    half, whole = '{"days": ', '{"days": 30}'

    assert told([*pieces(half), reply(half), *pieces(whole, turn=2), final(whole)], live=False) == [whole]


def test_cancelled_run_says_so() -> None:
    assert told([RunCancelled(by="emma")]) == ["The run is cancelled. Run: run."]


SERVED = Served(model="a", fingerprint="fp_1", metadata={})
FAILED = (*pieces("It is"), RunFailed(code="model_unavailable", error="the model is away"))


def sent(frames: ChatChunks | ResponseEvents, signals: Iterable[Signal | Event]) -> list[Any]:
    """The data of the frames of a run."""
    told = b"".join(piece for signal in stored(signals) for piece in frames(signal)).decode()
    return [json.loads(line.removeprefix("data: ")) for line in told.splitlines() if line.startswith("data: ")]


@pytest.mark.row("S8", part="openai errors")
def test_chunks_of_a_run_that_fails_end_with_its_error() -> None:
    chunks = sent(ChatChunks("run", SERVED, live=True, tells_usage=True), FAILED)

    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks[:-1]) == "It is"
    assert chunks[-1] == {
        "error": {
            "message": "run run failed: the model is away",
            "type": "server_error",
            "param": None,
            "code": "model_unavailable",
        }
    }


@pytest.mark.row("S8", part="openai errors")
def test_events_of_a_run_that_fails_close_what_was_open_and_say_so() -> None:
    events = sent(ResponseEvents("run", SERVED, live=True), FAILED)

    assert [event["type"].removeprefix("response.") for event in events[-4:]] == [
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "failed",
    ]
    assert events[-2]["item"]["status"] == "incomplete"
    assert events[-1]["response"]["status"] == "failed"
    assert "the model is away" in events[-1]["response"]["error"]["message"]


@pytest.mark.row("S8", part="openai responses")
def test_events_of_a_cancelled_run_end_as_incomplete() -> None:
    events = sent(ResponseEvents("run", SERVED, live=True), [RunCancelled(by="emma")])

    assert (events[-1]["type"], events[-1]["response"]["status"]) == ("response.incomplete", "cancelled")


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        (StopReason.COMPLETED, "stop"),
        (StopReason.TURN_LIMIT, "length"),
        (StopReason.FILTERED, "content_filter"),
    ],
)
@pytest.mark.row("S8", part="openai chat")
def test_why_a_run_stopped_is_its_finish_reason(reason: StopReason, finish: str) -> None:
    ended = FinalAnswer(answer=Answer(text="It is 5."), stop_reason=reason, label=LABEL)

    chunks = sent(ChatChunks("run", SERVED, live=True, tells_usage=False), [ended])

    assert chunks[-1]["choices"][0]["finish_reason"] == finish
