"""What all three reply formats need: replies cut to their limits, texts cut into tokens, and what they cost."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple

from quarterdeck.devtools.simulator.base import Ask, Reply
from quarterdeck.models.tokens import count_tokens

__all__ = ["Counts", "limited", "pieces"]

_PIECE = re.compile(r"\s*(?:[A-Za-z0-9_]+|[^\sA-Za-z0-9_])|\s+")


class Counts(NamedTuple):
    """Tokens of a request and its reply; `cached` is a part of `prompt`, `reasoning` of `completion`."""

    prompt: int
    completion: int
    cached: int
    reasoning: int


def pieces(text: str) -> list[str]:
    """`text` in about the pieces a model's tokens would be: words with the space before them, marks, characters."""
    return _PIECE.findall(text)


def limited(reply: Reply, ask: Ask) -> Reply:
    """`reply` as far as the request lets it go: one call at most, up to a stop sequence, up to so many tokens."""
    if len(reply.calls) > 1 and not ask.parallel:
        reply = replace(reply, calls=reply.calls[:1])
    if ask.max_tokens is None and not ask.stop:
        return reply
    text = reply.text
    for sequence in ask.stop:
        text = text.partition(sequence)[0]
    cut = ask.max_tokens is not None and count_tokens(text) > ask.max_tokens
    if cut:
        text = _cut(text, ask.max_tokens or 0)
    if text is reply.text:
        return reply
    return replace(reply, text=text, finish="length" if cut else reply.finish)


def _cut(text: str, max_tokens: int) -> str:
    parts = pieces(text)
    low, high = 0, len(parts)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count_tokens("".join(parts[:middle])) <= max_tokens else (low, middle - 1)
    return "".join(parts[:low])
