"""An estimate of how many tokens a text is, without a vocabulary."""

from __future__ import annotations

import math

from quarterdeck.core.messages import Opaque, Part, Text

__all__ = ["IMAGE_TOKENS", "count_tokens", "part_tokens"]

IMAGE_TOKENS = 1100  # of a picture of about a megapixel: OpenAI counts 765, Anthropic 1,400
_OPAQUE_CHARACTERS = 6  # of encrypted reasoning for one token of it: base64 takes 4 for every 3

_CONTINUATION = bytes(range(0x80, 0xC0))


def _classes() -> bytes:
    """What each first byte of a UTF-8 character counts as: a A 0 newline space . and, beyond ASCII, L U C E."""
    table = bytearray(b"." * 256)
    for byte in range(256):
        if byte < 0x80:
            char = chr(byte)
            if char.isalpha():
                table[byte] = ord("a") if char.islower() else ord("A")
            elif char.isdigit():
                table[byte] = ord("0")
            elif char.isspace():
                table[byte] = ord("\n") if char == "\n" else ord(" ")
        elif byte < 0xE0:
            table[byte] = ord("L")  # Latin with accents, Greek, Cyrillic, Arabic, Hebrew
        elif byte < 0xE3:
            table[byte] = ord("U")  # Indic, Thai, typographic punctuation
        elif byte < 0xEE:
            table[byte] = ord("C")  # Chinese, Japanese, Korean
        elif byte < 0xF0:
            table[byte] = ord("U")  # full-width forms
        else:
            table[byte] = ord("E")  # emoji
    return bytes(table)


def _only(members: bytes) -> bytes:
    """A table that keeps `members` as their first one and makes everything else a blank."""
    return bytes(members[0] if byte in members else ord("_") for byte in range(256))


_CLASS = _classes()
_LETTERS = _only(b"aA")
_DIGITS = _only(b"0")
_MARKS = _only(b".")
_BREAKS = _only(b"\n")


def count_tokens(text: str) -> int:
    """How many tokens `text` is, about; 0 for an empty text.

    A linear estimate over counts of words, digits, marks and characters, fitted to the o200k vocabulary. On the texts it was
    measured with (windows of 2,000 characters) the mean error is within 1 % for English, code and JSON, and 95 % of the
    windows are within 6 to 13 %; tables -3 % and 14 %; Chinese from -5 % (encyclopedia, many rare names) to +15 % (plain
    prose). Texts of other kinds and other vocabularies were not measured and may be further off.
    Every step is one pass in C over one byte per character, since each message of every conversation is counted.
    """
    if not text:
        return 0
    kinds = b"_" + text.encode("utf-8", "replace").translate(_CLASS, _CONTINUATION)
    letters = kinds.translate(_LETTERS)
    marks = kinds.translate(_MARKS)
    tokens = (
        0.93 * letters.count(b"_a")
        + 0.44 * letters.count(b"aaaaaaa")
        + 1.05 * kinds.count(b"aA")
        + 0.49 * marks.count(b"_.")
        + 0.26 * marks.count(b".")
        + 0.11 * kinds.count(b"  ")
    )
    if b"0" in kinds:
        digits = kinds.translate(_DIGITS)
        # A space before a number is a token of its own; before a word it is a part of the word.
        tokens += 1.48 * digits.count(b"_0") + 0.62 * digits.count(b"000") + 1.75 * kinds.count(b" 0")
    if b"\n" in kinds:
        tokens += 0.46 * kinds.translate(_BREAKS).count(b"_\n")
    if not text.isascii():
        tokens += 0.82 * kinds.count(b"C") + 0.9 * kinds.count(b"U") + 0.6 * kinds.count(b"L") + 2.4 * kinds.count(b"E")
    return max(1, math.ceil(tokens))


def part_tokens(part: Part) -> int:
    """How many tokens a part of a message is, about."""
    if isinstance(part, Text):
        return count_tokens(part.text)
    if isinstance(part, Opaque):
        return sum(len(value) for value in part.item.values() if isinstance(value, str)) // _OPAQUE_CHARACTERS
    return IMAGE_TOKENS
