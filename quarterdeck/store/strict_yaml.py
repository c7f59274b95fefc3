"""YAML as configuration wants it: plain values, each with its line, and nothing surprising (security rule 33).

Scalars follow the JSON-like core of YAML 1.2: ``no`` is a word and ``10:30`` is a text, where YAML 1.1 would read false and
630. Aliases, tags, merge keys, duplicate keys, keys that are no text and files over 1 MiB are refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quarterdeck.core.errors import Misconfigured

try:
    import yaml
except ImportError as error:
    raise Misconfigured("reading configuration files needs PyYAML: pip install 'quarterdeck[server]'") from error

__all__ = ["MAX_BYTES", "YamlDocument", "read_yaml"]

MAX_BYTES = 1 << 20
_MAX_DEPTH = 64

Path = tuple[str | int, ...]
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,18})\Z")
_FLOAT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)?(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3})?\Z")
_WORDS: Mapping[str, bool | None] = {"": None, "~": None, "null": None, "true": True, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlDocument:
    """What a file says and where it says it.

    Attributes:
        data: dict, list, str, int, float, bool or None; None for an empty file.
        lines: Path of keys and positions → line, from 1.
    """

    data: Any
    source: str
    lines: Mapping[Path, int]

    def line(self, path: Sequence[str | int]) -> int:
        """Line of the value at `path`, or of the nearest thing around it that exists."""
        known = tuple(path)
        while known and known not in self.lines:
            known = known[:-1]
        return self.lines.get(known, 1)

    def place(self, path: Sequence[str | int]) -> str:
        """``file:line`` of the value at `path`."""
        return f"{self.source}:{self.line(path)}"


def read_yaml(text: str, source: str) -> YamlDocument:
    """Read one YAML document; `source` is the file's name in error messages.

    Raises:
        Misconfigured: It is no YAML, or uses what is refused here; one line per problem, each ``file:line: what``.
    """
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise Misconfigured(f"{source}:1: the file is larger than 1 MiB")
    try:
        node = _Composer(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Misconfigured(f"{source}:{mark.line + 1 if mark else 1}: {error.problem or error}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise Misconfigured(f"{source}:{line}: the character U+{ord(text[error.position]):04X} is not allowed") from error
    reader = _Reader(source)
    data = reader.value(node, ()) if node is not None else None
    if reader.problems:
        raise Misconfigured("\n".join(reader.problems))
    return YamlDocument(data=data, source=source, lines=reader.lines)


class _Composer(yaml.SafeLoader):
    """Builds nodes; refuses aliases and tags before they mean anything, and nesting before the interpreter's stack ends."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave the parser untyped
        if isinstance(event, yaml.AliasEvent):
            raise _refused("aliases are not allowed", event)
        if getattr(event, "tag", None) is not None:
            raise _refused(f"tag {event.tag!r} is not allowed", event)
        if self.depth >= _MAX_DEPTH:
            raise _refused(f"nested deeper than {_MAX_DEPTH} levels", event)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def _refused(text: str, event: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=text, problem_mark=event.start_mark)


class _Reader:
    """Turns nodes into plain values, notes their lines and collects what is wrong."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.lines: dict[Path, int] = {}
        self.problems: list[str] = []

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        match node:
            case yaml.MappingNode():
                return {key: self.value(value, (*path, key)) for key, value in self._pairs(node, path)}
            case yaml.SequenceNode():
                return [self.value(item, (*path, position)) for position, item in enumerate(node.value)]
            case yaml.ScalarNode():
                return self._scalar(node)
            case _:
                raise TypeError(f"unknown node {type(node).__name__}")

    def _pairs(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, yaml.Node]]:
        first: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self._problem(key, "a key must be a text")
            elif key.style is None and key.value == "<<":
                self._problem(key, "merge keys are not allowed")
            elif key.value in first:
                self._problem(key, f"key {key.value!r} stands here already, in line {first[key.value]}")
            else:
                first[key.value] = line
                # The key's line: a value of many lines, or none at all, begins somewhere else.
                self.lines[(*path, key.value)] = line
                yield key.value, value

    def _scalar(self, node: yaml.ScalarNode) -> str | int | float | bool | None:
        text: str = node.value
        if node.style is not None:
            return text
        if text.lower() in _WORDS and text in (text.lower(), text.capitalize(), text.upper()):
            return _WORDS[text.lower()]
        if _INT.match(text):
            return int(text)
        if any(mark in text for mark in ".eE") and text[-1:].isdigit() and _FLOAT.match(text):
            return number if math.isfinite(number := float(text)) else text
        return text

    def _problem(self, node: yaml.Node, text: str) -> None:
        self.problems.append(f"{self.source}:{node.start_mark.line + 1}: {text}")
