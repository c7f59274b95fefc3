"""Tools of the client: what it brings along, what of them is called, and what it says came of that."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from quarterdeck.core.messages import ToolCall
from quarterdeck.core.runs import ClientTool
from quarterdeck.models.assemble import tool_call
from quarterdeck.service.views import RunView
from quarterdeck.transports.openai_compat.errors import Unserved

__all__ = ["MAX_TOOLS", "call_id", "called", "client_tools", "tool_calls"]

MAX_TOOLS = 64
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_NO_ARGUMENTS: Mapping[str, Any] = {"type": "object", "properties": {}}


def client_tools(given: Sequence[Mapping[str, Any]], choice: object) -> tuple[ClientTool, ...]:
    """The functions among `given`, written as chat completions or as responses have them; none if it may call none.

    Raises:
        Unserved: There are too many, or one is of another kind or has no proper name or schema.
    """
    if choice == "none":
        return ()
    if len(given) > MAX_TOOLS:
        raise Unserved("invalid_input", f"tools: at most {MAX_TOOLS} are taken", "tools")
    return tuple(_tool(tool, f"tools.{at}") for at, tool in enumerate(given))


def _tool(given: Mapping[str, Any], place: str) -> ClientTool:
    if given.get("type") != "function":
        kind = str(given.get("type"))[:64]
        raise Unserved("unsupported_parameter", f"{place}.type: of the type {kind!r} none are served, only functions", place)
    function = given.get("function", given)
    told = function if isinstance(function, Mapping) else {}
    name, description, schema = told.get("name"), told.get("description") or "", told.get("parameters") or _NO_ARGUMENTS
    if not isinstance(name, str) or _NAME.match(name) is None:
        raise Unserved("invalid_input", f"{place}: a function has a name of 1 to 64 letters, digits, _ and -", place)
    if not isinstance(description, str) or not isinstance(schema, Mapping) or schema.get("type") != "object":
        raise Unserved("invalid_input", f"{place}: the parameters of {name} are the schema of an object", place)
    return ClientTool(name=name, description=description, input_schema=schema)


def call_id(run_id: str, call: ToolCall) -> str:
    """The id of a call outside its run."""
    return f"call_{run_id}_{call.id}"


def tool_calls(run: RunView) -> list[dict[str, Any]]:
    """The calls that the client has to execute, as a chat completion has them."""
    return [
        {
            "id": call_id(run.run_id, call),
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(call.args, ensure_ascii=False)},
        }
        for call in run.client_calls
    ]


def called(name: object, arguments: object, place: str) -> ToolCall:
    """A call as the client sends it back with its result; it gets an id where it becomes part of a run.

    Raises:
        Unserved: It has no proper name, or arguments that are no text.
    """
    if not isinstance(name, str) or _NAME.match(name) is None:
        raise Unserved("invalid_input", "a call has the name of its function: 1 to 64 letters, digits, _ and -", place)
    if not isinstance(arguments, str | None):
        raise Unserved("invalid_input", f"the arguments of {name} are JSON as a text", place)
    return tool_call("", name, arguments or "")
