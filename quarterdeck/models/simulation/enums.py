"""Picks among the values a schema lists."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from quarterdeck.models.simulation.language import concepts, spaced, stem

__all__ = ["choose_value", "matching_values", "neutral_value"]

_NEUTRAL = (
    "medium",
    "normal",
    "moderate",
    "standard",
    "default",
    "regular",
    "general",
    "other",
    "none",
    "any",
    "中",
    "普通",
    "一般",
    "其他",
)
# What people say for the ends of a scale: urgency, size, quality.
_SCALE = MappingProxyType(
    {
        "high": r"\burgent(?:ly)?\b|\basap\b|\bimmediate(?:ly)?\b|\bcritical\b|\bemergency\b|\bblock(?:ed|ing)\b|"
        r"紧急|马上|立刻|尽快|严重|加急",
        "low": r"\bnot urgent\b|\bno (?:rush|hurry)\b|\bwhenever\b|\blow[- ]priority\b|\bminor\b|不急|不紧急|有空",
    }
)
_ENDS = MappingProxyType(
    {"high": ("urgent", "critical", "high", "p1", "1", "紧急", "高"), "low": ("low", "minor", "p4", "低")}
)


def choose_value(schema: Mapping[str, Any], text: str, ignore: frozenset[str] = frozenset()) -> Any | None:
    """The listed value the text speaks of most, None if it speaks of none.

    Args:
        ignore: Concepts that stand in the text for another reason, such as its verb.
    """
    found = matching_values(schema, text, ignore)
    return found[0] if found else None


def matching_values(schema: Mapping[str, Any], text: str, ignore: frozenset[str] = frozenset()) -> list[Any]:
    """The listed values the text speaks of: those named, else those whose explanation in the description fits."""
    values = _values(schema)
    lowered = text.lower()
    present = frozenset(concepts(text)) - ignore
    by_end = _by_scale(values, lowered)
    if by_end is not None:
        return [by_end]
    named = []
    for value in values:
        written = spaced(str(value)).lower()
        own = frozenset(concepts(written)) or frozenset({stem(written)})
        at = _position(written, lowered)
        if (at is not None and not own & ignore) or (own and own <= present):
            named.append((at if at is not None else len(lowered), value))
    if named:
        return [value for _, value in sorted(named, key=lambda pair: pair[0])]
    glosses = _glosses(values, str(schema.get("description", "")))
    scored = [(len(gloss & present), value) for value, gloss in zip(values, glosses, strict=True)]
    best = max((score for score, _ in scored), default=0)
    return [next(value for score, value in scored if score == best)] if best else []


def neutral_value(schema: Mapping[str, Any]) -> Any:
    """What to take when nothing was said: the default, else a neutral value, else the first."""
    if "default" in schema:
        return schema["default"]
    values = _values(schema)
    lowered = {str(value).lower(): value for value in values}
    return next((lowered[word] for word in _NEUTRAL if word in lowered), values[0] if values else None)


def _values(schema: Mapping[str, Any]) -> Sequence[Any]:
    return [schema["const"]] if "const" in schema else [value for value in schema.get("enum", ()) if value is not None]


def _position(written: str, lowered: str) -> int | None:
    if not written.isascii():
        at = lowered.find(written)
        return at if at >= 0 else None
    match = re.search(rf"(?<![\w-]){re.escape(written)}(?![\w-])", lowered) if len(written) > 1 else None
    return match.start() if match else None


def _by_scale(values: Sequence[Any], lowered: str) -> Any | None:
    by_name = {str(value).lower(): value for value in values}
    if not ({"high", "low", "urgent", "高", "低", "紧急"} & by_name.keys()):
        return None
    for end in ("low", "high"):
        if re.search(_SCALE[end], lowered) and not (end == "high" and re.search(r"\bnot (?:that )?urgent|不紧急", lowered)):
            exact = next((value for name, value in by_name.items() if _position(name, lowered) is not None), None)
            return (
                exact
                if exact is not None and end == "high"
                else next((by_name[w] for w in _ENDS[end] if w in by_name), None)
            )
    return None


def _glosses(values: Sequence[Any], description: str) -> list[frozenset[str]]:
    """What the description says about each value: the text from its name to the next name or the end of the phrase."""
    lowered = description.lower()
    places = [_position(str(value).lower(), lowered) for value in values]
    stops = [*sorted(place for place in places if place is not None), len(lowered)]
    found = []
    for value, place in zip(values, places, strict=True):
        if place is None:
            found.append(frozenset[str]())
            continue
        begin = place + len(str(value))
        end = next(stop for stop in stops if stop > place)
        found.append(frozenset(concepts(re.split(r"[;；。]", lowered[begin:end])[0])))
    return found
