"""Following a run: its stored events in order, without gap or repeat, with what happens live between them."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Protocol, cast

import anyio

from quarterdeck.core.errors import Unavailable
from quarterdeck.core.events import Delta, FinalAnswer, ModelReply, RunCancelled, RunFailed
from quarterdeck.service.streams import Moved, Reader, Rested, Signal
from quarterdeck.store.base import Entry, Journal

__all__ = ["Follow", "Permitted", "Signals"]

_PAGE = 100


class Signals(Protocol):
    """What happens in a run, one after the other."""

    @property
    def complete(self) -> bool:
        """True when the run has ended and everything was handed out."""
        ...

    async def receive(self) -> Signal | None:
        """The next signal; None when there will be none for this reader. Cancelling it loses nothing."""
        ...


class Follow:
    """One reader's way through a run. The journal is the truth; the live buffer only says when to look.

    Args:
        reader: Opened before the run was last read, so that nothing falls between.
        seen: Seq of the last event the reader has.
        first: The first event of a run that was begun after the reader opened: saves the first look into the journal.
        over: True when the run had ended and `seen` was its last event.
    """

    def __init__(
        self,
        journal: Journal,
        tenant: str,
        run_id: str,
        reader: Reader,
        *,
        seen: int = 0,
        first: Entry | None = None,
        over: bool = False,
    ) -> None:
        self._journal = journal
        self._tenant = tenant
        self._run_id = run_id
        self._reader = reader
        self._seen = seen
        self._behind = first is None
        self._pending: deque[Signal] = deque()
        self._over = over
        self._replied = 0
        if first is not None:
            self._take(first)

    @property
    def complete(self) -> bool:
        """True when the run has ended and everything was handed out."""
        return self._over and not self._pending

    async def receive(self) -> Signal | None:
        """The next signal; None when the run ended and everything was handed out, or the reader was cut.

        Cancelling it, by a time-out for a heartbeat for instance, loses nothing.
        """
        while True:
            if self._pending and not isinstance(self._pending[0], Rested):
                return self._pending.popleft()
            if self._behind:
                await self._catch_up()
            if self._pending:
                return self._pending.popleft()
            if self._over:
                return None
            signal = await self._reader.receive()
            match signal:
                case None:
                    return None
                case Delta():
                    if not self._superseded(signal):
                        return signal
                case Rested():
                    # Others may have posted events that no worker announced; they come first.
                    self._pending.append(signal)
                    self._behind = True
                case Entry(seq=seq) if seq == self._seen + 1:
                    self._take(signal)
                case Entry(seq=head) | Moved(head) if head > self._seen:
                    self._behind = True

    async def _catch_up(self) -> None:
        """Take the next stored events, a page at a time: a slow reader of a long run must not hold the whole of it."""
        rests = list(self._pending)
        self._pending.clear()
        self._behind = False
        reading = self._journal.read(self._tenant, self._run_id, self._seen)
        async with aclosing(cast(AsyncGenerator[Entry, None], reading)) as stored:
            async for entry in stored:
                if len(self._pending) == _PAGE:
                    self._behind = True
                    break
                self._take(entry)
        self._pending.extend(rests)

    def _take(self, entry: Entry) -> None:
        self._pending.append(entry)
        self._seen = entry.seq
        self._over = isinstance(entry.event, FinalAnswer | RunFailed | RunCancelled)
        if isinstance(entry.event, ModelReply):
            self._replied = entry.event.turn

    def _superseded(self, delta: Delta) -> bool:
        """True for a piece of a reply that was handed out whole: between processes a journal can be quicker than pieces."""
        return delta.kind != "progress" and 0 < delta.turn <= self._replied


class Permitted:
    """Signals of a run for somebody who may lose the right to read it on the way: from then on there are none.

    Args:
        confirm: Raises Forbidden if he may not read it, as rights are now.
        every_s: Seconds for which that holds, while the run goes on.
    """

    def __init__(
        self,
        signals: Signals,
        confirm: Callable[[], Awaitable[object]],
        *,
        every_s: float = 5.0,
        now: Callable[[], float] = anyio.current_time,
    ) -> None:
        self._signals = signals
        self._confirm = confirm
        self._every_s = every_s
        self._now = now
        self._looked = now()
        self._held: Signal | None = None

    @property
    def complete(self) -> bool:
        """True when the run has ended and everything was handed out."""
        return self._held is None and self._signals.complete

    async def receive(self) -> Signal | None:
        """The next signal. Raises Forbidden once the right to read is gone."""
        if self._held is None:
            self._held = await self._signals.receive()
        if self._held is not None and self._now() - self._looked >= self._every_s:
            # A database that is away for a moment ends nobody's stream; the next look tells.
            with suppress(Unavailable):
                await self._confirm()
            self._looked = self._now()
        signal, self._held = self._held, None
        return signal
