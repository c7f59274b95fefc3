"""Plain text: paragraphs between blank lines."""

from __future__ import annotations

from itertools import groupby

from quarterdeck.core.errors import InvalidInput
from quarterdeck.core.text import without_hidden
from quarterdeck.knowledge.parsers.base import Block, Parsed
from quarterdeck.knowledge.parsers.front_matter import without_access_list

__all__ = ["decode", "line_spans", "parse"]


def decode(data: bytes) -> str:
    """UTF-8 text with plain line ends and without hidden characters: a model reads what the author of the file saw.

    Raises:
        InvalidInput: The bytes are another encoding, or no text at all.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"not UTF-8 text: byte {error.start} is 0x{data[error.start]:02x}; save it as UTF-8") from error
    if "\0" in text:
        raise InvalidInput("binary, not text: it holds a NUL character")
    return without_hidden(text.replace("\r\n", "\n").replace("\r", "\n"))


def line_spans(text: str) -> list[tuple[int, int]]:
    """Spans of all lines, without their ends."""
    spans, start = [], 0
    for line in text.split("\n"):
        spans.append((start, start + len(line)))
        start += len(line) + 1
    return spans


def parse(data: bytes) -> Parsed:
    """Read a text file: no title, no headings, no front matter. One that seems to have an access list is refused."""
    text = without_access_list(decode(data))
    blocks = []
    for filled, group in groupby(line_spans(text), key=lambda span: bool(text[slice(*span)].strip())):
        if filled:
            lines = list(group)
            blocks.append(Block(start=lines[0][0], end=lines[-1][1]))
    return Parsed(text=text, blocks=tuple(blocks))
