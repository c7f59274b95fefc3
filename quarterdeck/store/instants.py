"""Instants as the store keeps them: whole microseconds since 1970, UTC. A quarter of the bytes of their ISO text."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

__all__ = ["Clock", "from_micros", "to_micros", "utc_now"]

Clock = Callable[[], datetime]  # gives the present instant, aware UTC

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def utc_now() -> datetime:
    """The present instant by this machine's clock."""
    return datetime.now(UTC)


def to_micros(instant: datetime) -> int:
    """Microseconds since 1970 of an aware instant."""
    return (instant - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The instant, aware UTC, exact to the microsecond."""
    return _EPOCH + timedelta(microseconds=micros)
