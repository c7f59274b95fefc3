"""Fills an output schema by extraction; where nothing was found it takes the plainest value the schema allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from quarterdeck.models.base import ToolSpec
from quarterdeck.models.simulation.arguments import Material, fill
from quarterdeck.models.simulation.asks import Ask, Kind, read_asks
from quarterdeck.models.simulation.enums import neutral_value
from quarterdeck.models.simulation.profiles import Parameter, Profile, parameters_of, resolve
from quarterdeck.models.simulation.words import Words

__all__ = ["Facts", "structured"]

_ANSWER = frozenset("answer text response reply final output 回答 答案".split())
_SOURCES = frozenset("sources source citations citation references source_ids passages 来源 引用".split())
_FORMATS = MappingProxyType(
    {
        "date": "1970-01-01",
        "date-time": "1970-01-01T00:00:00Z",
        "time": "00:00:00Z",
        "email": "unknown@example.invalid",
        "uri": "about:blank",
        "uuid": "00000000-0000-0000-0000-000000000000",
        "duration": "PT0S",
    }
)
_DEEPEST = 6
_LONGEST = 400  # characters of our own words in a field nothing else is known about


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What there is to fill a schema from.

    Attributes:
        answer: The reply in words, with markers; `plain` the same without, or the question itself if nothing answers it.
        cited: Ids of the passages it rests on.
        results: Decoded results of tools, oldest first.
        needs_review: A write waits, or nothing was found.
    """

    question: str
    answer: str
    plain: str
    cited: tuple[str, ...]
    results: tuple[Any, ...]
    tools: tuple[str, ...]
    needs_review: bool


def structured(schema: Mapping[str, Any], facts: Facts) -> Any:
    """A value valid for `schema`."""
    return _value(resolve(schema, schema), "answer", facts, facts.results, 0)


def _value(schema: Mapping[str, Any], name: str, facts: Facts, results: Sequence[Any], depth: int) -> Any:
    if depth > _DEEPEST:
        return _plainest(schema)
    if _is_object(schema):
        return _object(schema, facts, results, depth)
    wrapped = parameters_of({"properties": {name: schema}, "required": [name], "$defs": schema.get("$defs", {})})[0]
    return _property(wrapped, facts, results, {}, depth)


def _object(schema: Mapping[str, Any], facts: Facts, results: Sequence[Any], depth: int) -> dict[str, Any]:
    parameters = parameters_of(schema)
    found = _extracted(schema, facts, results)
    filled = {}
    for parameter in parameters:
        value = _property(parameter, facts, results, found, depth)
        if value is not None or parameter.required:
            filled[parameter.name] = value
    return filled


def _property(parameter: Parameter, facts: Facts, results: Sequence[Any], found: Mapping[str, Any], depth: int) -> Any:
    schema = parameter.schema
    if "const" in schema:
        return schema["const"]
    judged = _judged(parameter, facts)
    if judged is not None:
        return judged
    if _is_object(schema):
        inner = next(
            (row[parameter.name] for row in reversed(results) if isinstance(row, Mapping) and parameter.name in row), None
        )
        return _value(schema, parameter.name, facts, [inner] if isinstance(inner, Mapping) else results, depth + 1)
    if schema.get("type") == "array" and (rows := _array(parameter, facts, results, depth)) is not None:
        return rows
    if parameter.name in found:
        return found[parameter.name]
    if parameter.nullable:
        return None
    if not parameter.required and "default" in schema:
        return schema["default"]
    if schema.get("type") == "string" and "format" not in schema and "enum" not in schema and parameter.pattern is None:
        return _sized(facts.plain[:_LONGEST], schema)
    return _plainest(schema)


def _judged(parameter: Parameter, facts: Facts) -> Any:
    """Fields that speak of the answer itself: its words, its sources, how sure it is."""
    name, kind = parameter.name.lower(), parameter.type
    if kind == "string" and name in _ANSWER and "enum" not in parameter.schema:
        return _sized(facts.answer, parameter.schema)
    if name in _SOURCES and kind == "array" and _items(parameter).get("type") == "string":
        return list(facts.cited)
    if name in ("tool_calls", "tools_used", "tools") and kind == "array" and _items(parameter).get("type") == "string":
        return list(facts.tools)
    if name == "needs_human_review" and kind == "boolean":
        return facts.needs_review
    if name == "confidence":
        if "enum" in parameter.schema:
            level = "medium" if facts.cited else "low"
            return next((value for value in parameter.schema["enum"] if str(value).lower() == level), None)
        return {"number": 0.6 if facts.cited else 0.2}.get(kind)
    return None


def _extracted(schema: Mapping[str, Any], facts: Facts, results: Sequence[Any]) -> dict[str, Any]:
    """Values found under the names of the schema: in results of tools first, then in what was said."""
    profile = Profile(ToolSpec(name="", description="", input_schema=schema))
    found: dict[str, Any] = {}
    for parameter in profile.parameters:
        for row in reversed(results):
            value = row.get(parameter.name) if isinstance(row, Mapping) else None
            if value is not None and _is_kind(value, parameter):
                found[parameter.name] = value
                break
    asks = read_asks(facts.question) or (Ask(facts.question, Kind.STATEMENT),)
    material = Material(
        ask=asks[0],
        asks=asks,
        question=facts.question,
        carried="",
        sources=(Words(facts.plain), Words(facts.question)),
        results=(),
    )
    said = fill(profile, material)[0]
    assumed = {parameter.name for parameter in said.missing}
    return {name: value for name, value in said.args.items() if name not in assumed} | found


def _array(parameter: Parameter, facts: Facts, results: Sequence[Any], depth: int) -> list[Any] | None:
    items = _items(parameter)
    if not _is_object(items):
        return None
    rows: list[Any] = []
    for value in results:
        inner = value.get(parameter.name) if isinstance(value, Mapping) else value
        rows += [row for row in inner if isinstance(row, Mapping)] if isinstance(inner, list) else []
    least = int(parameter.schema.get("minItems", 0))
    most = int(parameter.schema.get("maxItems", 50))
    filled = [_value(items, parameter.name, facts, [row], depth + 1) for row in rows[:most]]
    while len(filled) < least:
        filled.append(_value(items, parameter.name, facts, (), depth + 1))
    return filled


def _items(parameter: Parameter) -> Mapping[str, Any]:
    items = parameter.schema.get("items")
    return resolve(items, parameter.schema) if isinstance(items, Mapping) else {"type": "string"}


def _is_object(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "object" or "properties" in schema


def _is_kind(value: Any, parameter: Parameter) -> bool:
    if "enum" in parameter.schema:
        return value in parameter.schema["enum"]
    match parameter.type:
        case "string":
            return isinstance(value, str) and parameter.admits(value)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "array":
            inner = _items(parameter).get("type")
            return isinstance(value, list) and all(isinstance(item, str) == (inner == "string") for item in value)
    return False


def _sized(text: str, schema: Mapping[str, Any]) -> str:
    text = text[: int(schema.get("maxLength", len(text)))]
    return text + "-" * (int(schema.get("minLength", 0)) - len(text))


def _plainest(schema: Mapping[str, Any], depth: int = 0) -> Any:
    if "default" in schema or "enum" in schema or "const" in schema:
        return neutral_value(schema)
    match schema.get("type"):
        case "integer" | "number":
            low = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
            high = schema.get("maximum", schema.get("exclusiveMaximum", 1) - 1)
            return min(max(low, 0), high) if high < 0 else max(low, 0)
        case "boolean":
            return False
        case "array":
            least = int(schema.get("minItems", 0))
            items = schema.get("items")
            return [_plainest(resolve(items, schema), depth + 1) if isinstance(items, Mapping) else ""] * least
        case "object" if depth < _DEEPEST:
            return {p.name: _plainest(p.schema, depth + 1) for p in parameters_of(schema) if p.required}
        case "object":
            return {}
        case "null":
            return None
    return _sized(_FORMATS.get(str(schema.get("format")), ""), schema)
