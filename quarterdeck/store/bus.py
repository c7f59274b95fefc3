"""Short messages between processes, to whoever listens at that moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import anyio

__all__ = ["Bus", "MemoryBus"]


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


class MemoryBus:
    """A `Bus` between parts of one process.

    Args:
        line: What buses that hear each other have in common; each adds itself while it serves.

    Attributes:
        wanted: The channels listened to.
    """

    def __init__(self, line: list[MemoryBus]) -> None:
        self._line = line
        self.wanted: set[str] = set()
        self._heard: Callable[[str, bytes], None] | None = None
        self._joined: Callable[[str], None] | None = None

    @property
    def up(self) -> bool:
        return self in self._line

    async def publish(self, messages: Sequence[tuple[str, bytes]]) -> None:
        if self.up:
            for channel, message in messages:
                for bus in list(self._line):
                    bus.hear(channel, message)

    async def listened(self, channel: str) -> bool:
        return self.up and any(channel in bus.wanted for bus in self._line)

    def listen(self, channel: str) -> None:
        self.wanted.add(channel)
        if self._joined is not None:
            self._joined(channel)

    def leave(self, channel: str) -> None:
        self.wanted.discard(channel)

    async def serve(self, heard: Callable[[str, bytes], None], joined: Callable[[str], None]) -> None:
        self._heard, self._joined = heard, joined
        self._line.append(self)
        try:
            for channel in sorted(self.wanted):
                joined(channel)
            await anyio.sleep_forever()
        finally:
            self._line.remove(self)
            self._heard = self._joined = None

    async def close(self) -> None: ...

    def hear(self, channel: str, message: bytes) -> None:
        """Take what somebody on the line has said."""
        if channel in self.wanted and self._heard is not None:
            self._heard(channel, message)
