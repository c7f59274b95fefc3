"""Puts a text together from the pieces a parser finds, so that every block is exactly its span in it."""

from __future__ import annotations

import re

from quarterdeck.core.errors import TooLarge
from quarterdeck.core.text import without_hidden
from quarterdeck.knowledge.parsers.base import Block, Parsed
from quarterdeck.knowledge.parsers.front_matter import without_access_list

__all__ = ["MAX_HEADING", "Composition"]

MAX_CHARS = 10_000_000  # of the text of one document
MAX_BLOCKS = 200_000  # of one document: each takes some 400 bytes in the process that reads it
MAX_HEADING = 200  # characters of a heading that are kept in paths

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_BLANK = re.compile(r"[^\S\n]+")


class Composition:
    """A text that grows piece by piece, each a paragraph of its own.

    Attributes:
        title: What the document calls itself; empty until a parser finds out.
    """

    def __init__(self) -> None:
        self.title = ""
        self._pieces: list[str] = []
        self._length = 0
        self._blocks: list[Block] = []
        self._path: list[tuple[int, str]] = []
        self._warnings: list[str] = []

    def heading(self, level: int, text: str) -> None:
        """What follows stands below `text`, until a heading of the same or a higher level (1 is the highest)."""
        name = _one_line(text)
        self.below(level, name)
        if name:
            self._add(name)

    def below(self, level: int, text: str) -> None:
        """As `heading`, where the words are no part of the text itself, such as the number of a page."""
        name = _one_line(text)[:MAX_HEADING]
        self._path = [(above, other) for above, other in self._path if above < level]
        self._path += [(level, name)] if name else []

    def prose(self, text: str) -> None:
        """A paragraph or list, which sentences may cut."""
        self._block(text, lines=False)

    def lines(self, text: str) -> None:
        """A table or piece of code, which only line ends may cut."""
        self._block(text, lines=True)

    def warn(self, text: str) -> None:
        """Tell whoever brought the document in."""
        self._warnings.append(text)

    def finish(self) -> Parsed:
        """All of it. Raises InvalidInput if it begins like an access list, which nothing would read here."""
        return Parsed(
            text=without_access_list("".join(self._pieces)),
            blocks=tuple(self._blocks),
            title=_one_line(self.title)[:MAX_HEADING],
            warnings=tuple(self._warnings),
        )

    def _block(self, text: str, *, lines: bool) -> None:
        kept = _clean(text, lines=lines)
        if kept:
            start, end = self._add(kept)
            path = tuple(name for _, name in self._path)
            self._blocks.append(Block(start=start, end=end, heading_path=path, lines=lines))
            if len(self._blocks) > MAX_BLOCKS:
                raise TooLarge(f"more than {MAX_BLOCKS:,} paragraphs and rows")

    def _add(self, text: str) -> tuple[int, int]:
        if self._pieces:
            self._pieces.append("\n\n")
            self._length += 2
        start = self._length
        self._pieces.append(text)
        self._length += len(text)
        if self._length > MAX_CHARS:
            raise TooLarge(f"its text is longer than {MAX_CHARS // 1_000_000} million characters")
        return start, self._length


def _one_line(text: str) -> str:
    return " ".join(_clean(text, lines=False).split())


def _clean(text: str, *, lines: bool) -> str:
    """`text` without what nobody sees; the blanks inside its lines are kept where `lines` are."""
    seen = _CONTROLS.sub("", without_hidden(text.replace("\r\n", "\n").replace("\r", "\n")))
    if lines:
        return "\n".join(line.rstrip() for line in seen.split("\n") if line.strip())
    return "\n".join(kept for line in seen.split("\n") if (kept := _BLANK.sub(" ", line).strip()))
