"""The reply whose pieces come live: what of it has come without a gap."""

from __future__ import annotations

from quarterdeck.core.events import Delta

__all__ = ["Reply"]


class Reply:
    """Pieces of the newest reply, put together as long as each follows the one before.

    Attributes:
        turn: Of the reply.
        text: Its beginning, as far as it came in order.
    """

    def __init__(self) -> None:
        self.turn = 0
        self.text = ""
        self._next = 0

    def take(self, delta: Delta) -> bool:
        """False once a piece of the reply was missed or it was begun anew: the text stays a beginning of it."""
        if delta.kind == "progress":
            return False
        if delta.turn != self.turn:
            self.turn, self._next, self.text = delta.turn, 0, ""
        if delta.n != self._next:
            self._next = -1
            return False
        self._next += 1
        if delta.kind == "text":
            self.text += delta.text
        return True
