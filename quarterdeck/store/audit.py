"""The audit log's chain: each row's hash covers the row and the hash before it, so that no row can be changed unseen."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from json.encoder import encode_basestring as _quoted
from typing import Any, NamedTuple

from quarterdeck.core.ids import canonical_json
from quarterdeck.store.base import Audit
from quarterdeck.store.codec import clean_text

__all__ = ["BEFORE_ALL", "GENESIS", "Chain", "Unchained", "audit_row", "clean_audit", "row_hash", "verify"]

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
    return {**body, "prev": prev, "hash": Unchained.of(tenant, audit).hash(seq, at.isoformat(), prev).hex()}


class Unchained(NamedTuple):
    """A row that only wants its place in the chain, made where nobody waits for it: all who write wait for one thread.

    Attributes:
        columns: Actor, subject, action, object, decision and the hash of the arguments.
        before, between, behind: The row's canonical JSON around its instant and its seq.
    """

    columns: tuple[str, str, str, str, str, str]
    before: str
    between: str
    behind: str

    @classmethod
    def of(cls, tenant: str, audit: Audit) -> Unchained:
        """Of a row of this tenant's log."""
        return cls(
            (audit.actor, audit.subject, audit.action, audit.object, audit.decision, audit.args_hash),
            f'{{"action":{_quoted(audit.action)},"actor":{_quoted(audit.actor)},"args_hash":{_quoted(audit.args_hash)},"at":"',
            f'","decision":{_quoted(audit.decision)},"object":{_quoted(audit.object)},"seq":',
            f',"subject":{_quoted(audit.subject)},"tenant":{_quoted(tenant)}}}',
        )

    def hash(self, seq: int, at: str, prev: str) -> bytes:
        """The hash of the row at this place: what `row_hash` says of it as it is read."""
        return _digest(f"{prev}{self.before}{at}{self.between}{seq}{self.behind}")


def clean_audit(audit: Audit) -> Audit:
    """`audit` with texts that fit into any database."""
    whole = "".join((audit.actor, audit.subject, audit.action, audit.object, audit.decision))
    if clean_text(whole) == whole:
        return audit
    names = ("actor", "subject", "action", "object", "decision")
    return replace(audit, **{name: clean_text(getattr(audit, name)) for name in names})


def row_hash(row: Mapping[str, Any]) -> str:
    """SHA-256 of the previous hash followed by the canonical JSON of every other field, hexadecimal."""
    body = {name: value for name, value in row.items() if name not in ("prev", "hash")}
    return _digest(row["prev"] + canonical_json(body)).hex()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


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
