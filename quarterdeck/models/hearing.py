"""A reply of the chat-completions kind while it arrives; whole or in chunks differs only in how often `add` is called."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from quarterdeck.core.errors import ModelInvalid
from quarterdeck.core.events import Delta
from quarterdeck.core.messages import ToolCall
from quarterdeck.core.usage import Usage
from quarterdeck.models.assemble import Assembler
from quarterdeck.models.base import Emit, ModelRequest
from quarterdeck.models.tokens import count_tokens
from quarterdeck.models.wire import encode

__all__ = ["Hearing"]

_MOST_TOKENS = 10_000_000  # no window is larger; a larger report is a mistake of the provider
_log = logging.getLogger(__name__)


class Hearing:
    """What was heard of one reply.

    Attributes:
        finish: The provider's finish reason, None while there was none.
        ended: True once the provider said that nothing more comes.
        delivered: True once a part was passed on to whoever watches.
    """

    def __init__(self, model: str, emit: Emit | None) -> None:
        self.finish: str | None = None
        self.ended = False
        self.delivered = False
        self.assembler = Assembler()
        self._model = model
        self._emit = emit
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._said_anything = False
        self._usage: Mapping[str, Any] | None = None
        self._emitted = 0

    @property
    def watched(self) -> bool:
        return self._emit is not None

    @property
    def text(self) -> str:
        return "".join(self._text)

    @property
    def reasoning(self) -> str:
        return "".join(self._reasoning)

    @property
    def silent(self) -> bool:
        """True when there was no text, not even an empty one, and no call."""
        return not self._said_anything and not self.assembler

    async def add(self, chunk: Mapping[str, Any]) -> None:
        """Take a chunk of the reply, or the whole of it."""
        if isinstance(usage := chunk.get("usage"), dict):
            self._usage = usage
        for choice in _list(chunk.get("choices")):
            if isinstance(choice, dict) and not choice.get("index"):
                await self._add_choice(choice)

    async def _add_choice(self, choice: Mapping[str, Any]) -> None:
        whole = choice.get("message")
        said = whole if isinstance(whole, dict) else choice.get("delta")
        if isinstance(said, dict):
            await self._say("reasoning", said.get("reasoning_content") or said.get("reasoning"), self._reasoning)
            content = said.get("content")
            if isinstance(content, list):
                content = "".join(part["text"] for part in content if isinstance(part, dict) and _is_text(part.get("text")))
            content = said.get("refusal") if content is None else content
            self._said_anything |= _is_text(content)
            await self._say("text", content, self._text)
            for place, fragment in enumerate(_list(said.get("tool_calls"))):
                if isinstance(fragment, dict):
                    # In a whole message the place is the index, so that equal ids stay two calls.
                    named = self.assembler.add({**fragment, "index": place} if whole is said else fragment)
                    if named and self._emit is not None:
                        await self._deliver(Delta(kind="tool_start", text=named, n=self._emitted))
        if _is_text(finish := choice.get("finish_reason")):
            self.finish = finish

    async def _say(self, kind: Literal["text", "reasoning"], piece: Any, to: list[str]) -> None:
        if piece and isinstance(piece, str):
            to.append(piece)
            if self._emit is not None:
                await self._deliver(Delta(kind=kind, text=piece, n=self._emitted))

    async def _deliver(self, delta: Delta) -> None:
        assert self._emit is not None
        self.delivered = True
        self._emitted += 1
        await self._emit(delta)

    def calls(self, usage: Usage, names: Mapping[str, str]) -> tuple[ToolCall, ...]:
        """The tool calls, under the names the tools were registered with.

        Raises:
            ModelInvalid: A call was never named.
        """
        try:
            calls = self.assembler.calls()
        except ModelInvalid as error:
            error.usage = usage
            raise
        return tuple(
            call if (name := names.get(call.name, call.name)) == call.name else replace(call, name=name) for call in calls
        )

    def usage(self, request: ModelRequest, seconds: float) -> Usage:
        """What the provider reported, or our estimate, marked, where it reported nothing or nonsense; without a price."""
        reported = self._usage or {}
        prompt, completion = _count(reported.get("prompt_tokens")), _count(reported.get("completion_tokens"))
        if self._usage is not None and (prompt is None or completion is None):
            _log.warning("%s reported an impossible usage, which is replaced by an estimate", self._model)
        estimated = prompt is None or completion is None
        if prompt is None:
            prompt = _prompt_tokens(request)
        if completion is None:
            completion = count_tokens(self.text) + count_tokens(self.reasoning) + self.assembler.tokens()
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            cost_usd=None,
            seconds=seconds,
            cached_tokens=min(prompt, _detail(reported, "prompt_tokens_details", "cached_tokens")),
            reasoning_tokens=min(completion, _detail(reported, "completion_tokens_details", "reasoning_tokens")),
            estimated=estimated,
        )


def _prompt_tokens(request: ModelRequest) -> int:
    tokens = 0
    for message in request.messages:
        tokens += 4 + count_tokens(message.text)
        for call in message.tool_calls:
            tokens += count_tokens(call.name) + count_tokens(encode(call.args).decode())
    for tool in request.tools:
        tokens += count_tokens(tool.description) + count_tokens(encode(tool.input_schema).decode())
    return tokens


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else None


def _detail(usage: Mapping[str, Any], group: str, key: str) -> int:
    details = usage.get(group)
    return (_count(details.get(key)) or 0) if isinstance(details, dict) else 0


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
