"""What each field of a tool's result is: filled by our own system, or by whoever writes to it.

A declaration names fields by their path, such as ``holder.name``; lists are looked through, and what stands below a field is
what the field is. A key that is spelled like a path is none. A result that is no JSON has no fields, so nothing of it is
better than the tool's results are as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from quarterdeck.core.labels import PUBLIC, Readers
from quarterdeck.core.tools import FieldKind
from quarterdeck.policy.base import ToolPolicy

__all__ = ["grounding_texts", "of_fields", "parsed"]

_KINDS_OF_NAMES = ("user:", "group:", "tenant:")
_Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A value in a result. Attributes: kind: What its field was declared as, None for one that was not."""

    kind: FieldKind | None
    value: Any


def parsed(text: str) -> Any:
    """The object or list that `text` is; None where it is neither, or names a field twice and so has two readings."""
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a field is named twice")
    return found


def of_fields(text: str, entry: ToolPolicy, user: str) -> tuple[bool, Readers]:
    """Whether no outsider wrote any of a result, and who may read it: whoever asked, and whom its fields for that name."""
    value = parsed(text)
    if value is None:
        mixed = "untrusted" in entry.fields.values()
        return entry.result_trusted and not mixed, PUBLIC if entry.result_public else Readers.of(user)
    trusted = all(_is_trusted(leaf, entry) for leaf in _leaves(value, entry))
    if entry.result_public or "readers" not in entry.fields.values():
        return trusted, PUBLIC if entry.result_public else Readers.of(user)
    readers = PUBLIC
    for item in value if isinstance(value, list) else [value]:
        readers = readers.meet(Readers.of(user, *_named_readers(item, entry.fields)))
    return trusted, readers


def grounding_texts(text: str, entry: ToolPolicy) -> tuple[str, ...]:
    """What of a resolver's result may ground arguments: what no outsider wrote."""
    if not entry.fields:
        return (text,)
    value = parsed(text)
    leaves = () if value is None else _leaves(value, entry)
    return tuple(str(leaf.value) for leaf in leaves if _is_trusted(leaf, entry) and not isinstance(leaf.value, bool))


def _is_trusted(leaf: _Leaf, entry: ToolPolicy) -> bool:
    return leaf.kind == "trusted" or (leaf.kind != "untrusted" and entry.result_trusted)


def _leaves(value: Any, entry: ToolPolicy) -> Iterator[_Leaf]:
    """Every value that says something, with what its field is. A key nobody declared is a value too: somebody chose it."""
    return _walk(value, (), None, {tuple(path.split(".")): kind for path, kind in entry.fields.items()})


def _walk(value: Any, path: _Path, kind: FieldKind | None, declared: Mapping[_Path, FieldKind]) -> Iterator[_Leaf]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            inner = (*path, key)
            if not any(each[: len(inner)] == inner for each in declared):
                yield _Leaf(kind, key)
            yield from _walk(item, inner, declared.get(inner, kind), declared)
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item, path, kind, declared)
    elif value is not None and value != "":
        yield _Leaf(kind, value)


def _named_readers(value: Any, declared: Mapping[str, FieldKind]) -> tuple[str, ...]:
    """Who may read one item of a result, by its fields for that: an address or id is a user's, unless it says what it is."""
    paths = [path for path, kind in declared.items() if kind == "readers"]
    found = (name for path in paths for name in _names(_at(value, path.split("."))))
    return tuple(name if name.startswith(_KINDS_OF_NAMES) else f"user:{name}" for name in found)


def _at(value: Any, path: list[str]) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _at(item, path)
    elif not path:
        yield value
    elif isinstance(value, Mapping) and path[0] in value:
        yield from _at(value[path[0]], path[1:])


def _names(values: Iterator[Any]) -> Iterator[str]:
    for value in values:
        for name in value if isinstance(value, Mapping) else (value,):
            if isinstance(name, str) and name.strip():
                yield name.strip().lower()
