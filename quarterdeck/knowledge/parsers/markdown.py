"""Markdown: headings give the path of what follows; code and tables are marked, so that they are kept whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from quarterdeck.knowledge.parsers.base import Block, Parsed
from quarterdeck.knowledge.parsers.front_matter import split_front_matter
from quarterdeck.knowledge.parsers.text import decode, line_spans

__all__ = ["blocks_of", "parse"]

_HEADING = re.compile(r" {0,3}(#{1,6})(?=[ \t]|\Z)")
_MAX_HEADING = 200  # characters of a heading that are kept in paths
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*\Z")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_TABLE = re.compile(r" {0,3}\|")
_RULE = re.compile(r" {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})\Z")
_MARKUP = re.compile(r"[*_`]+|!?\[([^\]]*)\]\([^)]*\)")


def parse(data: bytes) -> Parsed:
    """Read a Markdown file with optional front matter. The text is what follows the front matter, to the letter.

    A level-one heading that opens the text is the title, and no part of any heading path.
    """
    front, text = split_front_matter(decode(data))
    title, blocks = _structure(text)
    return Parsed(text=text, blocks=tuple(blocks), title=title, front=front)


def blocks_of(text: str) -> list[Block]:
    """The structure of Markdown that was read before and stands without its front matter."""
    return _structure(text)[1]


def _structure(text: str) -> tuple[str, list[Block]]:
    """Title and blocks."""
    title = ""
    path: list[tuple[int, str]] = []
    blocks: list[Block] = []
    for kind, level, start, end in _pieces(text):
        if kind != "heading":
            blocks.append(Block(start=start, end=end, heading_path=tuple(name for _, name in path), lines=kind == "lines"))
            continue
        name = _heading_text(text[start:end])
        if level == 1 and not (title or blocks or path):
            title = name
            continue
        path = [(above, other) for above, other in path if above < level]
        path += [(level, name)] if name else []
    return title, blocks


def _heading_text(source: str) -> str:
    first = source.split("\n", 1)[0]
    marks = _HEADING.match(first)
    if marks:
        first = first[marks.end() :].strip()
        closing = first.rstrip("#")
        first = closing if not closing or closing[-1] in " \t" else first
    return _MARKUP.sub(lambda mark: mark[1] or "", first[:_MAX_HEADING]).strip()


def _pieces(text: str) -> Iterator[tuple[str, int, int, int]]:
    """(kind, heading level, start, end) of headings, `lines` (code, tables) and `prose`, in order."""
    lines = line_spans(text)
    index = 0
    while index < len(lines):
        start, end = lines[index]
        line = text[start:end]
        following = text[slice(*lines[index + 1])] if index + 1 < len(lines) else ""
        if not line.strip() or _RULE.match(line):
            index += 1
        elif heading := _HEADING.match(line):
            yield "heading", len(heading[1]), start, end
            index += 1
        elif fence := _FENCE.match(line):
            index = _after_fence(text, lines, index, fence[1])
            yield "lines", 0, start, lines[index - 1][1]
        elif _TABLE.match(line):
            index = _after(text, lines, index, lambda other: _TABLE.match(other) is not None)
            yield "lines", 0, start, lines[index - 1][1]
        elif under := _UNDERLINE.match(following):
            yield "heading", 1 if under[1][0] == "=" else 2, start, lines[index + 1][1]
            index += 2
        else:
            index = _after(text, lines, index, _goes_on)
            yield "prose", 0, start, lines[index - 1][1]


def _after_fence(text: str, lines: list[tuple[int, int]], index: int, mark: str) -> int:
    """The line after a fenced block; one that is never closed runs to the end, as CommonMark has it."""
    for later in range(index + 1, len(lines)):
        line = text[slice(*lines[later])].strip()
        if line.startswith(mark) and not line.strip(mark[0]):
            return later + 1
    return len(lines)


def _after(text: str, lines: list[tuple[int, int]], index: int, goes_on: Callable[[str], bool]) -> int:
    later = index + 1
    while later < len(lines) and goes_on(text[slice(*lines[later])]):
        later += 1
    return later


def _goes_on(line: str) -> bool:
    return bool(line.strip()) and not (_HEADING.match(line) or _FENCE.match(line) or _TABLE.match(line) or _RULE.match(line))
