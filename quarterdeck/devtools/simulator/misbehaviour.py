"""Models that behave badly on purpose, each by its name: what an agent has to survive."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import orjson

from quarterdeck.devtools.simulator.base import Ask, Brain, Call, Reply, UsageOverride
from quarterdeck.devtools.simulator.generate import generate
from quarterdeck.models.base import ToolSpec

__all__ = ["MISBEHAVIOURS", "Liar", "Misbehaving"]

_NOTHING = ToolSpec(name="lookup", description="", input_schema={"type": "object"})
_HUGE = 5 << 20
_MANY = 500
_MARKER = re.compile(r"\[(\d{1,3})\]")
_SOURCES = frozenset("sources source citations references source_ids passages".split())


def _tool(ask: Ask) -> ToolSpec:
    """The tool to misuse: the one that is forced, else the first."""
    return next((tool for tool in ask.tools if tool.name == ask.tool_choice), ask.tools[0] if ask.tools else _NOTHING)


def _arguments(ask: Ask) -> Any:
    return generate(_tool(ask).input_schema or {"type": "object"}, ask.dice.random)


def _text(value: Any) -> str:
    return orjson.dumps(value).decode()


def _calling(ask: Ask, arguments: str) -> Reply:
    return Reply(calls=(Call(_tool(ask).name, arguments),))


def _same_call(ask: Ask) -> Reply:
    """The call it made first, for ever."""
    made = next((call for turn in ask.turns for call in turn.calls), None)
    return Reply(calls=(Call(made.name, made.arguments),)) if made else _calling(ask, _text(_arguments(ask)))


def _every_tool(ask: Ask) -> Reply:
    called = {call.name for turn in ask.turns for call in turn.calls}
    left = next((tool for tool in ask.tools if tool.name not in called), None)
    if left is None:
        return Reply(text="Every tool was called once.")
    return Reply(calls=(Call(left.name, _text(generate(left.input_schema or {"type": "object"}, ask.dice.random))),))


def _twisted(arguments: Any) -> Any:
    """Arguments of the wrong kinds: texts become numbers, everything else a text."""
    return {name: 7 if isinstance(value, str) else "seven" for name, value in arguments.items()} or {"unexpected": [None]}


def _duplicates(ask: Ask) -> Reply:
    call = Call(_tool(ask).name, _text(_arguments(ask)), "call_1")
    return Reply(calls=(call, call._replace(arguments=_text(_arguments(ask)))))


def _twice(ask: Ask) -> Reply:
    call = Call(_tool(ask).name, _text(_arguments(ask)))
    return Reply(calls=(call, call))


def _truncated(ask: Ask) -> Reply:
    text = _text(_arguments(ask) or {"value": "x"})
    return replace(_calling(ask, text[: max(1, len(text) * 2 // 3)]), finish="length")


MISBEHAVIOURS: Mapping[str, Callable[[Ask], Reply]] = MappingProxyType(
    {
        "sim-loop": _same_call,
        "sim-every-tool": _every_tool,
        "sim-unknown-tool": lambda ask: Reply(calls=(Call(f"{_tool(ask).name}_v2", "{}"),)),
        "sim-bad-arguments": lambda ask: _calling(ask, _text(_twisted(_arguments(ask)))),
        "sim-extra-arguments": lambda ask: _calling(ask, _text({**_arguments(ask), "sudo": True})),
        "sim-no-arguments": lambda ask: _calling(ask, "{}"),
        "sim-broken-arguments": lambda ask: _calling(ask, _text(_arguments(ask))[:-1] + ",,"),
        "sim-truncated-arguments": _truncated,
        "sim-array-arguments": lambda ask: _calling(ask, "[1, 2]"),
        "sim-null-arguments": lambda ask: _calling(ask, "null"),
        "sim-huge-arguments": lambda ask: _calling(ask, _text({"value": "x" * _HUGE})),
        "sim-duplicate-ids": _duplicates,
        "sim-same-call-twice": _twice,
        "sim-many-calls": lambda ask: Reply(calls=(Call(_tool(ask).name, _text(_arguments(ask))),) * _MANY),
        "sim-text-and-call": lambda ask: replace(_calling(ask, _text(_arguments(ask))), text="Let me look that up."),
        "sim-no-choices": lambda ask: Reply(choices=False),
        "sim-silent": lambda ask: Reply(text=""),
        "sim-no-usage": lambda ask: Reply(text="Hello.", tells_usage=False),
        "sim-absurd-usage": lambda ask: Reply(
            text="Hello.", usage=UsageOverride(prompt_tokens=-5, completion_tokens=10**12)
        ),
        "sim-filtered": lambda ask: Reply(finish="content_filter"),
        "sim-cut-short": lambda ask: Reply(text="The answer is", finish="length"),
        "sim-refuses": lambda ask: Reply(refusal="I'm sorry, but I can't help with that."),
        "sim-echo": lambda ask: Reply(text=ask.question),
    }
)


class Misbehaving:
    """A brain from one function of the table."""

    def __init__(self, act: Callable[[Ask], Reply]) -> None:
        self._act = act

    async def reply(self, ask: Ask) -> Reply:
        return self._act(ask)


class Liar:
    """Answers like an honest model, but names sources nobody gave it."""

    def __init__(self, honest: Brain) -> None:
        self._honest = honest

    async def reply(self, ask: Ask) -> Reply:
        said = await self._honest.reply(ask)
        if said.calls:
            return said
        if ask.schema is not None:
            try:
                return replace(said, text=_text(_forged(orjson.loads(said.text), ask)))
            except orjson.JSONDecodeError:
                return said
        forged = _MARKER.sub(lambda mark: f"[{int(mark[1]) + 40}]", said.text)
        return replace(said, text=forged if forged != said.text else f"{said.text} [41]")


def _forged(value: Any, ask: Ask) -> Any:
    """`value` with every list of sources replaced."""
    if isinstance(value, list):
        return [_forged(item, ask) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: [ask.dice.id("source-", name, 8)]
        if name.lower() in _SOURCES and isinstance(inner, list) and all(isinstance(item, str) for item in inner)
        else _forged(inner, ask)
        for name, inner in value.items()
    }
