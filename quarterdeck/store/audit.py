"""The audit log's chain: each row's hash covers the row and the hash before it, so that no row can be changed unseen."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from quarterdeck.core.ids import canonical_json
from quarterdeck.store.base import Audit

__all__ = ["GENESIS", "audit_row", "row_hash", "verify"]

GENESIS = "0" * 64  # what the first row of a tenant names as the hash before it


def audit_row(tenant: str, seq: int, at: datetime, audit: Audit, prev: str) -> dict[str, Any]:
    """The row as it is read and exported: its fields, the hash before it, and its own."""
    body = {
        "tenant": tenant,
        "seq": seq,
        "at": at.isoformat(),
        "actor": audit.actor,
        "subject": audit.subject,
        "action": audit.action,
        "object": audit.object,
        "decision": audit.decision,
        "args_hash": audit.args_hash,
    }
    return {**body, "prev": prev, "hash": _chained(prev, body)}


def row_hash(row: Mapping[str, Any]) -> str:
    """SHA-256 of the previous hash followed by the canonical JSON of every other field, hexadecimal."""
    return _chained(row["prev"], {name: value for name, value in row.items() if name not in ("prev", "hash")})


def _chained(prev: str, body: Mapping[str, Any]) -> str:
    return hashlib.sha256((prev + canonical_json(body)).encode("utf-8", "surrogatepass")).hexdigest()


def verify(
    rows: Iterable[Mapping[str, Any]], *, after: int = 0, prev: str = GENESIS, head: tuple[int, str] | None = None
) -> int | None:
    """The seq of the first row that is changed, missing or out of order; None if the chain holds.

    Args:
        rows: A tenant's rows in order, beginning after `after`, whose hash was `prev`.
        head: Seq and hash of the last row as known from elsewhere; shows rows cut off at the end.
    """
    seq = after
    for row in rows:
        seq += 1
        if row["seq"] != seq or row["prev"] != prev or row["hash"] != row_hash(row):
            return seq
        prev = row["hash"]
    if head is not None and head != (seq, prev):
        return min(seq, head[0]) + 1 if seq != head[0] else seq
    return None
