"""Answers again what was asked before, word for word."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from quarterdeck.core.context import Context
from quarterdeck.core.events import Delta
from quarterdeck.core.ids import content_hash
from quarterdeck.core.labels import join_all
from quarterdeck.core.usage import Usage
from quarterdeck.models.base import Budget, Completion, Emit, Model, ModelRequest
from quarterdeck.models.route import routed
from quarterdeck.models.wire import encode
from quarterdeck.store.codec import to_json

__all__ = ["Cached", "CompletionCache", "cache_key"]


@dataclass(frozen=True, slots=True)
class _Kept:
    completion: Completion
    until: float
    size: int


class CompletionCache:
    """The newest answers, forgotten by age, number and size. One for all models of a process: the model is in the key.

    Attributes:
        hits, misses: Since the start.
        saved: What the hits would have consumed.
    """

    def __init__(
        self,
        *,
        max_entries: int = 1000,
        max_bytes: int = 64 << 20,
        ttl_s: float = 3600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args: max_bytes: Of all answers as JSON; an answer that is larger by itself is not kept."""
        self.hits = 0
        self.misses = 0
        self.saved = Usage()
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._size = 0
        self._ttl_s = ttl_s
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def get(self, key: str) -> Completion | None:
        kept = self._kept.get(key)
        if kept is None or kept.until <= self._clock():
            self._forget(key)
            self.misses += 1
            return None
        self._kept.move_to_end(key)
        self.hits += 1
        self.saved += kept.completion.usage
        return kept.completion

    def put(self, key: str, completion: Completion) -> None:
        self._forget(key)
        kept = _Kept(completion, self._clock() + self._ttl_s, len(encode(to_json(completion))))
        if kept.size > self._max_bytes:
            return
        self._kept[key] = kept
        self._size += kept.size
        while len(self._kept) > self._max_entries or self._size > self._max_bytes:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: str) -> None:
        if (kept := self._kept.pop(key, None)) is not None:
            self._size -= kept.size


class Cached:
    """Gives the same answer to the same request, at no cost.

    Only what would be the same again is kept: whole answers of requests without randomness, and none of requests with tools
    unless asked for, as those answers depend on a world that changes. The answer of a stand-in is not kept: it
    would be given long after the model it stood in for is back.
    """

    def __init__(
        self, model: Model, cache: CompletionCache, *, with_tools: bool = False, budget: Budget | None = None
    ) -> None:
        """Args: budget: Told what the hits did not consume."""
        self._model = model
        self._cache = cache
        self._budget = budget
        self._with_tools = with_tools

    @property
    def name(self) -> str:
        return self._model.name

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        if request.temperature > 0 or (not self._with_tools and _has_tools(request)):
            return await self._model.complete(request, ctx, emit)
        ctx.remaining_s()
        key = cache_key(self.name, request, ctx)
        kept = self._cache.get(key)
        if kept is not None:
            await _emit(kept, emit)
            if self._budget is not None:
                await self._budget.save(ctx, "cache", kept.model, kept.usage)
            return routed(replace(kept, usage=Usage(), attempts=0), "cache: hit")
        completion = await self._model.complete(request, ctx, emit)
        if completion.model == self.name and completion.finish_reason in ("stop", "tool_calls"):
            self._cache.put(key, completion)
        return completion


def cache_key(model: str, request: ModelRequest, ctx: Context) -> str:
    """A hash of everything an answer depends on, and of who may see it.

    The labels' sources are left out: they are ids of one run and change no answer. The tenant is always part of it;
    so is the user, and what the user belongs to now, unless every word of the conversation is public (security rule 18).
    """
    asked = to_json(request)
    asked.pop("question", None)  # it stands in the messages too
    for message in asked["messages"]:
        for part in message.get("parts", ()):
            part["label"].pop("sources", None)
    public = join_all(part.label for message in request.messages for part in message.parts).readers.is_public
    asker = [] if public else sorted(ctx.principal.names)
    return content_hash([model, ctx.principal.tenant, asker, asked])


def _has_tools(request: ModelRequest) -> bool:
    return bool(request.tools) or any(message.tool_calls for message in request.messages)


async def _emit(completion: Completion, emit: Emit | None) -> None:
    if emit is None:
        return
    pieces = [
        *(Delta(kind="reasoning", text=text) for text in (completion.reasoning,) if text),
        *(Delta(kind="text", text=text) for text in (completion.text,) if text),
        *(Delta(kind="tool_start", text=call.name, call_id=call.id) for call in completion.tool_calls),
    ]
    for n, delta in enumerate(pieces):
        await emit(replace(delta, n=n))
