"""What ends a connection, and with which close code. Every other error is an answer to its message."""

from __future__ import annotations

from collections.abc import Mapping

from quarterdeck.transports.errors import ERRORS

__all__ = ["CLOSE"]

# After the errors all transports have comes what only a connection that stays open knows.
CLOSE: Mapping[str, int] = {code: told.close for code, told in ERRORS.items() if told.close is not None} | {
    "fragmented": 1008,
    "dead_peer": 1011,
    "stopping": 1012,
    "too_slow": 1013,
}
