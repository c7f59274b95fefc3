"""The audit log, for those who may read it: shown, checked and handed out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from anyio import to_thread

from quarterdeck.core.context import Principal
from quarterdeck.store.audit import BEFORE_ALL, GENESIS, Chain
from quarterdeck.store.base import Audit, Records

__all__ = ["AuditLog", "AuditPage", "Known", "Verdict", "checked", "exported", "followed"]

_PAGE = 2000


class Known(Protocol):
    """A row as known from elsewhere, such as a checkpoint somebody vouched for."""

    @property
    def seq(self) -> int: ...

    @property
    def hash(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a check of a tenant's audit log found.

    Attributes:
        rows: That hold, from the first.
        head: Hash of the last of them.
        bad: Seq of the first that is changed, missing or out of order; None if there is none.
        checkpoints: How many were compared.
    """

    tenant: str
    rows: int
    head: str
    bad: int | None
    checkpoints: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """Rows in order. Attributes: after: What to ask for the next ones with; None when there are no more."""

    rows: Sequence[Mapping[str, Any]]
    after: int | None


async def followed(records: Records, tenant: str, chain: Chain, *, known: Mapping[int, str] | None = None) -> Chain:
    """Follow the rows behind where `chain` stands, a page at a time; also those that stand in front of the first.

    Args:
        known: Hashes by seq that rows must have; a row that has another is bad.
    """
    place = BEFORE_ALL if chain.seq == 0 else chain.seq
    while rows := await records.audit_rows(tenant, place, _PAGE):
        # A page takes some milliseconds to hash, during which others are answered.
        if not await to_thread.run_sync(partial(_follow, chain, rows, known or {})):
            break
        place = chain.seq
    return chain


async def checked(records: Records, tenant: str, known: Sequence[Known] = ()) -> Verdict:
    """Check a tenant's whole log, whose last row must be the head that is kept apart and hold every known one."""
    head = await records.audit_head(tenant) or (0, GENESIS)
    chain = await followed(records, tenant, Chain(), known={each.seq: each.hash for each in known})
    if chain.bad is None and chain.seq > head[0]:  # added meanwhile; then the head has moved with them
        newer = await records.audit_head(tenant) or (0, GENESIS)
        head = newer if newer[0] <= chain.seq else (chain.seq, chain.hash)
    chain.end(head)
    furthest = max((each.seq for each in known), default=0)
    if chain.bad is None and furthest > chain.seq:
        chain.bad = chain.seq + 1
    return Verdict(tenant=tenant, rows=chain.seq, head=chain.hash, bad=chain.bad, checkpoints=len(known))


def _follow(chain: Chain, rows: Sequence[Mapping[str, Any]], known: Mapping[int, str]) -> bool:
    for row in rows:
        if not chain.follow(row):
            return False
        if known and known.get(row["seq"], row["hash"]) != row["hash"]:
            chain.bad = row["seq"]
            return False
    return True


class AuditLog:
    """The audit log of a principal's tenant. Who may read it is decided by the caller."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def page(self, principal: Principal, *, after: int = 0, limit: int = 100) -> AuditPage:
        """Rows behind a seq, in order."""
        rows = await self._records.audit_rows(principal.tenant, after, limit)
        return AuditPage(rows=rows, after=rows[-1]["seq"] if len(rows) == limit else None)

    async def verify(self, principal: Principal) -> Verdict:
        """Check the whole log. Takes some seconds for a million rows."""
        return await checked(self._records, principal.tenant)

    def export(self, principal: Principal) -> AsyncIterator[Mapping[str, Any]]:
        """Every row there is now, in order; see `exported`."""
        return exported(self._records, principal.tenant, by=f"user:{principal.user}")


async def exported(records: Records, tenant: str, *, by: str) -> AsyncIterator[Mapping[str, Any]]:
    """Every row of a tenant's log there is now, in order. The last tells of this export, which is written down first."""
    await records.write(tenant, [Audit(actor=by, subject=by, action="export", object="audit", decision="allow")])
    last, place = await records.audit_head(tenant) or (0, GENESIS), 0
    while place < last[0] and (rows := await records.audit_rows(tenant, place, min(_PAGE, last[0] - place))):
        for row in rows:
            yield row
        place = rows[-1]["seq"]
