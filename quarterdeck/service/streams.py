"""Whoever watches runs, inside one process: stored events and live pieces of replies go to bounded buffers of readers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from quarterdeck.core.events import Delta
from quarterdeck.store.base import Entry

__all__ = ["Hub", "Reader", "Rested", "Signal"]


@dataclass(frozen=True, slots=True)
class Rested:
    """The run was let go of: it ended, or waits for somebody."""


Signal = Entry | Delta | Rested


@dataclass(eq=False, slots=True)
class Reader:
    """One reader's buffer.

    Attributes:
        deltas: It wants the pieces of replies too.
        cut: It was too slow, or the server is stopping. What it missed is in the journal.
    """

    deltas: bool
    _send: MemoryObjectSendStream[Signal]
    _receive: MemoryObjectReceiveStream[Signal]
    cut: bool = False

    async def receive(self) -> Signal | None:
        """The next signal, None once the reader is cut and its buffer empty. Cancelling it loses nothing."""
        try:
            return await self._receive.receive()
        except anyio.EndOfStream:
            return None

    def offer(self, signal: Signal) -> None:
        try:
            self._send.send_nowait(signal)
        except (anyio.WouldBlock, anyio.ClosedResourceError):
            self.close()

    def close(self) -> None:
        """Cut it off: what is in the buffer can still be received."""
        self.cut = True
        self._send.close()

    def release(self) -> None:
        self.close()
        self._receive.close()


@dataclass(slots=True)
class Hub:
    """Implements `agent.base.Audience`.

    Attributes:
        size: Signals a reader may lie behind before it is cut.
    """

    size: int = 512
    _readers: dict[str, list[Reader]] = field(default_factory=dict)
    _cut: bool = False
    _closed: bool = False

    @contextlib.contextmanager
    def reader(self, run_id: str, *, deltas: bool) -> Iterator[Reader]:
        """A reader of one run while the block lasts. Open it before reading the journal: then no event falls between."""
        reader = Reader(deltas, *anyio.create_memory_object_stream[Signal](self.size))
        self._readers.setdefault(run_id, []).append(reader)
        if self._closed or (self._cut and deltas):
            reader.close()
        try:
            yield reader
        finally:
            reader.release()
            left = [other for other in self._readers[run_id] if other is not reader]
            if left:
                self._readers[run_id] = left
            else:
                del self._readers[run_id]

    async def watched(self, tenant: str, run_id: str) -> bool:
        return any(reader.deltas for reader in self._readers.get(run_id, ()))

    async def stored(self, tenant: str, run_id: str, entries: Sequence[Entry]) -> None:
        for reader in self._readers.get(run_id, ()):
            for entry in entries:
                reader.offer(entry)

    async def delta(self, tenant: str, run_id: str, delta: Delta) -> None:
        for reader in self._readers.get(run_id, ()):
            if reader.deltas:
                reader.offer(delta)

    def rested(self, run_id: str) -> None:
        """Tell the readers that nobody advances the run any more."""
        for reader in self._readers.get(run_id, ()):
            reader.offer(Rested())

    def cut_streams(self) -> None:
        """End the streams of those who watch, now and from now on; those who wait for an answer stay."""
        self._cut = True
        for reader in self._every():
            if reader.deltas:
                reader.close()

    def close(self) -> None:
        """End every reader, also those who wait for an answer; new ones end at once."""
        self._closed = True
        for reader in self._every():
            reader.close()

    def _every(self) -> list[Reader]:
        return [reader for readers in self._readers.values() for reader in readers]
