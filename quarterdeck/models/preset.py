"""An answer that is always there: the last fallback."""

from __future__ import annotations

from quarterdeck.core.context import Context
from quarterdeck.core.events import Delta
from quarterdeck.models.base import Completion, Emit, ModelRequest

__all__ = ["Preset"]


class Preset:
    """A `Model` that always says the same, calls no tool and costs nothing."""

    def __init__(self, text: str, name: str = "preset") -> None:
        self._text = text
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        ctx.remaining_s()
        if emit is not None:
            await emit(Delta(kind="text", text=self._text))
        return Completion(text=self._text, model=self._name, attempts=0)
