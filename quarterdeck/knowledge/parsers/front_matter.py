"""Front matter: the lines between two ``---`` at the head of a file that say who may read it and what it is called.

A small, strict part of YAML: ``key: value``, ``key: [a, b]`` and ``key:`` followed by ``- item`` lines, with optional quotes
and comments. Anything else is an error with its line, because a misread access list would open a document. For the same
reason a text that begins with something like an access list outside of front matter is refused.
"""

from __future__ import annotations

import re

from quarterdeck.core.errors import InvalidInput

__all__ = ["split_front_matter", "without_access_list"]

_KEY = re.compile(r"([A-Za-z_][\w-]{0,63}):(?:[ \t]+(.*))?\Z")
_ITEM = re.compile(r"[ \t]*-[ \t]+(.+)\Z")
_COMMENT = re.compile(r"(?:^|[ \t]+)#.*\Z")
_QUOTED = re.compile(r"\"([^\"\\]*)\"|'([^'\\]*)'")
_PLAIN = re.compile(r"[^\s\[\]{}&*!|>%@`\"',#][^\[\]{}\"]*\Z")
_OPEN = re.compile(r"[\s\u200b-\u200f\u2060\ufeff]*?---[ \t]*\n")
_MISPLACED = re.compile(r"[^\w\n]*groups?[^\w\n]*:", re.IGNORECASE)
_LOOKED_AT = 10  # lines of the text in which a misplaced access list is looked for
_MAX_LINE = 1000  # characters; bounds the patterns above on hostile files


def split_front_matter(text: str) -> tuple[dict[str, str | tuple[str, ...]], str]:
    """The front matter of `text`, empty if it has none, and the text after it.

    Raises:
        InvalidInput: It is not closed, a line of it cannot be read, or an access list stands outside of it; the message
            names the line.
    """
    opening = _OPEN.match(text)
    if opening is None:
        return {}, without_access_list(text)
    lines = text[opening.end() :].split("\n")
    try:
        last = next(number for number, line in enumerate(lines) if line.rstrip() == "---")
    except StopIteration:
        raise InvalidInput("line 1: the front matter is not closed by a line '---'") from None
    front = _read(lines[:last], first=2 + text.count("\n", 0, opening.end() - 1))
    rest = "\n".join(lines[last + 1 :])
    return front, rest if "groups" in front else without_access_list(rest)


def without_access_list(text: str) -> str:
    """`text`, unless it begins as if it said who may read it, where nothing reads that. Raises InvalidInput."""
    for line in text.split("\n", _LOOKED_AT)[:_LOOKED_AT]:
        if _MISPLACED.match(line[:_MAX_LINE]):
            why = "put it between two lines '---' at the head of a Markdown file"
            raise InvalidInput(f"{line[:60]!r} looks like an access list outside of front matter: {why}")
        if line.lstrip().startswith("#"):
            break
    return text


def _read(lines: list[str], first: int) -> dict[str, str | tuple[str, ...]]:
    values: dict[str, str | tuple[str, ...]] = {}
    key: str | None = None  # the key whose list items may follow
    for number, line in enumerate(lines, start=first):
        if len(line) > _MAX_LINE:
            raise InvalidInput(f"line {number}: longer than {_MAX_LINE} characters in the front matter")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if key is not None and (item := _ITEM.match(line)):
            before = values[key]
            assert isinstance(before, tuple)
            values[key] = (*before, _scalar(item[1], number))
            continue
        found = _KEY.match(line.rstrip())
        if found is None:
            raise InvalidInput(f"line {number}: expected 'key: value' in the front matter, got {line[:60]!r}")
        if found[1] in values:
            raise InvalidInput(f"line {number}: {found[1]!r} stands twice in the front matter")
        value = (found[2] or "").strip()
        key = None if value and not value.startswith("#") else found[1]
        values[found[1]] = () if key is not None else _value(value, number)
    return values


def _value(text: str, number: int) -> str | tuple[str, ...]:
    if not text.startswith("["):
        return _scalar(text, number)
    inner = _COMMENT.sub("", text).rstrip()
    if not inner.endswith("]"):
        raise InvalidInput(f"line {number}: the list {text[:60]!r} is not closed by ']' on its line")
    items = inner[1:-1].strip().removesuffix(",")
    return tuple(_scalar(item, number) for item in items.split(",")) if items else ()


def _scalar(text: str, number: int) -> str:
    text = text.strip()
    quoted = _QUOTED.match(text)
    if quoted is not None and not _COMMENT.sub("", text[quoted.end() :]).strip():
        return quoted[1] if quoted[1] is not None else quoted[2]
    plain = _COMMENT.sub("", text).strip()
    if not _PLAIN.match(plain):
        raise InvalidInput(f"line {number}: cannot read the value {text[:60]!r}; put it in quotes")
    return plain
