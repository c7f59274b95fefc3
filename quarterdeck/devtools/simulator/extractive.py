"""The default brain: the simulated model, which answers from what it is given."""

from __future__ import annotations

import time
from collections import OrderedDict

import orjson

from quarterdeck.core.context import Context, Principal
from quarterdeck.core.labels import PUBLIC, Label
from quarterdeck.core.messages import Message, Role, Text, ToolCall
from quarterdeck.devtools.simulator.base import Ask, Call, Reply, Turn
from quarterdeck.devtools.simulator.generate import generate
from quarterdeck.devtools.simulator.validity import problem
from quarterdeck.models.base import ModelRequest
from quarterdeck.models.simulated import SimulatedModel

__all__ = ["Extractive"]

_LABEL = Label(readers=PUBLIC)
_ASKER = Principal(user="client", tenant="simulator")
_PATIENCE_S = 60.0
_KEPT = 1_024


class Extractive:
    """Answers like `SimulatedModel`. Its answers depend on the question alone, so they are kept for when it comes again.

    A provider enforces more of a schema than can be extracted for, patterns for one: there a value is made up by the dice.
    """

    def __init__(self) -> None:
        self._model = SimulatedModel()
        self._known: OrderedDict[object, Reply] = OrderedDict()

    async def reply(self, ask: Ask) -> Reply:
        key = None if ask.tools else (ask.turns, ask.tool_choice, orjson.dumps(ask.schema))
        known = self._known.get(key) if key is not None else None
        if known is not None:
            return known
        context = Context(principal=_ASKER, run_id="simulator", deadline=time.monotonic() + _PATIENCE_S)
        completion = await self._model.complete(_request(ask), context)
        if ask.schema is not None and not completion.tool_calls and problem(ask.schema, orjson.loads(completion.text)):
            return Reply(text=orjson.dumps(generate(ask.schema, ask.dice.random)).decode())
        reply = Reply(
            text=completion.text,
            calls=tuple(Call(call.name, orjson.dumps(call.args).decode()) for call in completion.tool_calls),
        )
        if key is not None:
            self._known[key] = reply
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return reply


def _request(ask: Ask) -> ModelRequest:
    return ModelRequest(
        messages=tuple(_message(turn) for turn in ask.turns),
        tools=ask.tools,
        tool_choice=ask.tool_choice,
        output_schema=ask.schema,
    )


def _message(turn: Turn) -> Message:
    return Message(
        role=Role(turn.role),
        parts=(Text(text=turn.text, label=_LABEL),),
        tool_calls=tuple(ToolCall(id=call.id, name=call.name, args=_arguments(call)) for call in turn.calls),
        call_id=turn.call_id or None,
    )


def _arguments(call: Call) -> dict[str, object]:
    try:
        value = orjson.loads(call.arguments)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
