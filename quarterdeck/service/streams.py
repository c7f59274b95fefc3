"""What goes on inside one process: who watches which runs, through bounded buffers, and which runs are advanced here."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from quarterdeck.agent.base import Audience
from quarterdeck.core.events import Delta
from quarterdeck.store.base import Entry

__all__ = ["Advanced", "Hub", "Key", "Live", "Moved", "Reader", "Rested", "Signal", "Stage"]

Key = tuple[str, str]
"""Tenant and run id: another tenant's run is another run, whatever its id."""


@dataclass(frozen=True, slots=True)
class Moved:
    """The journal holds the run's events up to `head`: who has fewer may look there."""

    head: int


@dataclass(frozen=True, slots=True)
class Rested:
    """The run was let go of: it ended, or waits for somebody."""


Signal = Entry | Delta | Rested
"""What a follower of a run is handed."""

Live = Signal | Moved
"""What lies in a reader's buffer."""


class Stage(Audience, Protocol):
    """Where runs are advanced in sight of their audience."""

    def advancing(self, tenant: str, run_id: str) -> AbstractContextManager[None]:
        """While the run is advanced in this process; afterwards its readers are told that it rests."""
        ...


@dataclass(eq=False, slots=True)
class Reader:
    """One reader's buffer.

    Attributes:
        deltas: It wants the pieces of replies too.
        cut: It was too slow, or the server is stopping. What it missed is in the journal.
    """

    deltas: bool
    _send: MemoryObjectSendStream[Live]
    _receive: MemoryObjectReceiveStream[Live]
    cut: bool = False

    async def receive(self) -> Live | None:
        """The next signal, None once the reader is cut and its buffer empty. Cancelling it loses nothing."""
        try:
            return await self._receive.receive()
        except anyio.EndOfStream:
            return None

    def offer(self, signal: Live) -> None:
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


@dataclass(eq=False, slots=True)
class Advanced:
    """A run that is advanced in this process.

    Attributes:
        head: Seq of the last event its worker appended here, 0 before the first. It knows of every event up to that one.
    """

    head: int = 0


@dataclass(eq=False, slots=True)
class _Followed:
    """A run that somebody reads.

    Attributes:
        told: How the run stood when the readers were last told, by somebody who looked: its head, and whether it rested.
    """

    readers: list[Reader] = field(default_factory=list)
    told: tuple[int, bool] | None = None


def _nobody(tenant: str, run_id: str) -> None:
    """Nobody asked to be told."""


@dataclass(slots=True)
class Hub:
    """Implements `Stage` for the readers of this process.

    Attributes:
        size: Signals a reader may lie behind before it is cut.
        changed: Called with tenant and run id when what `wanted` says of the run has changed.
    """

    size: int = 512
    changed: Callable[[str, str], None] = _nobody
    _runs: dict[Key, _Followed] = field(default_factory=dict)
    _advanced: dict[Key, Advanced] = field(default_factory=dict)
    _cut: bool = False
    _closed: bool = False

    @contextlib.contextmanager
    def reader(self, tenant: str, run_id: str, *, deltas: bool) -> Iterator[Reader]:
        """A reader of one run while the block lasts. Open it before reading the journal: then no event falls between."""
        key = tenant, run_id
        reader = Reader(deltas, *anyio.create_memory_object_stream[Live](self.size))
        before = self.wanted(key)
        followed = self._runs.setdefault(key, _Followed())
        followed.readers.append(reader)
        followed.told = None  # the newcomer has not been told
        if self._closed or (self._cut and deltas):
            reader.close()
        try:
            self._tell_of_change(key, before)
            yield reader
        finally:
            reader.release()
            before = self.wanted(key)
            followed.readers.remove(reader)
            if not followed.readers:
                del self._runs[key]
            self._tell_of_change(key, before)

    @contextlib.contextmanager
    def advancing(self, tenant: str, run_id: str) -> Iterator[None]:
        key = tenant, run_id
        advanced = self._advanced[key] = Advanced()
        try:
            yield
        finally:
            if self._advanced.get(key) is advanced:  # an overtaking advance of this process has its own
                del self._advanced[key]
            self.rested(tenant, run_id)

    def advanced(self, key: Key) -> Advanced | None:
        """The run, if it is advanced in this process."""
        return self._advanced.get(key)

    def wanted(self, key: Key) -> tuple[bool, bool]:
        """Whether the run has readers here, and whether some of them want the pieces of replies."""
        followed = self._runs.get(key)
        return followed is not None, followed is not None and any(reader.deltas for reader in followed.readers)

    def keys(self) -> list[Key]:
        """The runs that have readers here or are advanced here."""
        return list(self._runs.keys() | self._advanced.keys())

    async def watched(self, tenant: str, run_id: str) -> bool:
        return self.wanted((tenant, run_id))[1]

    async def stored(self, tenant: str, run_id: str, entries: Sequence[Entry]) -> None:
        key = tenant, run_id
        if entries and (advanced := self._advanced.get(key)) is not None:
            advanced.head = entries[-1].seq
        for entry in entries:
            self.offer(key, entry)

    async def delta(self, tenant: str, run_id: str, delta: Delta) -> None:
        self.offer((tenant, run_id), delta)

    def rested(self, tenant: str, run_id: str) -> None:
        """Tell the readers that nobody advances the run any more."""
        self.offer((tenant, run_id), Rested())

    def stands(self, key: Key, head: int, *, rests: bool) -> None:
        """Tell the readers how the run stands in the journal, unless they have been told."""
        followed = self._runs.get(key)
        if followed is not None and followed.told != (head, rests):
            followed.told = (head, rests)
            self.offer(key, Rested() if rests else Moved(head))

    def offer(self, key: Key, signal: Live) -> None:
        """Put a signal into the buffers of the run's readers; those that are full are cut."""
        followed = self._runs.get(key)
        for reader in followed.readers if followed is not None else ():
            if reader.deltas or not isinstance(signal, Delta):
                reader.offer(signal)

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

    def _tell_of_change(self, key: Key, before: tuple[bool, bool]) -> None:
        if self.wanted(key) != before:
            self.changed(*key)

    def _every(self) -> list[Reader]:
        return [reader for followed in self._runs.values() for reader in followed.readers]
