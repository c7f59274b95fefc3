"""Checks of request bodies, in the words OpenAI's API uses when it refuses them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from quarterdeck.devtools.simulator.refusals import Refusal

__all__ = ["FUNCTION_NAME", "check_number", "check_schema", "check_strict", "known_only", "missing", "one_of", "typed"]

FUNCTION_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
_TYPES = frozenset("string number integer boolean object array null".split())
_KINDS: Mapping[type, str] = {str: "a string", list: "an array", dict: "an object", bool: "a boolean", int: "an integer"}
_MAX_DEPTH = 32


def _article(value: Any) -> str:
    if value is None:
        return "null"
    return "a decimal number" if isinstance(value, float) else _KINDS[type(value)]


def missing(param: str) -> Refusal:
    return Refusal(400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def typed(value: Any, kind: type, param: str) -> Any:
    """`value`, which must be of `kind`; a float takes whole numbers too."""
    if type(value) is kind or (kind is float and type(value) is int):
        return value
    wanted = "a decimal number" if kind is float else _KINDS[kind]
    message = f"Invalid type for '{param}': expected {wanted}, but got {_article(value)} instead."
    raise Refusal(400, message, param=param, code="invalid_type")


def one_of(value: Any, allowed: Collection[str], param: str) -> str:
    """`value`, which must be one of the `allowed` texts."""
    if value.__class__ is str and value in allowed:
        return str(value)
    typed(value, str, param)
    names = [f"'{name}'" for name in allowed]
    listed = f"{', '.join(names[:-1])}, and {names[-1]}" if len(names) > 1 else names[0]
    raise Refusal(400, f"Invalid value: '{value}'. Supported values are: {listed}.", param=param, code="invalid_value")


def check_number(body: Mapping[str, Any], name: str, low: float, high: float, *, kind: type = float) -> None:
    """The number under `name`, if there is one, must lie between `low` and `high`."""
    value = body.get(name)
    if value is None:
        return
    typed(value, kind, name)
    what = "integer" if kind is int else "decimal"
    if value < low:
        message = (
            f"Invalid '{name}': {what} below minimum value. Expected a value >= {low:.15g}, but got {value:.15g} instead."
        )
        raise Refusal(400, message, param=name, code=f"{what}_below_min_value")
    if value > high:
        message = (
            f"Invalid '{name}': {what} above maximum value. Expected a value <= {high:.15g}, but got {value:.15g} instead."
        )
        raise Refusal(400, message, param=name, code=f"{what}_above_max_value")


def known_only(body: Mapping[str, Any], known: frozenset[str]) -> None:
    """Refuse parameters the API does not have."""
    if not known.issuperset(body):
        name = next(name for name in body if name not in known)
        raise Refusal(400, f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")


def check_schema(schema: Any, where: str) -> None:
    """The JSON Schema of a function's parameters must describe an object and be well formed.

    Raises:
        Refusal: With `where` in its message ("function 'x'") and no param; the caller knows which it is.
    """
    if not isinstance(schema, dict):
        raise _bad_schema(where, f"schema must be a JSON Schema of 'type: \"object\"', got {_article(schema)}.")
    if schema and schema.get("type") != "object" and "$ref" not in schema:
        told = "None" if schema.get("type") is None else f'"{schema["type"]}"'
        raise _bad_schema(where, f"schema must be a JSON Schema of 'type: \"object\"', got 'type: {told}'.")
    _check_node(schema, where, ())


def _check_node(schema: Any, where: str, path: tuple[str, ...]) -> None:
    if len(path) > _MAX_DEPTH:
        raise _bad_schema(where, f"In context={path[:3]}, the schema is nested too deeply.")
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise _bad_schema(where, f"In context={path}, {schema!r} is not of type 'object', 'boolean'.")
    kinds = schema.get("type")
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if kind is not None and (not isinstance(kind, str) or kind not in _TYPES):
            raise _bad_schema(where, f"{kind!r} is not valid under any of the given schemas.")
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise _bad_schema(where, f"In context={path}, {required!r} is not of type 'array'.")
    if kinds == "array" and "items" not in schema and "prefixItems" not in schema:
        raise _bad_schema(where, f"In context={path}, array schema missing items.")
    for group in ("properties", "$defs", "definitions"):
        members = schema.get(group, {})
        if not isinstance(members, dict):
            raise _bad_schema(where, f"In context={(*path, group)}, {members!r} is not of type 'object'.")
        for name, inner in members.items():
            _check_node(inner, where, (*path, group, name))
    if "items" in schema:
        _check_node(schema["items"], where, (*path, "items"))
    for group in ("anyOf", "oneOf", "allOf"):
        for position, inner in enumerate(schema.get(group, ())):
            _check_node(inner, where, (*path, group, str(position)))


def check_strict(schema: Any, where: str, path: tuple[str, ...] = ()) -> None:
    """What strict mode demands of every object in a schema: all properties required, no others allowed."""
    if not isinstance(schema, dict) or len(path) > _MAX_DEPTH:
        return
    properties = schema.get("properties", {})
    if schema.get("type") == "object" or properties:
        if schema.get("additionalProperties") is not False:
            raise _bad_schema(
                where, f"In context={path}, 'additionalProperties' is required to be supplied and to be false."
            )
        absent = [name for name in properties if name not in schema.get("required", ())]
        if absent:
            message = (
                f"In context={path}, 'required' is required to be supplied and to be an array including every key in "
                f"properties. Missing '{absent[0]}'."
            )
            raise _bad_schema(where, message)
    for group in ("properties", "$defs", "definitions"):
        for name, inner in schema.get(group, {}).items():
            check_strict(inner, where, (*path, group, name))
    check_strict(schema.get("items"), where, (*path, "items"))
    for position, inner in enumerate(schema.get("anyOf", ())):
        check_strict(inner, where, (*path, "anyOf", str(position)))


def _bad_schema(where: str, what: str) -> Refusal:
    return Refusal(400, f"Invalid schema for {where}: {what}")
