"""Names of things: random ids in order of time, ids made from other ids, and content hashes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from typing import Any

from quarterdeck.core.errors import InvalidInput

__all__ = ["canonical_json", "check_id", "content_hash", "hashed_id", "new_id"]

# Made once: json.dumps makes an encoder per call for anything but its defaults.
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
_ID = re.compile(r"[a-z0-9_-]{1,64}\Z")


def new_id() -> str:
    """A UUID version 7 as 32 hexadecimal digits: unique, and sorted by the millisecond of making (RFC 9562)."""
    stamp = time.time_ns() // 1_000_000
    noise = int.from_bytes(os.urandom(10), "big")
    high = (stamp << 16) | 0x7000 | (noise >> 68 & 0x0FFF)
    low = (0b10 << 62) | (noise & 0x3FFF_FFFF_FFFF_FFFF)
    return f"{high << 64 | low:032x}"


def hashed_id(*parts: str) -> str:
    """The same id for the same parts: 32 hexadecimal digits of a SHA-256 over them, unambiguous in their order."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def check_id(text: str, what: str = "id") -> str:
    """Return `text` if it is a well-formed id.

    Raises:
        InvalidInput: It does not match ``[a-z0-9_-]{1,64}``.
    """
    if _ID.match(text) is None:
        raise InvalidInput(f"{what} {text[:80]!r} is not an id: use 1 to 64 characters of a-z, 0-9, '_' and '-'")
    return text


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text. NaN and infinity are refused (ValueError)."""
    return _CANONICAL(value)


def content_hash(value: Any) -> str:
    """SHA-256 of the canonical JSON of `value`, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode("utf-8", "surrogatepass")).hexdigest()
