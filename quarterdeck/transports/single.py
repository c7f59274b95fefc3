"""Headers that say one thing: of two, a proxy, this server and whoever reads its log may each believe another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

__all__ = ["contradicted", "repeated"]

# Ids of traces and tags are not here: what is wrong with them is dropped, and never fatal.
_SINGLE = frozenset(
    {
        "authorization",
        "content-encoding",
        "content-length",
        "content-type",
        "host",
        "idempotency-key",
        "last-event-id",
        "x-api-key",
        "x-lane",
        "x-request-deadline",
        "x-request-timeout-ms",
    }
)


def contradicted(headers: Mapping[str, str]) -> bool:
    """Whether a key is sent in both ways, and not the same: who is meant would be somebody's guess.

    Args:
        headers: By name in small letters.
    """
    bearer, key = headers.get("authorization"), headers.get("x-api-key")
    if bearer is None or key is None:
        return False
    scheme, _, value = bearer.partition(" ")
    return scheme.lower() != "bearer" or value.strip() != key.strip()


def repeated(names: Iterable[str]) -> str | None:
    """The first header, in small letters, that stands twice and may stand but once; None if there is none."""
    return next((name for name, count in Counter(names).items() if count > 1 and name in _SINGLE), None)
