"""JSON: every value on a line with the keys that lead to it; objects stand as blocks below the key they belong to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import from_json

from quarterdeck.core.errors import InvalidInput, TooLarge
from quarterdeck.knowledge.parsers.base import Parsed
from quarterdeck.knowledge.parsers.compose import Composition
from quarterdeck.knowledge.parsers.front_matter import without_access_list
from quarterdeck.knowledge.parsers.text import decode

__all__ = ["parse"]

MAX_DEPTH = 64
MAX_VALUES = 200_000
_TITLES = ("title", "name")


def parse(data: bytes) -> Parsed:
    """Read a JSON document: strictly, without NaN and infinity."""
    text = decode(data)
    _check_depth(text)
    try:
        value = from_json(text, allow_inf_nan=False, cache_strings="none")
    except ValueError as error:
        raise InvalidInput(f"no valid JSON: {error}") from error
    made = Composition()
    if isinstance(value, Mapping):
        for key in value:
            without_access_list(f"{key}:")
        made.title = next((value[key] for key in _TITLES if isinstance(value.get(key), str)), "")
    _write(made, value)
    return made.finish()


def _check_depth(text: str) -> None:
    """Before any parser walks into it, and without walking: brackets that stand outside of strings are counted."""
    depth = 0
    inside = escaped = False
    for char in text:
        if inside:
            inside = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char == '"':
            inside = True
        elif char in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise TooLarge(f"nested deeper than {MAX_DEPTH}")
        elif char in "]}":
            depth -= 1


def _write(made: Composition, value: Any) -> None:
    """The plain values of the whole first, then each part below its key; items of a list are blocks of their own."""
    written = 0
    for key, part in _parts(value):
        made.below(1, key)
        lines = []
        for path, leaf in _leaves(part):
            written += 1
            if written > MAX_VALUES:
                raise TooLarge(f"more than {MAX_VALUES} values")
            lines.append(f"{path}: {leaf}" if path else leaf)
        made.lines("\n".join(lines))


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield "", {key: part for key, part in value.items() if not isinstance(part, (Mapping, list))}
        for key, part in value.items():
            if isinstance(part, list):
                yield from ((key, item) for item in part)
            elif isinstance(part, Mapping):
                yield key, part
    elif isinstance(value, list):
        yield from (("", item) for item in value)
    else:
        yield "", value


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _leaves(part, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for part in value:
            yield from _leaves(part, path)
    elif isinstance(value, bool):
        yield path, "true" if value else "false"
    elif value is not None and value != "":
        yield path, str(value)
