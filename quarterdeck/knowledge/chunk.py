"""Cuts a document into chunks along its structure: headings, blocks, sentences, and only then anywhere."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from quarterdeck.knowledge.analyze import statements
from quarterdeck.knowledge.base import Chunk
from quarterdeck.knowledge.parsers.base import Block
from quarterdeck.knowledge.parsers.text import line_spans

__all__ = ["SPLITTER", "Measure", "split"]

SPLITTER = "structure/1"  # changes whenever the same text would be cut elsewhere, so that unchanged files are cut again

Measure = Callable[[str], int]
"""How large a text is: `len` for characters, an estimate for tokens. A longer beginning of a text is never smaller."""

_LONGEST = 16  # characters of a token; what is longer than so many for each is not measured to know that it does not fit
_BREATH = re.compile(r"[，、；：,;:]\s*|\s+")


def split(text: str, blocks: Sequence[Block], *, size: int = 800, overlap: int = 0, measure: Measure = len) -> list[Chunk]:
    """Cut `text` into chunks of at most `size` that never cross a heading.

    Args:
        blocks: The structure a parser found, in order.
        size: As `measure` has it. A table or piece of code is cut only if it is larger than this by itself.
        overlap: How much of the chunk before may be repeated, in whole sentences or lines, within one section.
        measure: Counts characters, or tokens.

    Returns:
        Chunks in order; ``text[chunk.start:chunk.end] == chunk.text``, none blank.
    """
    cutting = _Cutting(text, size, overlap, measure)
    chunks: list[Chunk] = []
    for path, section in groupby(blocks, key=lambda block: block.heading_path):
        atoms = [atom for block in section for atom in cutting.atoms(block)]
        chunks += (
            Chunk(text=text[start:end], start=start, end=end, heading_path=path) for start, end in cutting.pack(atoms)
        )
    return chunks


class _Cutting:
    """One text, and how large a piece of it may be."""

    def __init__(self, text: str, size: int, overlap: int, measure: Measure) -> None:
        self._text = text
        self._size = size
        self._overlap = overlap
        self._measure = measure
        self._longest = size * _LONGEST

    def atoms(self, block: Block) -> Iterator[tuple[int, int]]:
        """Spans that fit and are only joined, never cut."""
        if block.lines and self._fits(block.start, block.end):
            yield block.start, block.end
            return
        inside = self._text[block.start : block.end]
        pieces = line_spans(inside) if block.lines else statements(inside)
        for left, right in pieces:
            yield from self._cut(block.start + left, block.start + right)

    def pack(self, atoms: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Spans from the first to the last of as many neighbouring atoms as fit."""
        first = 0
        for index, (_, end) in enumerate(atoms):
            if self._fits(atoms[first][0], end):
                continue
            last_end = atoms[index - 1][1]
            yield atoms[first][0], last_end
            repeated = index
            while repeated - 1 > first and self._may_repeat(atoms[repeated - 1][0], last_end, end):
                repeated -= 1
            first = repeated
        if atoms:
            yield atoms[first][0], atoms[-1][1]

    def _may_repeat(self, start: int, last_end: int, end: int) -> bool:
        return self._of(start, last_end) <= self._overlap and self._fits(start, end)

    def _cut(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """A sentence or line that is too long, cut at its last comma or space that fits, or where nothing more fits."""
        while not self._fits(start, end):
            most = self._most(start, end)
            breaths = [match.end() for match in _BREATH.finditer(self._text, start, most)]
            # A comma near the very beginning would leave a crumb.
            stop = breaths[-1] if breaths and breaths[-1] > start + (most - start) // 2 else most
            right = start + len(self._text[start:stop].rstrip())
            if right > start:
                yield start, right
            start = stop
        if self._text[start:end].strip():
            yield start, end

    def _most(self, start: int, end: int) -> int:
        """Where the largest piece from `start` that fits ends; it has one character at least."""
        if self._measure is len:
            return start + self._size
        stops = range(start + 1, min(end, start + self._longest) + 1)
        return start + max(1, bisect_right(stops, self._size, key=lambda stop: self._of(start, stop)))

    def _fits(self, start: int, end: int) -> bool:
        return end - start <= self._longest and self._of(start, end) <= self._size

    def _of(self, start: int, end: int) -> int:
        return end - start if self._measure is len else self._measure(self._text[start:end])
