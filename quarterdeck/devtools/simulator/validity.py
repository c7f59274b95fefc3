"""Whether a value satisfies a JSON Schema: what a script says must fit what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from quarterdeck.devtools.simulator.patterns import matches
from quarterdeck.devtools.simulator.references import deref

__all__ = ["problem"]

_TYPES: Mapping[str, tuple[type, ...]] = MappingProxyType(
    {
        "object": (dict,),
        "array": (list,),
        "string": (str,),
        "integer": (int,),
        "number": (int, float),
        "boolean": (bool,),
        "null": (type(None),),
    }
)
_BOUNDS: tuple[tuple[str, Callable[[float, float], bool]], ...] = (
    ("minimum", lambda value, bound: value >= bound),
    ("maximum", lambda value, bound: value <= bound),
    ("exclusiveMinimum", lambda value, bound: value > bound),
    ("exclusiveMaximum", lambda value, bound: value < bound),
    ("multipleOf", lambda value, bound: abs(value / bound - round(value / bound)) < 1e-9),
)


def problem(schema: Any, value: Any, root: Mapping[str, Any] | None = None, path: str = "value") -> str | None:
    """What is wrong with `value`, in words; None if it is valid. Formats are not checked."""
    if schema is True or schema == {}:
        return None
    if not isinstance(schema, Mapping):
        return f"{path}: nothing is allowed here"
    root = schema if root is None else root
    schema = deref(schema, root) if "$ref" in schema else schema
    return (
        _wrong_kind(schema, value, path)
        or _wrong_alternative(schema, value, root, path)
        or _wrong_size(schema, value, path)
        or _wrong_member(schema, value, root, path)
    )


def _wrong_kind(schema: Mapping[str, Any], value: Any, path: str) -> str | None:
    kinds = schema.get("type")
    if kinds is not None:
        names = kinds if isinstance(kinds, list) else [kinds]
        fits = any(
            isinstance(value, _TYPES.get(name, ())) and (name == "boolean" or not isinstance(value, bool)) for name in names
        ) or ("integer" in names and isinstance(value, float) and value.is_integer())
        if not fits:
            return f"{path}: {value!r} is not of type {' or '.join(names)}"
    if "const" in schema and value != schema["const"]:
        return f"{path}: {value!r} is not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{path}: {value!r} is not one of {schema['enum']!r}"
    return None


def _wrong_alternative(schema: Mapping[str, Any], value: Any, root: Mapping[str, Any], path: str) -> str | None:
    for part in schema.get("allOf", ()):
        if wrong := problem(part, value, root, path):
            return wrong
    for group in ("anyOf", "oneOf"):
        options = schema.get(group)
        if options:
            wrongs = [problem(option, value, root, path) for option in options]
            fitting = wrongs.count(None)
            if fitting == 0 or (group == "oneOf" and fitting > 1):
                return next((wrong for wrong in wrongs if wrong), f"{path}: fits more than one alternative")
    return None


def _wrong_size(schema: Mapping[str, Any], value: Any, path: str) -> str | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        for name, holds in _BOUNDS:
            if name in schema and not holds(value, schema[name]):
                return f"{path}: {value} against {name} {schema[name]}"
    measured: dict[type, tuple[str, str]] = {
        str: ("minLength", "maxLength"),
        list: ("minItems", "maxItems"),
        dict: ("minProperties", "maxProperties"),
    }
    low, high = measured.get(type(value), ("", ""))
    if low and not schema.get(low, 0) <= len(value) <= schema.get(high, len(value)):
        return f"{path}: its length {len(value)} is outside {low} and {high}"
    if isinstance(value, str) and "pattern" in schema and not matches(schema["pattern"], value):
        return f"{path}: {value!r} does not match {schema['pattern']}"
    return None


def _wrong_member(schema: Mapping[str, Any], value: Any, root: Mapping[str, Any], path: str) -> str | None:
    if isinstance(value, list):
        if schema.get("uniqueItems") and any(item in value[:position] for position, item in enumerate(value)):
            return f"{path}: an item stands twice"
        first = schema.get("prefixItems", [])
        for position, item in enumerate(value):
            inner = first[position] if position < len(first) else schema.get("items", True)
            if wrong := problem(inner, item, root, f"{path}[{position}]"):
                return wrong
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        for name in schema.get("required", ()):
            if name not in value:
                return f"{path}: {name!r} is missing"
        for name, item in value.items():
            inner = properties.get(name, schema.get("additionalProperties", True))
            if wrong := problem(inner, item, root, f"{path}.{name}"):
                return wrong
    return None
