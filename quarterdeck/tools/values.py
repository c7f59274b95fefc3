"""From a type whose fields are bounded to what is taken out of an untrusted text: ``@tool(extract=Invoice)``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from pydantic import PydanticUserError, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError

from quarterdeck.core.errors import Misconfigured
from quarterdeck.core.extraction import LONGEST_TEXT, Extraction, Slot

__all__ = ["values_of"]


def values_of(wanted: type | Extraction, tool: str) -> Extraction:
    """What a dataclass, typed dict or pydantic model of bounded fields asks for; its docstring is the question.

    A field is a truth value, a ``Literal`` or enumeration of texts, a number with both limits, a ``date``, a text with a
    pattern (an id), or a text with a ``max_length`` of at most 64; any of these or None.

    Raises:
        Misconfigured: It has other fields.
    """
    if isinstance(wanted, Extraction):
        return wanted
    try:
        schema = TypeAdapter(wanted).json_schema()
    except (PydanticUserError, PydanticSchemaGenerationError) as error:
        raise Misconfigured(f"tool {tool}: extract is no type with fields: {str(error).splitlines()[0]}") from error
    slots: dict[str, Slot] = {}
    for name, node in schema.get("properties", {}).items():
        try:
            slots[name] = _slot(_resolved(node, schema))
        except Misconfigured as error:
            raise Misconfigured(f"tool {tool}: extract.{name}: {error}") from error
    question = inspect.cleandoc(wanted.__dict__.get("__doc__") or "")
    return Extraction(slots=slots, question="" if question.startswith(f"{wanted.__name__}(") else question)


def _resolved(node: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    chosen = [each for each in node.get("anyOf", ()) if each.get("type") != "null"]
    described = {"description": node["description"]} if "description" in node else {}
    node = chosen[0] if len(chosen) == 1 else node
    target = schema.get("$defs", {}).get(str(node.get("$ref", "")).removeprefix("#/$defs/"))
    return {**(target or node), **described}


def _slot(node: Mapping[str, Any]) -> Slot:
    description = str(node.get("description", ""))
    choices = node.get("enum") or ([node["const"]] if "const" in node else [])
    if choices and all(isinstance(each, str) for each in choices):
        return Slot(kind="choice", one_of=tuple(choices), description=description)
    match node.get("type"):
        case "boolean":
            return Slot(kind="boolean", description=description)
        case "integer":
            low, high = node.get("minimum"), node.get("maximum")
            low = node["exclusiveMinimum"] + 1 if "exclusiveMinimum" in node else low
            high = node["exclusiveMaximum"] - 1 if "exclusiveMaximum" in node else high
            return Slot(kind="integer", minimum=low, maximum=high, description=description)
        case "number":
            return Slot(kind="number", minimum=node.get("minimum"), maximum=node.get("maximum"), description=description)
        case "string" if node.get("format") == "date":
            return Slot(kind="date", description=description)
        case "string" if "pattern" in node:
            longest = int(node.get("maxLength", LONGEST_TEXT))
            return Slot(kind="id", pattern=node["pattern"], max_chars=longest, description=description)
        case "string" if "maxLength" in node:
            return Slot(kind="text", max_chars=node["maxLength"], description=description)
    raise Misconfigured("what is taken out of a text is bounded: a truth value, a choice, a date, a number with both limits")
