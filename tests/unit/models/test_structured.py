"""One way to ask for an answer that satisfies a schema, three ways to get it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quarterdeck.core.context import Context
from quarterdeck.core.errors import ModelInvalid
from quarterdeck.core.events import Delta
from quarterdeck.core.messages import ToolCall
from quarterdeck.models.base import Completion, Emit, ModelRequest
from quarterdeck.models.schemas import closed_schema
from quarterdeck.models.structured import Structured
from tests.provider import WEATHER, context, question

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


class Scripted:
    """A model that answers this, telling each piece of it."""

    name = "test:m"

    def __init__(self, reply: Completion) -> None:
        self.reply = reply
        self.asked: list[ModelRequest] = []

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        self.asked.append(request)
        if emit is not None:
            pieces = [Delta(kind="reasoning", text="Hm."), Delta(kind="text", text=self.reply.text)]
            pieces += [Delta(kind="tool_start", text=call.name) for call in self.reply.tool_calls]
            for piece in pieces:
                await emit(piece)
        return self.reply


def calls(*calls: tuple[str, dict[str, Any]], text: str = "") -> Completion:
    made = tuple(ToolCall(id=f"c{n}", name=name, args=args) for n, (name, args) in enumerate(calls))
    return Completion(text=text, tool_calls=made, finish_reason="tool_calls")


@pytest.mark.row("R1", part="structured")
@pytest.mark.parametrize(
    ("tools", "choice", "sent"),
    [((), "auto", "give_answer"), ((WEATHER,), "auto", "required"), ((WEATHER,), "none", "give_answer")],
)
async def test_as_a_tool_the_arguments_are_the_answer(tools: Any, choice: str, sent: str) -> None:
    inner = Scripted(calls(("give_answer", {"n": 3}), text="Here it is:"))
    deltas: list[Delta] = []

    async def keep(delta: Delta) -> None:
        deltas.append(delta)

    reply = await Structured(inner, "tool").complete(
        question(tools=tools, tool_choice=choice, output_schema=SCHEMA), context(), keep
    )

    assert (json.loads(reply.text), reply.tool_calls, reply.finish_reason) == ({"n": 3}, (), "stop")
    asked = inner.asked[0]
    assert (asked.tool_choice, asked.output_schema, asked.tools[-1].input_schema) == (sent, None, SCHEMA)
    assert [(delta.kind, delta.n) for delta in deltas] == [("reasoning", 0), ("text", 1)]
    assert deltas[-1].text == reply.text


async def test_as_a_tool_other_calls_come_first() -> None:
    inner = Scripted(calls(("get_weather", {"city": "Oslo"}), ("give_answer", {"n": 0})))

    reply = await Structured(inner, "tool").complete(question(tools=(WEATHER,), output_schema=SCHEMA), context())

    assert [call.name for call in reply.tool_calls] == ["get_weather"]
    assert (reply.text, reply.finish_reason) == ("", "tool_calls")


async def test_as_a_tool_a_value_that_is_no_object_is_wrapped_and_unwrapped() -> None:
    inner = Scripted(calls(("give_answer", {"value": ["a"]})))
    schema = {"type": "array", "items": {"$ref": "#/$defs/s"}, "$defs": {"s": {"type": "string"}}}

    reply = await Structured(inner, "tool").complete(question(output_schema=schema), context())

    assert json.loads(reply.text) == ["a"]
    assert inner.asked[0].tools[0].input_schema == {
        "type": "object",
        "properties": {"value": {"type": "array", "items": {"$ref": "#/$defs/s"}}},
        "required": ["value"],
        "$defs": {"s": {"type": "string"}},
    }


async def test_as_a_tool_text_instead_of_a_call_is_handed_on() -> None:
    reply = await Structured(Scripted(Completion(text="{}")), "tool").complete(question(output_schema=SCHEMA), context())

    assert reply.text == "{}"


async def test_as_a_tool_arguments_that_are_no_object_are_invalid() -> None:
    broken = ToolCall(id="c", name="give_answer", malformed="the arguments are not JSON")
    inner = Scripted(Completion(tool_calls=(broken,), finish_reason="tool_calls"))

    with pytest.raises(ModelInvalid, match="not JSON"):
        await Structured(inner, "tool").complete(question(output_schema=SCHEMA), context())


async def test_a_call_the_caller_demands_is_left_alone() -> None:
    inner = Scripted(calls(("get_weather", {})))

    await Structured(inner, "tool").complete(
        question(tools=(WEATHER,), tool_choice="get_weather", output_schema=SCHEMA), context()
    )

    assert (inner.asked[0].tools, inner.asked[0].tool_choice) == ((WEATHER,), "get_weather")


@pytest.mark.row("R1", part="structured")
@pytest.mark.parametrize("text", ['{"n": 3}', '```json\n{"n": 3}\n```', '\n```\n{"n": 3}```  '])
async def test_prompted_the_schema_is_in_the_system_message_and_fences_are_taken_off(text: str) -> None:
    inner = Scripted(Completion(text=text))

    reply = await Structured(inner, "prompted").complete(question(output_schema=SCHEMA), context())

    assert json.loads(reply.text) == {"n": 3}
    system = inner.asked[0].messages[0].text
    assert system.startswith("Be brief.\n\n")
    assert '"required":["n"]' in system
    assert inner.asked[0].output_schema is None


async def test_without_a_schema_nothing_changes() -> None:
    inner = Scripted(Completion(text="Hello."))
    request = question()

    await Structured(inner, "tool").complete(request, context())
    await Structured(inner, "prompted").complete(request, context())

    assert all(asked is request for asked in inner.asked)


def test_a_closed_schema_says_in_words_what_is_not_enforced() -> None:
    schema = {
        "type": "object",
        "$defs": {"size": {"type": "string", "pattern": "^[a-z]+$"}},
        "properties": {
            "n": {"type": "integer", "minimum": 1, "maximum": 9, "description": "How many."},
            "size": {"$ref": "#/$defs/size"},
            "day": {"type": "string", "format": "date"},
            "kind": {"oneOf": [{"type": "null"}, {"type": "object", "properties": {}}]},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 9}, "minItems": 1, "maxItems": 3},
        },
        "required": ["n"],
        "additionalProperties": {"type": "string"},
    }

    assert closed_schema(schema) == {
        "type": "object",
        "$defs": {"size": {"type": "string", "description": '(pattern: "^[a-z]+$")'}},
        "properties": {
            "n": {"type": "integer", "description": "How many. (minimum: 1, maximum: 9)"},
            "size": {"$ref": "#/$defs/size"},
            "day": {"type": "string", "format": "date"},
            "kind": {"anyOf": [{"type": "null"}, {"type": "object", "properties": {}, "additionalProperties": False}]},
            "tags": {
                "type": "array",
                "items": {"type": "string", "description": "(maxLength: 9)"},
                "minItems": 1,
                "description": "(maxItems: 3)",
            },
        },
        "required": ["n"],
        "additionalProperties": False,
    }
