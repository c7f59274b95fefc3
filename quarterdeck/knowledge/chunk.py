"""Cuts a document into chunks along its structure: headings, blocks, sentences, and only then anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from quarterdeck.knowledge.analyze import statements
from quarterdeck.knowledge.base import Chunk
from quarterdeck.knowledge.parsers.base import Block
from quarterdeck.knowledge.parsers.text import line_spans

__all__ = ["SPLITTER", "split"]

SPLITTER = "structure/1"  # changes whenever the same text would be cut elsewhere, so that unchanged files are cut again

_BREATH = re.compile(r"[，、；：,;:]\s*|\s+")


def split(text: str, blocks: Sequence[Block], *, size: int = 800, overlap: int = 0) -> list[Chunk]:
    """Cut `text` into chunks of at most `size` characters that never cross a heading.

    Args:
        blocks: The structure a parser found, in order.
        size: Characters. A table or piece of code is cut only if it is longer than this by itself.
        overlap: Characters of the chunk before that may be repeated, in whole sentences or lines, within one section.

    Returns:
        Chunks in order; ``text[chunk.start:chunk.end] == chunk.text``, none blank.
    """
    chunks: list[Chunk] = []
    for path, section in groupby(blocks, key=lambda block: block.heading_path):
        atoms = [atom for block in section for atom in _atoms(text, block, size)]
        chunks += (
            Chunk(text=text[start:end], start=start, end=end, heading_path=path)
            for start, end in _pack(atoms, size, overlap)
        )
    return chunks


def _atoms(text: str, block: Block, size: int) -> Iterator[tuple[int, int]]:
    """Spans of at most `size` characters that are only joined, never cut."""
    if block.lines and block.end - block.start <= size:
        yield block.start, block.end
        return
    inside = text[block.start : block.end]
    pieces = line_spans(inside) if block.lines else statements(inside)
    for left, right in pieces:
        yield from _cut(text, block.start + left, block.start + right, size)


def _cut(text: str, start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """A sentence or line that is too long, cut at its last comma or space that fits, or at `size`."""
    while end - start > size:
        breaths = [match.end() for match in _BREATH.finditer(text, start, start + size)]
        # A comma near the very beginning would leave a crumb.
        stop = breaths[-1] if breaths and breaths[-1] > start + size // 2 else start + size
        right = start + len(text[start:stop].rstrip())
        if right > start:
            yield start, right
        start = stop
    if text[start:end].strip():
        yield start, end


def _pack(atoms: Sequence[tuple[int, int]], size: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Spans from the first to the last of as many neighbouring atoms as fit."""
    first = 0
    for index, (_, end) in enumerate(atoms):
        if end - atoms[first][0] <= size:
            continue
        last_end = atoms[index - 1][1]
        yield atoms[first][0], last_end
        repeated = index
        while repeated - 1 > first and last_end - atoms[repeated - 1][0] <= overlap and end - atoms[repeated - 1][0] <= size:
            repeated -= 1
        first = repeated
    if atoms:
        yield atoms[first][0], atoms[-1][1]
