"""The audit log's chain: each row's hash covers the row and the hash before it, so that no row can be changed unseen."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from json.encoder import encode_basestring as _quoted
from typing import Any

from quarterdeck.core.ids import canonical_json
from quarterdeck.store.base import Audit

__all__ = ["BEFORE_ALL", "GENESIS", "Chain", "audit_row", "chained", "row_hash", "verify"]

GENESIS = "0" * 64  # what the first row of a tenant names as the hash before it
BEFORE_ALL = -(2**62)  # a seq to read from that also shows rows somebody put in front of the first


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
    return {**body, "prev": prev, "hash": chained(tenant, seq, at, audit, prev)}


def chained(tenant: str, seq: int, at: datetime, audit: Audit, prev: str) -> str:
    """The hash of the row with these fields: what `row_hash` says of the row as it is read.

    The canonical JSON is written out here, as every append that is audited waits for it in the one thread that writes.
    """
    text = (
        f'{prev}{{"action":{_quoted(audit.action)},"actor":{_quoted(audit.actor)},"args_hash":{_quoted(audit.args_hash)},'
        f'"at":"{at.isoformat()}","decision":{_quoted(audit.decision)},"object":{_quoted(audit.object)},"seq":{seq},'
        f'"subject":{_quoted(audit.subject)},"tenant":{_quoted(tenant)}}}'
    )
    return _digest(text)


def row_hash(row: Mapping[str, Any]) -> str:
    """SHA-256 of the previous hash followed by the canonical JSON of every other field, hexadecimal."""
    body = {name: value for name, value in row.items() if name not in ("prev", "hash")}
    return _digest(row["prev"] + canonical_json(body))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Chain:
    """A tenant's rows, followed one after the other: what a check remembers of them is their end.

    Attributes:
        seq: Of the last row that holds.
        hash: Its hash.
        bad: Seq of the first row that is changed, missing or out of order; None as long as the chain holds.
    """

    def __init__(self, *, after: int = 0, prev: str = GENESIS) -> None:
        self.seq = after
        self.hash = prev
        self.bad: int | None = None

    def follow(self, row: Mapping[str, Any]) -> bool:
        """Whether the next row holds. Nothing that stands behind the first bad row is looked at."""
        if self.bad is None and not self._holds(row):
            seq = row["seq"] if isinstance(row["seq"], int) else self.seq + 1
            self.bad = min(seq, self.seq + 1)
        if self.bad is None:
            self.seq, self.hash = row["seq"], row["hash"]
        return self.bad is None

    def end(self, head: tuple[int, str] | None) -> int | None:
        """The first bad row, now that there are no more; `head` is seq and hash of the last as known from elsewhere."""
        if self.bad is None and head is not None and head != (self.seq, self.hash):
            self.bad = self.seq if self.seq == head[0] else min(self.seq, head[0]) + 1
        return self.bad

    def _holds(self, row: Mapping[str, Any]) -> bool:
        try:
            return bool(row["seq"] == self.seq + 1 and row["prev"] == self.hash and row["hash"] == row_hash(row))
        except (TypeError, ValueError):  # a value of a kind that no row has
            return False


def verify(
    rows: Iterable[Mapping[str, Any]], *, after: int = 0, prev: str = GENESIS, head: tuple[int, str] | None = None
) -> int | None:
    """The seq of the first row that is changed, missing or out of order; None if the chain holds.

    Args:
        rows: A tenant's rows in order, beginning after `after`, whose hash was `prev`.
        head: Seq and hash of the last row as known from elsewhere; shows rows cut off at the end.
    """
    chain = Chain(after=after, prev=prev)
    for row in rows:
        if not chain.follow(row):
            break
    return chain.end(head)
