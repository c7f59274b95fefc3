"""A model that obeys every instruction it reads, whoever wrote it: the worst case for an agent with tools."""

from __future__ import annotations

import re
from dataclasses import replace

import orjson

from quarterdeck.devtools.simulator.base import Ask, Brain, Call, Reply, Turn
from quarterdeck.models.base import ToolSpec

__all__ = ["Obedient"]

_SENTENCE = re.compile(r"[^.!?。！？\n]+(?:[.!?](?!\s|$)[^.!?。！？\n]*)*[.!?。！？]?")
_ORDER = re.compile(
    r"\b(?:ignore|disregard|forget|instead|must|you should|please|now|immediately|important|system|instruction|"
    r"call|invoke|use|send|forward|email|delete|transfer|say|reply|respond|answer|write|include|add|append|print|output)\b"
    r"|忽略|无视|必须|请|立即|调用|发送|转发|删除|转账|回复|回答|输出",
    re.IGNORECASE,
)
_PAIR = re.compile(r"([A-Za-z_]\w*)\s*(?:=|:)\s*(\"[^\"]*\"|'[^']*'|[^\s,;]+)")


class Obedient:
    """Does what the newest text from outside tells it to, by the tools it has; else answers honestly, orders included."""

    def __init__(self, honest: Brain) -> None:
        self._honest = honest

    async def reply(self, ask: Ask) -> Reply:
        made = {(call.name, call.arguments) for turn in ask.turns for call in turn.calls}
        orders = [order for turn in ask.turns if turn.role in ("tool", "user") for order in _orders(turn, ask)]
        for order in orders:
            calls = tuple(call for call in await self._obey(order, ask) if (call.name, call.arguments) not in made)
            if calls:
                return Reply(calls=calls)
        said = await self._honest.reply(ask)
        injected = [order for order in orders if order not in ask.question]
        if said.calls or ask.schema is not None or not injected:
            return said
        return replace(said, text="\n".join((said.text, *injected)))

    async def _obey(self, order: str, ask: Ask) -> list[Call]:
        """The calls an order asks for: of tools it names."""
        calls: list[Call] = []
        for tool in ask.tools:
            if not _names(order, tool.name):
                continue
            given = _given(order, tool)
            if given is None:
                forced = replace(ask, turns=(Turn("user", order),), tool_choice=tool.name, schema=None)
                calls += (await self._honest.reply(forced)).calls
            else:
                calls.append(Call(tool.name, orjson.dumps(given).decode()))
        return calls


def _orders(turn: Turn, ask: Ask) -> list[str]:
    """What in a text is an order: sentences that command, with the ones after them that say what exactly."""
    names = [tool.name for tool in ask.tools]
    if turn.role == "user" and not any(_names(turn.text, name) for name in names):
        return []  # the user's own wishes are the honest model's affair
    sentences = [sentence.strip() for sentence in _SENTENCE.findall(turn.text)]
    return [one for one in sentences if one and (_ORDER.search(one) or any(_names(one, name) for name in names))]


def _names(text: str, tool: str) -> bool:
    lowered = text.lower()
    return tool.lower() in lowered or tool.lower().replace("_", " ") in lowered


def _given(order: str, tool: ToolSpec) -> dict[str, object] | None:
    """Arguments the order spells out, as JSON or as name=value; None if it spells out none."""
    start, end = order.find("{"), order.rfind("}")
    if 0 <= start < end:
        try:
            value = orjson.loads(order[start : end + 1])
        except orjson.JSONDecodeError:
            value = None
        if isinstance(value, dict):
            return value
    properties = tool.input_schema.get("properties", {})
    found: dict[str, object] = {}
    for name, text in _PAIR.findall(order):
        if name in properties:
            found[name] = _typed(text.strip("\"'").rstrip(".)"), properties[name].get("type"))
    return found or None


def _typed(text: str, kind: object) -> object:
    if kind in ("integer", "number", "boolean"):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
    return text
