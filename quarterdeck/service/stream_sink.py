"""Event streams: every notice as an entry of a stream that other systems read at their own pace."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from quarterdeck.core.errors import Unavailable
from quarterdeck.service.deliveries import Delivery, Happened, Sent, Target, Verdict

__all__ = ["SINK", "EventStream", "EventStreams", "Log"]

SINK = "stream"


class Log(Protocol):
    """An append-only log outside, such as a stream of Redis."""

    async def add(self, fields: Mapping[str, str]) -> None:
        """Append one entry, within a bounded time. Raises Unavailable; the entry may stand there nevertheless."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EventStream:
    """A stream of the configuration.

    Attributes:
        tenant: Whose runs; None for those of all tenants.
        events: Keys of `NOTICES`.
    """

    name: str
    log: Log
    tenant: str | None
    events: Collection[str]


class EventStreams:
    """`Subscribers` and `Sink` of the streams: at least once, each entry with the id that tells repeats."""

    def __init__(self, streams: Sequence[EventStream]) -> None:
        self._streams = {stream.name: stream for stream in streams}

    async def targets(self, happened: Happened) -> Sequence[Target]:
        """The streams that an event belongs to."""
        notice = happened.notice
        return [
            Target(sink=SINK, address=stream.name)
            for stream in self._streams.values()
            if stream.tenant in (None, notice.tenant) and notice.type in stream.events
        ]

    async def send(self, delivery: Delivery) -> Sent:
        """Append the notice to its stream."""
        stream = self._streams.get(delivery.target.address)
        if stream is None:
            return Sent(verdict=Verdict.REFUSED, detail="the stream is not configured any more")
        notice = delivery.notice
        fields = {
            "id": notice.id,
            "type": notice.type,
            "tenant": notice.tenant,
            "run_id": notice.run_id,
            "timestamp": notice.at.isoformat().replace("+00:00", "Z"),
            "data": json.dumps(dict(notice.data), ensure_ascii=False, separators=(",", ":")),
        }
        try:
            await stream.log.add(fields)
        except Unavailable as error:
            return Sent(verdict=Verdict.FAILED, detail=str(error))
        return Sent(verdict=Verdict.DELIVERED)
