"""Tools and output formats as OpenAI's two APIs declare them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from quarterdeck.devtools.simulator.checks import FUNCTION_NAME, check_schema, check_strict, missing, one_of, typed
from quarterdeck.devtools.simulator.refusals import Refusal
from quarterdeck.models.base import ToolSpec
from quarterdeck.models.tokens import count_tokens

__all__ = ["Declared", "ToolTable", "check_output_schema", "choice_of", "named"]

_KEPT = 256
Declared = tuple[tuple[ToolSpec, ...], int]
"""Tools, and how many tokens their declarations are."""


class ToolTable:
    """Declarations seen before: every turn of a conversation repeats them, and checking them costs more than all else."""

    def __init__(self, *, nested: bool) -> None:
        """Args: nested: Functions stand under ``function``, as in chat completions."""
        self._nested = nested
        self._known: OrderedDict[bytes, Declared] = OrderedDict()

    def read(self, tools: Any) -> Declared:
        """The functions among `tools`.

        Raises:
            Refusal: A declaration is malformed, or its schema is.
        """
        key = orjson.dumps(tools)
        known = self._known.get(key)
        if known is None:
            typed(tools, list, "tools")
            specs = [spec for index, tool in enumerate(tools) if (spec := self._spec(tool, f"tools[{index}]")) is not None]
            known = self._known[key] = (tuple(specs), count_tokens(key.decode()))
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return known

    def _spec(self, tool: Any, where: str) -> ToolSpec | None:
        typed(tool, dict, where)
        kind = typed(tool.get("type"), str, f"{where}.type") if "type" in tool else None
        if kind is None:
            raise missing(f"{where}.type")
        if self._nested:
            one_of(kind, ("function", "custom"), f"{where}.type")
        if kind != "function":
            return None  # hosted and custom tools are accepted and never called
        if self._nested:
            if "function" not in tool:
                raise missing(f"{where}.function")
            tool, where = typed(tool["function"], dict, f"{where}.function"), f"{where}.function"
        name = named(tool, f"{where}.name")
        schema = tool.get("parameters") or {}
        try:
            check_schema(schema, f"function '{name}'")
            if tool.get("strict"):
                check_strict(schema, f"function '{name}'")
        except Refusal as error:
            raise Refusal(400, str(error), param=f"{where}.parameters", code="invalid_function_parameters") from error
        description = tool.get("description") or ""
        return ToolSpec(name=name, description=typed(description, str, f"{where}.description"), input_schema=schema)


def named(holder: Mapping[str, Any], param: str) -> str:
    """The name of a function or format, which has a fixed alphabet."""
    name = holder.get("name")
    if name is None:
        raise missing(param)
    typed(name, str, param)
    if FUNCTION_NAME.match(name) is None:
        pattern = "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
        message = f"Invalid '{param}': string does not match pattern. {pattern}"
        raise Refusal(400, message, param=param, code="invalid_value")
    return str(name)


def check_output_schema(holder: Mapping[str, Any], param: str) -> Mapping[str, Any]:
    """The schema under `holder`, which demands structured output."""
    name = named(holder, f"{param}.name")
    schema = holder.get("schema")
    if schema is None:
        raise missing(f"{param}.schema")
    top = param.split(".")[0]
    try:
        check_schema(schema, f"response_format '{name}'")
        if holder.get("strict"):
            check_strict(schema, f"response_format '{name}'")
    except Refusal as error:
        raise Refusal(400, str(error), param=top) from error
    return dict(schema)


def choice_of(value: Any, specs: Sequence[ToolSpec], *, nested: bool) -> str:
    """``tool_choice`` as ``auto``, ``none``, ``required`` or a tool's name."""
    if value is None:
        return "auto"
    if isinstance(value, str):
        return one_of(value, ("none", "auto", "required"), "tool_choice")
    typed(value, dict, "tool_choice")
    if value.get("type") == "allowed_tools":
        inner = value.get("allowed_tools", value)
        return one_of(inner.get("mode", "auto"), ("auto", "required"), "tool_choice.mode")
    holder = value.get("function", {}) if nested else value
    name = typed(holder, dict, "tool_choice.function").get("name")
    if name is None:
        raise missing("tool_choice.function.name" if nested else "tool_choice.name")
    if all(spec.name != name for spec in specs):
        message = f"Invalid value for 'tool_choice': no function named '{name}' was specified in the 'tools' parameter."
        raise Refusal(400, message, param="tool_choice")
    return str(name)
