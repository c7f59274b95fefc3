"""Uploads of one document, stored in the order they arrived, whichever worker takes which of them up first.

Two people's requests, or one's that were sent at once, become two runs. Each is entered behind the other in the transaction
that begins it, and rests until those before it have ended: both texts become editions, and the one that came last is read.
A run that is paused steps out of the line; one that failed and is told to go on arrives anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from quarterdeck.core.ids import hashed_id
from quarterdeck.core.runs import RunStatus
from quarterdeck.store.base import Journal, Put, Record, Records

__all__ = ["UploadLine"]

_KIND = "upload_line"


class UploadLine:
    """Which runs bring in the same document, by arrival."""

    def __init__(self, journal: Journal, records: Records) -> None:
        self._journal = journal
        self._records = records

    async def entering(self, tenant: str, doc_id: str, run_id: str) -> Put:
        """The row that enters a run, to be written with its first event; a Conflict then says that another was faster."""
        record = await self._record(tenant, doc_id)
        before = [run for run in _runs(record) if run != run_id and not await self._is_over(tenant, run)]
        entered = Record(kind=_KIND, id=hashed_id(doc_id), data={"runs": [*before, run_id]}, ref=run_id)
        return Put(record=entered, expect=record.version if record else 0)

    async def is_first(self, tenant: str, doc_id: str, run_id: str) -> bool:
        """True once everything that arrived before this run has ended, or is paused."""
        runs = _runs(await self._record(tenant, doc_id))
        before = runs[: runs.index(run_id)] if run_id in runs else ()
        for run in before:
            if not await self._is_over(tenant, run, paused=True):
                return False
        return True

    async def _record(self, tenant: str, doc_id: str) -> Record | None:
        return await self._records.get(tenant, _KIND, hashed_id(doc_id))

    async def _is_over(self, tenant: str, run_id: str, *, paused: bool = False) -> bool:
        row = await self._journal.find(tenant, run_id)
        return row is None or row.status.ended or (paused and row.status is RunStatus.PAUSED)


def _runs(record: Record | None) -> Sequence[str]:
    return tuple(record.data["runs"]) if record else ()
