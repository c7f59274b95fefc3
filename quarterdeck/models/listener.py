"""One reply while it is heard, in any dialect; whole or in pieces differs only in how often `add` is called."""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Literal

from quarterdeck.core.errors import ModelInvalid, Truncated
from quarterdeck.core.events import Delta
from quarterdeck.core.labels import NOBODY, Label
from quarterdeck.core.messages import Opaque, ToolCall
from quarterdeck.core.usage import Usage
from quarterdeck.models.assemble import Assembler
from quarterdeck.models.base import Completion, Emit, ModelRequest
from quarterdeck.models.estimate import prompt_tokens
from quarterdeck.models.tokens import count_tokens

__all__ = ["Counts", "Finish", "Listener", "count", "safe_name"]

Finish = Literal["stop", "tool_calls", "length", "content_filter"]

_MOST_TOKENS = 10_000_000  # no window is larger; a larger report is a mistake of the provider
_UNSAFE_NAME = re.compile(r"[^a-zA-Z0-9_-]")
# Until whoever keeps the reply labels it, nobody may read it.
_UNLABELLED = Label(readers=NOBODY)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Tokens as a provider reported them; None for what it did not say, or said impossibly.

    Attributes:
        prompt: All of the prompt, what was read from and put into the cache included.
    """

    prompt: int | None = None
    completion: int | None = None
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0


class Listener(ABC):
    """What was heard of one reply.

    Attributes:
        finish: The provider's finish reason, None while there was none.
        ended: True once the provider said that nothing more comes.
        heard: True once a piece of it arrived, from when on it is billed.
        delivered: True once a part was passed on to whoever watches.
        paused: True if the provider wants to be asked for the rest.
    """

    finishes: ClassVar[Mapping[str, Finish]]  # finish reasons other than the ordinary end

    def __init__(self, model: str, emit: Emit | None) -> None:
        self.finish: str | None = None
        self.ended = False
        self.heard = False
        self.delivered = False
        self.paused = False
        self.assembler = Assembler()
        self._model = model
        self._emit = emit
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._opaque: list[Opaque] = []
        self._calls_begun = 0
        self._said_anything = False
        self._emitted = 0

    @property
    def watched(self) -> bool:
        return self._emit is not None

    @abstractmethod
    async def add(self, piece: Mapping[str, Any]) -> None:
        """Take a piece of the reply, or the whole of it."""

    @abstractmethod
    def counts(self) -> Counts | None:
        """What the provider reported, None if nothing."""

    def resume(self) -> None:
        """Be ready for the rest of a paused reply. Raises ModelInvalid if it paused too often."""
        raise NotImplementedError

    async def say(self, kind: Literal["text", "reasoning"], piece: Any) -> None:
        """A piece of text; anything else is ignored."""
        if not isinstance(piece, str):
            return
        self._said_anything |= kind == "text"
        if piece:
            (self._text if kind == "text" else self._reasoning).append(piece)
            if self._emit is not None:
                await self._deliver(Delta(kind=kind, text=piece, n=self._emitted))

    async def call(self, *, index: int | None = None, id: Any = None, name: Any = None, arguments: Any = None) -> None:
        """A fragment of a tool call by its parts."""
        await self.add_fragment({"index": index, "id": id, "function": {"name": name, "arguments": arguments}})

    async def add_fragment(self, fragment: Mapping[str, Any]) -> None:
        """A fragment of a tool call as `Assembler.add` takes it."""
        named = self.assembler.add(fragment)
        if named:
            self._calls_begun += 1
            if self._emit is not None:
                await self._deliver(Delta(kind="tool_start", text=named, n=self._emitted))

    def place(self) -> int:
        """Where an opaque item that begins now stands; see `Opaque.place`."""
        return bool(self._text) + self._calls_begun

    def keep(self, item: dict[str, Any], place: int) -> None:
        """An item the provider wants back."""
        provider = self._model.partition(":")[0]
        self._opaque.append(Opaque(provider=provider, item=item, label=_UNLABELLED, place=place))

    async def _deliver(self, delta: Delta) -> None:
        assert self._emit is not None
        self.delivered = True
        self._emitted += 1
        await self._emit(delta)

    def completion(self, request: ModelRequest, *, seconds: float, attempts: int) -> Completion:
        """The reply.

        Raises:
            ModelInvalid: It is none: it broke off, or says and calls nothing; `Truncated` inside a tool call.
        """
        usage = self._usage(request, seconds)
        if not self.ended and self.finish is None:
            usage = self.consumed(request, seconds=seconds) or usage
            raise ModelInvalid(f"{self._model}: the stream ended before the reply did", usage=usage)
        finish = self.finishes.get(self.finish or "", "stop")
        if finish == "length" and self.assembler:
            raise Truncated(f"{self._model} reached its token limit inside a tool call: raise max_tokens", usage=usage)
        if finish == "stop" and not self._said_anything and not self.assembler:
            raise ModelInvalid(f"{self._model} answered with neither text nor tool calls", usage=usage)
        # What a content filter broke off is not acted upon.
        calls = self._calls(request, usage) if finish == "stop" else ()
        return Completion(
            text="".join(self._text),
            tool_calls=calls,
            reasoning="".join(self._reasoning),
            opaque=tuple(self._opaque),
            finish_reason="tool_calls" if calls else finish,
            usage=usage,
            model=self._model,
            attempts=attempts,
        )

    def _calls(self, request: ModelRequest, usage: Usage) -> tuple[ToolCall, ...]:
        """The tool calls, under the names the tools were registered with. Raises ModelInvalid if one was never named."""
        try:
            calls = self.assembler.calls()
        except ModelInvalid as error:
            error.usage = usage
            raise
        names = {safe_name(tool.name): tool.name for tool in request.tools}
        return tuple(
            call if (name := names.get(call.name, call.name)) == call.name else replace(call, name=name) for call in calls
        )

    def consumed(self, request: ModelRequest, *, seconds: float) -> Usage | None:
        """What a reply that broke off consumed: what was reported, and at least what arrived; None if nothing did."""
        if not self.heard:
            return None
        usage, arrived = self._usage(request, seconds), self._arrived()
        if arrived <= usage.completion_tokens:
            return usage
        return replace(usage, completion_tokens=arrived, estimated=True)  # what was reported was the beginning

    def _arrived(self) -> int:
        """About how many tokens of the reply there are."""
        return count_tokens("".join(self._text)) + count_tokens("".join(self._reasoning)) + self.assembler.tokens()

    def _usage(self, request: ModelRequest, seconds: float) -> Usage:
        """What the provider reported, or our estimate, marked, where it reported nothing or nonsense; without a price."""
        said = self.counts()
        counts = said or Counts()
        prompt, completion = counts.prompt, counts.completion
        if said is not None and (prompt is None or completion is None):
            _log.warning("%s reported an impossible usage, which is replaced by an estimate", self._model)
        estimated = prompt is None or completion is None
        if prompt is None:
            prompt = prompt_tokens(request)
        if completion is None:
            completion = self._arrived()
        cached = min(prompt, counts.cached)
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            cost_usd=None,
            seconds=seconds,
            cached_tokens=cached,
            cache_write_tokens=min(prompt - cached, counts.cache_write),
            reasoning_tokens=min(completion, counts.reasoning),
            estimated=estimated,
        )


@lru_cache(maxsize=1024)
def safe_name(name: str) -> str:
    """`name` with what providers refuse in names of functions replaced: a model's invention must not spoil later calls."""
    return _UNSAFE_NAME.sub("_", name)[:64]


def count(value: Any) -> int | None:
    """A number of tokens, None for what cannot be one."""
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else None
