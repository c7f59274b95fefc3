"""What is live in runs, carried between processes: that a journal grew, pieces of replies, rests, and interruptions.

The journal is the truth and this is only speed: a message says where to look, or brings a piece that the stored reply
supersedes. So everything here may be lost, is never waited for, and is bounded.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import groupby
from typing import Any
from urllib.parse import quote

import anyio

from quarterdeck.core.events import Delta
from quarterdeck.core.ids import new_id
from quarterdeck.service.streams import Hub, Key, Moved, Rested
from quarterdeck.store.base import Entry
from quarterdeck.store.bus import Bus

__all__ = ["Relay"]

log = logging.getLogger(__name__)

_INTERRUPTIONS = "interrupt"  # one channel for all: they are few, and nobody knows which process advances a run
_MOST_PIECES = 256  # of one run that wait to be sent
_MOST_CHARACTERS = 65_536  # in them
_MOST_ANSWERS = 10_000

_Said = Delta | Moved | Rested
_DELTA_FIELDS = frozenset(item.name for item in fields(Delta))


@dataclass(slots=True)
class _Parcel:
    """What waits to be said about one run, in order."""

    signals: list[_Said] = field(default_factory=list)
    pieces: int = 0
    characters: int = 0

    def add(self, signal: _Said) -> None:
        """Take a signal. A piece that is too much is dropped; a newer head replaces the one just before it."""
        if isinstance(signal, Delta):
            if self.pieces >= _MOST_PIECES or self.characters + len(signal.text) > _MOST_CHARACTERS:
                return
            self.pieces += 1
            self.characters += len(signal.text)
        elif self.signals and type(self.signals[-1]) is type(signal):
            self.signals.pop()
        self.signals.append(signal)


class Relay:
    """Implements `Stage` for the readers of this process and of all others on the same bus.

    Args:
        gather_s: How long pieces of replies wait for others, so that they go together.
        remembered_s: How long it is remembered whether somebody elsewhere watches a run.
    """

    def __init__(
        self,
        hub: Hub,
        bus: Bus,
        *,
        gather_s: float = 0.02,
        remembered_s: float = 0.25,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hub = hub
        self._bus = bus
        self._gather_s = gather_s
        self._remembered_s = remembered_s
        self._clock = clock
        self._self = new_id()  # what comes back to us we have told our readers already
        self._parcels: dict[Key, _Parcel] = {}
        self._interruptions: list[Key] = []
        self._filled, self._urgent = anyio.Event(), anyio.Event()
        self._channels: dict[str, Key] = {}
        self._answers: dict[Key, tuple[float, bool]] = {}
        hub.changed = self._tune

    @property
    def up(self) -> bool:
        """False while processes hear nothing of each other, or nobody serves."""
        return self._bus.up

    async def watched(self, tenant: str, run_id: str) -> bool:
        return await self._hub.watched(tenant, run_id) or await self._watched_elsewhere((tenant, run_id))

    async def stored(self, tenant: str, run_id: str, entries: Sequence[Entry]) -> None:
        await self._hub.stored(tenant, run_id, entries)
        if entries:
            self._say((tenant, run_id), Moved(entries[-1].seq))

    async def delta(self, tenant: str, run_id: str, delta: Delta) -> None:
        await self._hub.delta(tenant, run_id, delta)
        self._say((tenant, run_id), delta)

    @contextlib.contextmanager
    def advancing(self, tenant: str, run_id: str) -> Iterator[None]:
        try:
            with self._hub.advancing(tenant, run_id):
                yield
        finally:
            self._say((tenant, run_id), Rested())

    def interrupt(self, tenant: str, run_id: str) -> None:
        """Tell the other processes that whichever of them advances the run has to look at its journal."""
        if self._bus.up and len(self._interruptions) < _MOST_PIECES:
            self._interruptions.append((tenant, run_id))
            self._filled.set()
            self._urgent.set()

    async def serve(self, *, interrupted: Callable[[Key], None], joined: Callable[[Key], None]) -> None:
        """Carry signals until cancelled.

        Args:
            interrupted: Told of each interruption that another process asked for.
            joined: Told a run when its signals begin to be heard here: what happened before was missed.
        """

        def heard(channel: str, message: bytes) -> None:
            self._heard(channel, message, interrupted)

        def subscribed(channel: str) -> None:
            key = self._channels.get(channel)
            if key is not None:
                joined(key)

        self._bus.listen(_INTERRUPTIONS)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._send)
            await self._bus.serve(heard, subscribed)

    async def _send(self) -> None:
        while True:
            await self._filled.wait()
            with anyio.move_on_after(self._gather_s):
                await self._urgent.wait()
            parcels, self._parcels = self._parcels, {}
            interruptions, self._interruptions = self._interruptions, []
            self._filled, self._urgent = anyio.Event(), anyio.Event()
            messages = [(_INTERRUPTIONS, self._packed(interruptions))] if interruptions else []
            for key, parcel in parcels.items():
                for live, signals in groupby(parcel.signals, lambda signal: isinstance(signal, Delta)):
                    messages.append((_channel(key, live=live), self._packed([_plain(signal) for signal in signals])))
            await self._bus.publish(messages)

    def _say(self, key: Key, signal: _Said) -> None:
        if not self._bus.up:
            return
        self._parcels.setdefault(key, _Parcel()).add(signal)
        self._filled.set()
        if not isinstance(signal, Delta):
            self._urgent.set()

    def _heard(self, channel: str, message: bytes, interrupted: Callable[[Key], None]) -> None:
        try:
            sender, said = json.loads(message)
            if sender == self._self:
                return
            if channel == _INTERRUPTIONS:
                for tenant, run_id in said:
                    interrupted((tenant, run_id))
            elif (key := self._channels.get(channel)) is not None:
                for plain in said:
                    if (signal := _signal(plain)) is not None:
                        self._hub.offer(key, signal)
        except (ValueError, TypeError, AttributeError) as error:
            # Another version may speak otherwise while a fleet is renewed; the journal has it all.
            log.debug("a message of another process was not understood", extra={"error_type": type(error).__name__})

    def _packed(self, said: Sequence[Any]) -> bytes:
        return json.dumps([self._self, said], separators=(",", ":")).encode()

    def _tune(self, tenant: str, run_id: str) -> None:
        """Listen to what the readers of this process want to hear."""
        key = tenant, run_id
        read, live = self._hub.wanted(key)
        for channel, wanted in ((_channel(key, live=False), read), (_channel(key, live=True), live)):
            if wanted and channel not in self._channels:
                self._channels[channel] = key
                self._bus.listen(channel)
            elif not wanted and self._channels.pop(channel, None) is not None:
                self._bus.leave(channel)

    async def _watched_elsewhere(self, key: Key) -> bool:
        if not self._bus.up:
            return False
        until, answer = self._answers.get(key, (0.0, False))
        if self._clock() < until:
            return answer
        answer = await self._bus.listened(_channel(key, live=True))
        if len(self._answers) >= _MOST_ANSWERS:
            self._answers.clear()
        self._answers[key] = self._clock() + self._remembered_s, answer
        return answer


def _channel(key: Key, *, live: bool) -> str:
    """Where a run is spoken of: its pieces of replies apart, for models stream only to those who listen there."""
    tenant, run_id = (quote(part, safe="") for part in key)
    return f"{'live' if live else 'run'}:{tenant}:{run_id}"


def _plain(signal: _Said) -> dict[str, Any]:
    match signal:
        case Delta():
            return {"delta": asdict(signal)}
        case Moved(head):
            return {"head": head}
        case Rested():
            return {"rested": True}


def _signal(plain: dict[str, Any]) -> _Said | None:
    """The signal somebody meant; None if this version knows no such."""
    match plain:
        case {"delta": dict(given)}:
            return Delta(**{name: value for name, value in given.items() if name in _DELTA_FIELDS})
        case {"head": int(head)}:
            return Moved(head)
        case {"rested": True}:
            return Rested()
    return None
