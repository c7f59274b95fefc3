"""Whether a part of a reply has been passed on already."""

from __future__ import annotations

from quarterdeck.core.events import Delta
from quarterdeck.models.base import Emit

__all__ = ["Watch"]


class Watch:
    """Passes deltas on and remembers that it did.

    Attributes:
        delivered: True once there was one; to begin again would show it twice to whoever watches.
    """

    def __init__(self, emit: Emit) -> None:
        self.delivered = False
        self._emit = emit

    async def __call__(self, delta: Delta) -> None:
        self.delivered = True
        await self._emit(delta)
