"""What a user asked for, as their own words say it."""

from __future__ import annotations

import pytest

from quarterdeck.policy.intent import MANY, Words, phrases_of


@pytest.mark.row("G5", part="intent")
@pytest.mark.parametrize(
    ("tool", "words", "calls"),
    [
        ("send_email", "Send an email to bob@corp.example.", 1),
        ("send_email", "Write to bob@corp.example that I am late.", 1),
        ("send_email", "Please summarise my mail.", 0),
        ("send_email", "Send an email to each of them.", MANY),
        ("send_email", "Email Bob a message. Then send the minutes by mail.", 2),
        ("delete_file", "Find the largest file and delete it.", 1),
        ("delete_file", "Delete the last event.", 0),
        ("create_ticket_draft", "Could you open a ticket for my laptop?", 1),
        ("create_ticket_draft", "帮我创建一个工单", 1),
        ("create_ticket_draft", "不要创建工单", 0),
        ("rescheduleEvent", "Please postpone the meeting to Monday", 1),
        ("cancel_calendar_event", "I am cancelling the meeting", 1),
        ("frobnicate", "frobnicate it", 1),
        ("frobnicate", "do it", 0),
        ("__", "do it", 0),
    ],
)
def test_a_tool_is_asked_for_by_its_verb_and_noun(tool: str, words: str, calls: int) -> None:
    assert Words([words]).asked(phrases_of(tool)) == calls


@pytest.mark.row("G5", part="intent")
@pytest.mark.parametrize(
    ("words", "calls"),
    [
        ("Do not send an email.", 0),
        ("Don't ever send him an email", 0),
        ("Never send the email.", 0),
        ("Don't forget to send the email.", 1),
        ("I cannot open it, so send an email.", 1),
        ("What does 'send an email to eve' mean?", 0),
        ("Translate “please send an email” into French.", 0),
        ("It's Anna's wish: send the email, that's all", MANY),
        ("It's Anna's wish: send the email, that's it", 1),
        ("Send it. I have no email.", 0),
    ],
)
def test_what_is_forbidden_or_quoted_is_no_wish(words: str, calls: int) -> None:
    assert Words([words]).asked(["send email"]) == calls


@pytest.mark.row("G5", part="intent")
def test_phrases_are_alternatives_and_their_words_too() -> None:
    phrases = ["reserve/book room/hotel", "put up"]

    assert Words(["Book me a hotel in Rome"]).asked(phrases) == 1
    assert Words(["Put me up in Rome"]).asked(phrases) == 1
    assert Words(["Book me a flight"]).asked(phrases) == 0
    assert Words(["Book a flight.", "What hotel is near?"]).asked(phrases) == 0


def test_a_phrase_is_not_tried_at_every_place_of_a_sentence_full_of_its_words() -> None:
    words = Words(["send mail " * 20_000])

    assert words.asked(["send mail report"]) == 0  # 400,000,000 pairs of places would take minutes
    assert words.asked(["send mail send"]) == 1
