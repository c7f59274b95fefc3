"""A journal around another that does nothing of its own: what wrappers begin with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime

from quarterdeck.core.runs import RunStatus
from quarterdeck.store.base import Appended, Beside, Claim, Entry, Journal, RunRow

__all__ = ["JournalAround"]


class JournalAround:
    """`Journal` that passes everything on. A wrapper overrides what it is about."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def create(
        self,
        tenant: str,
        run_id: str,
        started: Entry,
        *,
        then: Sequence[Entry] = (),
        beside: Sequence[Beside] = (),
        order: bytes | None = None,
    ) -> bool:
        return await self._journal.create(tenant, run_id, started, then=then, beside=beside, order=order)

    async def claim(self, tenant: str, run_id: str, *, below: int | None = None) -> Claim | None:
        return await self._journal.claim(tenant, run_id, below=below)

    async def append(
        self,
        claim: Claim,
        entries: Sequence[Entry],
        *,
        folded: int,
        status: RunStatus | None = None,
        wake_at: datetime | None = None,
        beside: Sequence[Beside] = (),
    ) -> Appended:
        return await self._journal.append(claim, entries, folded=folded, status=status, wake_at=wake_at, beside=beside)

    async def post(self, tenant: str, run_id: str, entry: Entry, *, beside: Sequence[Beside] = ()) -> bool:
        return await self._journal.post(tenant, run_id, entry, beside=beside)

    def read(self, tenant: str, run_id: str, after: int = 0) -> AsyncIterator[Entry]:
        return self._journal.read(tenant, run_id, after)

    async def find(self, tenant: str, run_id: str) -> RunRow | None:
        return await self._journal.find(tenant, run_id)

    async def runs(
        self,
        tenant: str,
        *,
        status: RunStatus | None = None,
        user: str | None = None,
        session_id: str | None = None,
        code: str | None = None,
        request_id: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> list[RunRow]:
        return await self._journal.runs(
            tenant,
            status=status,
            user=user,
            session_id=session_id,
            code=code,
            request_id=request_id,
            before=before,
            limit=limit,
        )

    async def due(self, limit: int = 100, *, stalled_s: float = 0.0) -> list[tuple[str, str]]:
        return await self._journal.due(limit, stalled_s=stalled_s)

    async def heads(self, runs: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], tuple[int, RunStatus]]:
        return await self._journal.heads(runs)

    async def put_blob(self, tenant: str, data: bytes) -> str:
        return await self._journal.put_blob(tenant, data)

    async def get_blob(self, tenant: str, sha256: str) -> bytes:
        return await self._journal.get_blob(tenant, sha256)

    async def purge(self, before: datetime) -> int:
        return await self._journal.purge(before)

    async def probe(self) -> None:
        await self._journal.probe()

    async def close(self) -> None:
        await self._journal.close()
