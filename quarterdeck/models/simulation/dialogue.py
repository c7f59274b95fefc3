"""The conversation as the simulated model reads it: what was asked, what was done about it, what was found wrong.

It has a small context: of what people and the assistant say it reads the beginning and the end of each message, and of a
conversation the newest messages. Its expressions look at a text many times over; the bound is what keeps a long message from
holding up a server.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from quarterdeck.core.messages import Message, Role, ToolCall
from quarterdeck.core.text import ends_of
from quarterdeck.models.simulation.language import is_chinese
from quarterdeck.models.simulation.results import Outcome, Source, handed_over, read_result, sources_in

__all__ = ["Dialogue", "Step", "read_dialogue"]

_ANSWER = re.compile(
    r"\b(?:answer|reply|response|output|json|schema|citation|source)s?\b|回答|答案|输出|引用", re.IGNORECASE
)
_WIDE = re.compile(r"\s{4,}")
_READ = 2_000  # characters of either end of a message
_HEARD = 16  # earlier questions, and as many replies
_REJECTED = re.compile(
    r"\breject|\bnot (?:be )?accept|\binvalid\b|\bnot valid\b|\bunsupported\b|\bnot supported\b|\bdoes not (?:match|"
    r"satisfy)\b|"
    r"\bmend\b|被拒|驳回|未通过|不符合|无效",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Step:
    """A call and the text that came back, None while nothing did."""

    call: ToolCall
    result: str | None

    @cached_property
    def outcome(self) -> Outcome | None:
        """The result, read when it is first asked for."""
        return None if self.result is None else read_result(self.result)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """One conversation, read once.

    Attributes:
        system: What the operator says, system messages joined.
        earlier: Earlier questions of the user, oldest first.
        replies: The assistant's words before the question, oldest first.
        question: The user's last message that is not a complaint about our answer.
        steps: Calls made since the question, in order.
        past: Results of calls before the question, oldest first.
        rejections: Why our answers to the question were sent back, oldest first.
        given: Passages that were fetched before we were asked.
    """

    system: str
    earlier: tuple[str, ...]
    replies: tuple[str, ...]
    question: str
    steps: tuple[Step, ...]
    past: tuple[Step, ...]
    rejections: tuple[str, ...]
    given: tuple[Source, ...] = ()

    @property
    def chinese(self) -> bool:
        """True if the user writes Chinese; a question without letters goes by the one before."""
        for text in (self.question, *reversed(self.earlier)):
            if is_chinese(text):
                return True
            if any(char.isalpha() for char in text):
                return False
        return False


def read_dialogue(messages: Sequence[Message]) -> Dialogue:
    """Sort the messages of a request."""
    system: list[str] = []
    earlier: list[str] = []
    rejections: list[str] = []
    question = ""
    asked_at = -1
    given: tuple[Source, ...] = ()
    for index, message in enumerate(messages):
        if message.role is Role.TOOL:
            continue
        # What an operator says may hold passages anywhere; it is no caller's to lengthen.
        text = _tidy(message.text) if message.role is Role.SYSTEM else ends_of(_tidy(message.text), _READ)
        if message.role is Role.USER:
            if question and (handed := handed_over(message.text)) is not None:
                given = handed
                continue
            if _is_rejection(text, messages, index, asked_at):
                rejections.append(text)
                continue
            if question:
                earlier.append(question)
            question, asked_at, rejections, given = text, index, [], ()
        elif message.role is Role.SYSTEM:
            if _is_rejection(text, messages, index, asked_at):
                rejections.append(text)
            else:
                system.append(text)
    past, steps = _steps(messages[: max(asked_at, 0)]), _steps(messages[asked_at + 1 :])
    replies = [ends_of(m.text, _READ) for m in messages[: max(asked_at, 0)] if m.role is Role.ASSISTANT and m.text]
    return Dialogue(
        system="\n".join(system),
        earlier=tuple(earlier[-_HEARD:]),
        replies=tuple(replies[-_HEARD:]),
        question=question,
        steps=steps,
        past=past,
        rejections=tuple(rejections),
        given=(*sources_in("\n".join(system)), *given),
    )


def _tidy(text: str) -> str:
    """The text without long runs of white space, on which our expressions would take their time."""
    return _WIDE.sub(lambda run: "\n" if "\n" in run.group() else " ", text)


def _steps(messages: Sequence[Message]) -> tuple[Step, ...]:
    """Calls with their results. Ids may repeat in a conversation, so a result belongs to the latest open call of its id."""
    found: list[Step] = []
    for message in messages:
        found.extend(Step(call, None) for call in message.tool_calls)
        if message.role is Role.TOOL:
            for index in range(len(found) - 1, -1, -1):
                if found[index].call.id == message.call_id:
                    found[index] = Step(found[index].call, message.text)
                    break
    return tuple(found)


def _is_rejection(text: str, messages: Sequence[Message], index: int, asked_at: int) -> bool:
    """True if `text` is a complaint about our answer.

    Such a one follows an answer in words and speaks of answers and of what is wrong.
    """
    if asked_at < 0 or index == 0:
        return False
    before = messages[index - 1]
    answered = (before.role is Role.ASSISTANT and not before.tool_calls) or (
        index - 1 > asked_at and before.role in (Role.USER, Role.SYSTEM)
    )
    return answered and _ANSWER.search(text) is not None and _REJECTED.search(text) is not None
