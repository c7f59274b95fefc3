"""A tool's first entry in the policy: what its declaration says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quarterdeck.core.errors import Misconfigured
from quarterdeck.core.tools import Tool
from quarterdeck.policy.base import Bound, ToolPolicy
from quarterdeck.policy.extracts import check_extraction
from quarterdeck.policy.sinks import sink_parts

__all__ = ["check_sink", "declared", "field_names", "takes_number", "takes_text", "values_taken"]


def declared(tool: Tool) -> ToolPolicy:
    """The entry of `tool` before any policy file. Its schema's enumerations and upper limits are bounds.

    Raises:
        Misconfigured: It declares a sink there is not, or one that reads arguments it does not take.
    """
    entry = ToolPolicy(
        effect=tool.effect,
        risk=tool.risk,
        scope=tool.scope,
        needs_approval=tool.needs_approval,
        result_trusted=tool.trusted,
        resolver=tool.resolver,
        resolver_fields=tool.resolver_fields,
        fields=tool.fields,
        extraction=tool.extraction,
        identity_args=tool.identity_args,
        content_args=tool.content_args,
        bounds=_bounds(tool.input_schema),
        sink=tool.sink,
    )
    if tool.sink:
        check_sink(tool.sink, tool)
    if tool.extraction is not None:
        try:
            check_extraction(tool.extraction, tool, tool.effect)
        except Misconfigured as error:
            raise Misconfigured(f"tool {tool.name}: extract: {error}") from error
    return entry


def check_sink(sink: str, tool: Tool) -> None:
    """Raises Misconfigured unless `sink` is one of the table and reads only arguments of `tool`."""
    try:
        _, named = sink_parts(sink)
    except ValueError as error:
        raise Misconfigured(f"tool {tool.name}: {error}") from error
    if missing := [name for name in named if name not in tool.input_schema.get("properties", {})]:
        raise Misconfigured(f"tool {tool.name}: sink {sink!r} reads {', '.join(missing)}, which it does not take")


def field_names(schema: Any) -> frozenset[str]:
    """The names of all properties anywhere in a schema: keys its author chose, not a model."""
    found: set[str] = set()
    stack = [schema]
    while stack:
        node = stack.pop()
        if isinstance(node, Mapping):
            found.update(node.get("properties", {}))
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
    return frozenset(found)


def takes_number(tool: Tool, name: str) -> bool:
    """True if the argument `name` of `tool` is a number or a list of numbers."""
    return _is_number(tool.input_schema["properties"][name], tool.input_schema)


def takes_text(tool: Tool, name: str) -> bool:
    """True if the argument `name` of `tool` is a text or a list of texts."""
    return _item(_resolved(tool.input_schema["properties"][name], tool.input_schema)).get("type") == "string"


def values_taken(tool: Tool, name: str) -> tuple[Any, ...]:
    """The values that the argument `name` of `tool`, or each in a list of them, is one of; empty where they are not few."""
    node = _item(_resolved(tool.input_schema["properties"][name], tool.input_schema))
    return (True, False) if node.get("type") == "boolean" else _choices(node)


def _is_number(node: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    node = _item(_resolved(node, root))
    if values := _choices(node):
        return all(isinstance(each, int | float) for each in values)
    several = [each for each in node.get("anyOf", ()) if each.get("type") != "null"]
    return node.get("type") in ("integer", "number") or (bool(several) and all(_is_number(each, root) for each in several))


def _bounds(schema: Mapping[str, Any]) -> dict[str, Bound]:
    found: dict[str, Bound] = {}
    for name, node in schema.get("properties", {}).items():
        bound = _bound(_resolved(node, schema))
        if bound is not None:
            found[name] = bound
    return found


def _resolved(node: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `node` is, without the alternative null and through a local reference."""
    chosen = [each for each in node.get("anyOf", ()) if each.get("type") != "null"]
    if len(chosen) == 1:
        node = chosen[0]
    reference = str(node.get("$ref", ""))
    target = root.get("$defs", {}).get(reference.removeprefix("#/$defs/"))
    return target if isinstance(target, Mapping) else node


def _item(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """What each of a list is, and `node` itself if it is no list."""
    items = node.get("items")
    return items if node.get("type") == "array" and isinstance(items, Mapping) else node


def _choices(node: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(node.get("enum") or ([node["const"]] if "const" in node else []))


def _bound(node: Mapping[str, Any]) -> Bound | None:
    node = _item(node)
    if values := _choices(node):
        return Bound(one_of=values)
    upper = node.get("maximum", node.get("exclusiveMaximum"))
    lower = node.get("minimum", node.get("exclusiveMinimum"))
    return Bound(minimum=lower, maximum=upper) if upper is not None and node.get("type") in ("integer", "number") else None
