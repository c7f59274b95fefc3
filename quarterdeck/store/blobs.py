"""Large payloads rest apart from the rows, under their hash; an entry made ready for its row says which one is its own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from quarterdeck.store.base import Entry
from quarterdeck.store.codec import encode

__all__ = ["BLOB_GRACE", "INLINE_BYTES", "Packed", "hash_bytes", "pack"]

INLINE_BYTES = 8192  # an event with more goes to a blob
BLOB_GRACE = timedelta(hours=1)  # an unreferred blob is safe for half of it at least: it may be kept before its run begins


@dataclass(frozen=True, slots=True)
class Packed:
    """An entry as a row takes it.

    Attributes:
        data: JSON of the event, or ``{"$blob": sha256}``.
        sha256, payload: Of the blob that holds the JSON, if one does.
    """

    kind: str
    key: str | None
    data: str
    sha256: bytes | None = None
    payload: bytes | None = None


def pack(entry: Entry) -> Packed:
    """Encode an entry, in the caller's thread."""
    kind, data = encode(entry.event)
    key = entry.key or entry.event.key
    # A character has at most four bytes, so that most events need not be encoded to be measured.
    if len(data) * 4 > INLINE_BYTES and len(payload := data.encode()) > INLINE_BYTES:
        digest = hashlib.sha256(payload)
        return Packed(kind, key, f'{{"$blob":"{digest.hexdigest()}"}}', digest.digest(), payload)
    return Packed(kind, key, data)


def hash_bytes(text: str) -> bytes | None:
    """The 32 bytes a hash stands for; None for what is no hash and so names no blob."""
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        return None
    return digest if len(digest) == 32 else None
