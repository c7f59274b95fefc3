"""References inside a JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["deref"]


def deref(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """`schema` with its own ``$ref`` followed, the keys beside it kept. What leads nowhere allows anything."""
    for _ in range(16):  # a reference to itself would go on for ever
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**_pointed(reference, root), **beside}
    return {}


def _pointed(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    node: Any = root
    for step in reference.removeprefix("#").split("/")[1:]:
        node = node.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(node, Mapping) else None
    return node if isinstance(node, Mapping) else {}
