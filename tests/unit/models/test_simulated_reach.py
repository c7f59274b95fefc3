"""How much the simulated model reads: of a long message its ends, at a cost that no sender can raise."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest

from quarterdeck.core.messages import Message
from quarterdeck.models.simulation.asks import read_asks
from quarterdeck.models.simulation.dialogue import read_dialogue
from tests.unit.models.talk import BANK, CHINESE, PEOPLE, WEATHER, ask, assistant, calls_of, user

EVERY = (*PEOPLE, *BANK, *WEATHER, *CHINESE)
PIECES = {
    "questions": "How long does a VPN session last? ",
    "requests": "Please open a ticket T-1001 for Anna Smith on 2026-03-04 at 10:00, also for 3 days. ",
    "chinese": "请帮我创建一个工单，VPN 多久断开？",
    "letters": "x",
    "spaces": " ",
    "quotation marks": "\" ' ` ",
    "addresses": "a.b@c-",
    "questions within": "tell me and is it ",
}


async def calls_made(*messages: Message) -> int:
    """How many functions are called to answer: what the work is, whatever machine does it."""
    count = 0

    def counted(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    await ask(*messages, tools=EVERY)  # what is kept of a first look is not counted
    sys.setprofile(counted)
    try:
        await ask(*messages, tools=EVERY)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES.keys())
async def test_a_hundred_times_the_message_is_not_more_work(piece: str) -> None:
    short = piece * (8_000 // len(piece) + 1)

    work, much = await calls_made(user(short)), await calls_made(user(short * 100))

    assert much <= 1.2 * work


async def test_the_clauses_of_a_message_each_cost_what_one_costs() -> None:
    question = "How many days of leave may I carry over? "

    five, ten = await calls_made(user(question * 5)), await calls_made(user(question * 10))

    assert ten <= 2.2 * five


async def test_a_long_conversation_is_not_more_work_than_its_newest_messages() -> None:
    exchange = (user("How long is the notice period? " * 200), assistant("It is three months. " * 200))

    work = await calls_made(*exchange * 20, user("And for it?"))
    much = await calls_made(*exchange * 40, user("And for it?"))

    assert much <= 1.5 * work


async def test_the_end_of_a_long_message_is_read_as_its_beginning_is() -> None:
    middle = "The quick brown fox went over the lazy dog. " * 5_000

    first = await ask(user(f"What is the weather in Lisbon? {middle}"), tools=WEATHER)
    last = await ask(user(f"{middle} What is the weather in Lisbon?"), tools=WEATHER)

    assert [args["city"] for _, args in (*calls_of(first), *calls_of(last))] == ["Lisbon", "Lisbon"]


def test_a_long_message_is_cut_between_words() -> None:
    words = [f"word{at}" for at in range(3_000)]

    read = read_dialogue([user(" ".join(words))]).question

    assert len(read) <= 4_001
    assert set(read.split()) <= set(words)
    assert (read.split()[0], read.split()[-1]) == (words[0], words[-1])


def test_of_very_many_clauses_the_first_and_the_last_are_read() -> None:
    asks = read_asks(" ".join(f"Where is room {at}?" for at in range(100)))

    assert len(asks) == 24
    assert (asks[0].text, asks[-1].text) == ("Where is room 0?", "Where is room 99?")
