"""JSON Schemas in the narrower form that providers enforce."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quarterdeck.models.wire import encode

__all__ = ["closed_schema"]

_KEPT = frozenset({"type", "enum", "const", "title", "description", "required", "default", "$ref"})
_LISTS = ("anyOf", "oneOf", "allOf")
_NAMED = ("properties", "$defs", "definitions")
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})


def closed_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """`schema` with closed objects, and with what no provider enforces (ranges, lengths, patterns) told in descriptions.

    A description still reaches the model; the answer is checked against the whole schema wherever it is used.
    """
    closed: dict[str, Any] = {}
    said: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _NAMED and isinstance(value, Mapping):
            closed[key] = {name: _closed(inner) for name, inner in value.items()}
        elif key in _LISTS and isinstance(value, list):
            # The narrower form has one way to say "one of these".
            closed["anyOf" if key == "oneOf" else key] = [_closed(inner) for inner in value]
        elif key == "items":
            closed[key] = _closed(value)
        elif key in _KEPT or (key == "format" and value in _FORMATS) or (key == "minItems" and value in (0, 1)):
            closed[key] = value
        elif key != "additionalProperties" and not key.startswith("$"):
            said[key] = value
    if closed.get("type") == "object" or "properties" in closed:
        closed["additionalProperties"] = False
    if said:
        told = ", ".join(f"{key}: {encode(value).decode()}" for key, value in said.items())
        closed["description"] = f"{closed.get('description', '')} ({told})".strip()
    return closed


def _closed(value: Any) -> Any:
    return closed_schema(value) if isinstance(value, Mapping) else value
