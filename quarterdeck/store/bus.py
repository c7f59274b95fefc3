"""Short messages between processes, to whoever listens at that moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

__all__ = ["Bus"]


class Bus(Protocol):
    """Best effort: nothing is kept, who was away has missed it, and nothing here waits for long or raises."""

    @property
    def up(self) -> bool:
        """False while messages do not get through, or nobody serves."""
        ...

    async def publish(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Say each message on its channel, in order. What cannot be said is lost."""
        ...

    async def listened(self, channel: str) -> bool:
        """True if some process listens to the channel. False too when that cannot be found out quickly."""
        ...

    def listen(self, channel: str) -> None:
        """Listen from soon on, until `leave`; `joined` tells from when on."""
        ...

    def leave(self, channel: str) -> None: ...

    async def serve(self, heard: Callable[[str, bytes], None], joined: Callable[[str], None]) -> None:
        """Deliver what is said on the channels listened to, until cancelled. Messages of one sender keep their order.

        Args:
            heard: Takes channel and message, and must be quick.
            joined: Told a channel once it is listened to, after each outage again: what was said before was missed.
        """
        ...

    async def close(self) -> None:
        """Let go of the connections."""
        ...
