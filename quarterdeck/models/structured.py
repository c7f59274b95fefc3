"""Answers that satisfy a schema, in whichever way a model can be made to give them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Literal

from quarterdeck.core.context import Context
from quarterdeck.core.errors import ModelInvalid
from quarterdeck.core.events import Delta
from quarterdeck.core.labels import PUBLIC, Integrity, Label
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.models.base import Completion, Emit, Model, ModelRequest, ToolSpec
from quarterdeck.models.wire import encode

__all__ = ["Mode", "Structured", "unfenced"]

Mode = Literal["native", "tool", "prompted"]

_ANSWER = "give_answer"
_OUR_OWN = Label(integrity=Integrity.TRUSTED, readers=PUBLIC)
_FENCED = re.compile(r"\A\s*```[a-zA-Z]*\n(.*?)\n?```\s*\Z", re.DOTALL)


class Structured:
    """Turns `output_schema` into what a model understands, and its reply back into JSON text.

    tool: the answer is asked for as the arguments of a tool. prompted: the schema is written into the system message.
    A model whose provider enforces schemas itself (native) needs no wrapper. Whether the text satisfies the schema is
    checked by whoever asked, since not even an enforcing provider enforces all of it.
    """

    def __init__(self, model: Model, mode: Literal["tool", "prompted"]) -> None:
        self._model = model
        self._mode = mode

    @property
    def name(self) -> str:
        return self._model.name

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        schema = request.output_schema
        if schema is None:
            return await self._model.complete(request, ctx, emit)
        if self._mode == "prompted":
            completion = await self._model.complete(_prompted(request, schema), ctx, emit)
            return completion if completion.tool_calls else replace(completion, text=unfenced(completion.text))
        if request.tool_choice not in ("auto", "none"):
            # The caller wants another tool called now; the answer comes in a later turn.
            return await self._model.complete(replace(request, output_schema=None), ctx, emit)
        name = _free_name({tool.name for tool in request.tools})
        watch = None if emit is None else _Watch(emit, name)
        completion = await self._model.complete(_with_tool(request, schema, name), ctx, watch)
        answered = _answered(completion, name, wrapped=not _is_object(schema))
        if watch is not None:
            await watch.say(answered.text)
        return answered


class _Watch:
    """Passes on all but text and the call that is the answer: which text counts is known only at the end."""

    def __init__(self, emit: Emit, answer: str) -> None:
        self._emit = emit
        self._answer = answer
        self._n = 0

    async def __call__(self, delta: Delta) -> None:
        if delta.kind != "text" and not (delta.kind == "tool_start" and delta.text == self._answer):
            await self._emit(replace(delta, n=self._n))
            self._n += 1

    async def say(self, text: str) -> None:
        if text:
            await self._emit(Delta(kind="text", text=text, n=self._n))


def _prompted(request: ModelRequest, schema: Mapping[str, Any]) -> ModelRequest:
    demand = (
        "Give your final answer as one JSON value that satisfies this JSON Schema, without any other text and without "
        f"code fences:\n{encode(schema).decode()}"
    )
    if request.tools and request.tool_choice == "auto":
        demand = f"Call tools as long as you need them. {demand}"
    part = Text(text=demand, label=_OUR_OWN)
    first, *rest = request.messages or (Message(role=Role.SYSTEM),)
    if first.role is Role.SYSTEM:
        spoken = (*first.parts, Text(text="\n\n", label=_OUR_OWN)) if first.text else ()
        messages = (replace(first, parts=(*spoken, part)), *rest)
    else:
        messages = (Message(role=Role.SYSTEM, parts=(part,)), *request.messages)
    return replace(request, messages=messages, output_schema=None)


def unfenced(text: str) -> str:
    """`text` without the code fence around it that models are fond of."""
    fenced = _FENCED.match(text)
    return fenced[1] if fenced else text.strip()


def _with_tool(request: ModelRequest, schema: Mapping[str, Any], name: str) -> ModelRequest:
    tool = ToolSpec(name=name, description="Give the final answer.", input_schema=_arguments(schema))
    free = request.tool_choice == "auto" and bool(request.tools)
    return replace(
        request,
        tools=(*request.tools, tool),
        tool_choice="required" if free else name,
        output_schema=None,
    )


def _arguments(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """`schema` as that of a tool's arguments, which are always an object."""
    if _is_object(schema):
        return schema
    definitions = {key: value for key, value in schema.items() if key in ("$defs", "definitions")}
    inner = {key: value for key, value in schema.items() if key not in definitions}
    return {"type": "object", "properties": {"value": inner}, "required": ["value"], **definitions}


def _answered(completion: Completion, name: str, *, wrapped: bool) -> Completion:
    """The reply with the answer's arguments as its text. Beside other calls the answer came too early and is dropped.

    Raises:
        ModelInvalid: The arguments are no JSON object.
    """
    others = tuple(call for call in completion.tool_calls if call.name != name)
    answer = next((call for call in completion.tool_calls if call.name == name), None)
    if answer is None or others:
        return replace(completion, tool_calls=others)
    if answer.malformed is not None:
        raise ModelInvalid(f"{completion.model} gave an answer that is none: {answer.malformed}", usage=completion.usage)
    value = answer.args.get("value") if wrapped else answer.args
    return replace(completion, text=encode(value).decode(), tool_calls=(), finish_reason="stop")


def _free_name(taken: Collection[str]) -> str:
    return next(name for name in (_ANSWER + "_" * n for n in range(len(taken) + 1)) if name not in taken)


def _is_object(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "object"
