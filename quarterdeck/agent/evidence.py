"""Where the values of a proposed call come from, so that whoever decides sees facts and not the model's account of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from quarterdeck.agent.state import RunState
from quarterdeck.core.decisions import Evidence, Origin
from quarterdeck.core.labels import Integrity, Label
from quarterdeck.core.messages import ToolCall
from quarterdeck.core.tools import Tool
from quarterdeck.policy.grounding import Ground, names_something

__all__ = ["evidence_of"]

_MOST = 64  # values that are traced
_LOOKED_AT = 64  # newest results and passages they are looked for in
_VALUE = 200
_AROUND = 80  # characters of a snippet on each side


@dataclass(frozen=True, slots=True)
class _Source:
    name: str
    text: str
    label: Label
    ground: Ground


def evidence_of(state: RunState, call: ToolCall, tool: Tool) -> tuple[Evidence, ...]:
    """One entry for each value in the arguments, in their order, bounded."""
    words = Ground(state.words)
    sources = _sources(state)
    properties = tool.input_schema.get("properties", {})
    found: list[Evidence] = []
    for name, value in call.args.items():
        default = properties.get(name, {})
        for path, leaf in _leaves(name, value):
            if len(found) == _MOST:
                return tuple(found)
            if not isinstance(leaf, bool) and not names_something(leaf):
                continue
            if "default" in default and default["default"] == value:
                found.append(_evidence(path, leaf, "default"))
            else:
                found.append(_traced(path, leaf, words, sources))
    return tuple(found)


def _traced(path: str, leaf: Any, words: Ground, sources: list[_Source]) -> Evidence:
    if isinstance(leaf, bool):  # a truth value stands everywhere
        return _evidence(path, leaf, "model")
    if words.holds(leaf):
        return _evidence(path, leaf, "words")
    for source in sources:
        if source.ground.holds(leaf):
            return _evidence(path, leaf, _origin(source.label), source)
    return _evidence(path, leaf, "model")


def _sources(state: RunState) -> list[_Source]:
    """What the model was told, what can be trusted first; of equal trust the newest first."""
    told = [
        (f"{result.name} ({result.call_id})", result.text, result.label) for result in state.results if not result.passages
    ]
    told += [(passage.id, passage.text, passage.label) for passage in state.passages.values()]
    newest = [_Source(name, text, label, Ground((text,))) for name, text, label in reversed(told[-_LOOKED_AT:])]
    return sorted(newest, key=lambda source: source.label.integrity)


def _origin(label: Label) -> Origin:
    return "untrusted" if label.integrity is Integrity.UNTRUSTED else "record"


def _evidence(path: str, leaf: Any, origin: Origin, source: _Source | None = None) -> Evidence:
    value = str(leaf)[:_VALUE]
    if source is None:
        return Evidence(argument=path, value=value, origin=origin)
    at = max(source.text.casefold().find(value.casefold()), 0)
    snippet = source.text[max(at - _AROUND, 0) : at + len(value) + _AROUND]
    return Evidence(
        argument=path, value=value, origin=origin, source=source.name, snippet=snippet, readers=source.label.readers
    )


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(f"{path}.{key}", inner)
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            yield from _leaves(f"{path}[{position}]", inner)
    else:
        yield path, value
