"""Values in a text that could be the argument of one parameter: by pattern, by example, by the words around them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from quarterdeck.models.simulation.language import spaced
from quarterdeck.models.simulation.profiles import Parameter, Profile, Slot
from quarterdeck.models.simulation.words import Found, Words, shape_of

__all__ = ["dates", "fits", "ids", "names_id", "numbers", "stated"]

_END = frozenset("end to until return checkout out due arriv back finish stop".split())
_BEFORE_END = frozenset("to until till through by return end due and".split())
_LIMIT = frozenset("limit count top max size n number result".split())
_FIRST = frozenset("last first top latest recent newest maximum most".split())
_COUNTED = frozenset("number no id account order ticket invoic room flight tabl case user custom employe".split())


def names_id(profile: Profile, words: Words) -> bool:
    """True if the text holds an id that by pattern or example can only be meant for this tool."""
    return any(
        (parameter.pattern is not None or parameter.shapes)
        and parameter.slot is Slot.ID
        and any(ids(parameter, words, strict=True))
        for parameter in profile.parameters
    )


def stated(parameter: Parameter, words: Words) -> Iterator[Found]:
    """An id given under the parameter's name, whatever its shape: "the song id is wj_roar"."""
    if parameter.type != "string":
        return
    name = r"[\s_-]*".join(re.escape(word) for word in spaced(parameter.name).lower().split())
    for match in re.finditer(rf"{name}\s*(?:is|=|:|：|是|为)\s*[\"'“]?([\w-]+)", words.text, re.IGNORECASE):
        if parameter.admits(match[1]):
            yield Found(match[1], match.start(1), match.end(1))


def ids(parameter: Parameter, words: Words, *, strict: bool, nouns: frozenset[str] = frozenset()) -> Iterator[Found]:
    """Ids for the parameter. Not `strict`: ids of another shape than its examples, and numbers out of context."""
    if parameter.type in ("integer", "number"):
        for item in words.numbers:
            if isinstance(item.value, int) and (not strict or _in_context(item, words, parameter.terms | nouns)):
                yield item
        return
    digits = [Found(str(item.value), item.start, item.end) for item in words.numbers if isinstance(item.value, int)]
    for item in sorted([*words.ids, *digits], key=lambda found: found.start):
        value = str(item.value)
        if parameter.pattern is not None:
            fitting = next((form for form in (value, value.upper(), value.lower()) if parameter.admits(form)), None)
            if fitting is not None:
                yield Found(fitting, item.start, item.end)
        elif parameter.shapes:
            if shape_of(value) in parameter.shapes or not strict:
                prefix = shape_of(value)[0] if strict else ""
                yield Found(prefix + value[len(prefix) :], item.start, item.end)
        elif not strict or not value.isdigit() or _in_context(item, words, parameter.terms | nouns | _COUNTED):
            yield item


def numbers(parameter: Parameter, words: Words, *, strict: bool) -> Iterator[Found]:
    """Numbers for the parameter; `strict`: only those whose neighbours speak of it."""
    whole = parameter.type == "integer"
    for item in words.numbers:
        if whole and not float(item.value).is_integer():
            continue
        if strict:
            near = set(words.before(item)) | set(words.after(item))
            unit = set(words.after(item)) & parameter.about
            written = words.text[item.end : item.end + 2] + words.text[max(0, item.start - 1) : item.start]
            if parameter.terms & _LIMIT and (set(words.before(item, 2)) & _FIRST or "最近" in words.text):
                near |= parameter.terms
            money = "amount" in parameter.terms and any(sign in written for sign in "$€£¥元块")
            if not (near & parameter.terms or unit or money or (words.chinese and _chinese_unit(parameter, words, item))):
                continue
        yield Found(int(item.value) if whole else item.value, item.start, item.end)


def _chinese_unit(parameter: Parameter, words: Words, item: Found) -> bool:
    unit = words.text[item.end : item.end + 1]
    names = {
        "天": {"day"},
        "人": {"people", "person", "guest"},
        "月": {"month"},
        "年": {"year"},
        "元": {"amount"},
        "份": {"quantity"},
    }
    return bool(names.get(unit, set()) & parameter.terms) or (
        len(unit) == 1 and unit in str(parameter.schema.get("description", ""))
    )


def dates(parameter: Parameter, words: Words, *, strict: bool) -> Iterator[Found]:
    """Days for the parameter; `strict`: for the end of a span only what stands behind "to" or "until"."""
    exact = parameter.schema.get("format") is not None or parameter.slot is Slot.MOMENT
    found = words.dates if exact or words.dates else words.relative_dates
    ends = bool(parameter.terms & _END)
    for item in found:
        if (
            strict
            and ends
            and not (set(words.before(item, 2)) & _BEFORE_END or re.search(r"[到至]\s*\Z", words.text[: item.start]))
        ):
            continue
        if parameter.slot is Slot.MOMENT:
            time = words.times[0].value if words.times else "00:00"
            yield Found(f"{item.value}T{time}:00Z", item.start, item.end)
        else:
            yield item


def _in_context(item: Found, words: Words, expected: frozenset[str]) -> bool:
    if words.chinese:
        return True
    return bool(set(words.before(item)) & expected)


def fits(value: Any, schema: Mapping[str, Any]) -> bool:
    """True if the value satisfies the plain rules of the schema: type, bounds, lengths."""
    kind = schema.get("type")
    if isinstance(value, bool) or isinstance(value, str) != (kind not in ("integer", "number", "boolean")):
        return False
    if isinstance(value, (int, float)):
        if kind == "integer" and not float(value).is_integer():
            return False
        low, high = schema.get("minimum"), schema.get("maximum")
        above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
        return (
            (low is None or value >= low)
            and (high is None or value <= high)
            and (above is None or value > above)
            and (below is None or value < below)
        )
    return int(schema.get("minLength", 0)) <= len(value) <= int(schema.get("maxLength", 100_000))
