"""Instants as the store keeps them: whole microseconds since 1970, UTC. A quarter of the bytes of their ISO text."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

__all__ = ["Clock", "from_micros", "iso_text", "to_micros", "utc_now"]

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


def iso_text(micros: int) -> str:
    """What `from_micros(micros).isoformat()` says; of two instants in one second the calendar is asked once."""
    seconds, rest = divmod(micros, 1_000_000)
    return f"{_second(seconds)}.{rest:06d}+00:00" if rest else f"{_second(seconds)}+00:00"


@lru_cache(maxsize=8)
def _second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]
