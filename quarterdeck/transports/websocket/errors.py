"""The one table of what ends a connection, and with which close code. Every other error is an answer to its message."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["CLOSE"]

# Codes of transports/http/errors.py, and after them what only a connection that stays open knows.
CLOSE: Mapping[str, int] = {
    "malformed_json": 1007,
    "duplicate_key": 1007,
    "unsupported_media_type": 1003,
    "too_large": 1009,
    "internal": 1011,
    "unauthenticated": 4401,
    "fragmented": 1008,
    "dead_peer": 1011,
    "stopping": 1012,
    "too_slow": 1013,
}
