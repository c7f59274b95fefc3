"""Runs as those see them who may: one's own, and an operator all of the tenant, though not what was said in them."""

from __future__ import annotations

from collections.abc import Sequence

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Forbidden, NotFound
from quarterdeck.core.events import RunStarted
from quarterdeck.core.runs import RunStatus
from quarterdeck.service.views import RunView, view_of, without_words
from quarterdeck.service.withdrawn import Withdrawals, Withdrawn
from quarterdeck.store.base import Entry, Journal, RunRow

__all__ = ["Runs", "operates"]


class Runs:
    """The runs of a journal, before people."""

    def __init__(self, journal: Journal, withdrawals: Withdrawals | None = None) -> None:
        self._journal = journal
        self._withdrawals = withdrawals or Withdrawals()

    async def row(self, principal: Principal, run_id: str) -> RunRow:
        """Raises NotFound: there is no such run, or it is somebody else's."""
        row = await self._journal.find(principal.tenant, run_id)
        if row is None or not (row.user == principal.user or operates(principal)):
            raise NotFound(f"there is no run {run_id}")
        return row

    async def entries(self, tenant: str, run_id: str) -> list[Entry]:
        """Everything that happened in a run, whoever may read it."""
        return [entry async for entry in self._journal.read(tenant, run_id)]

    async def view(self, principal: Principal, run_id: str) -> RunView:
        """How a run stands. What was said in it is only for the one who asked, while he may still read what it rests on.

        Raises:
            NotFound: No such run, or it is somebody else's.
        """
        row = await self.row(principal, run_id)
        view = view_of(run_id, await self.entries(principal.tenant, run_id), row.status)
        return view if await self._may_read(principal, view) else without_words(view)

    def admits(self, principal: Principal, view: RunView) -> bool:
        """True if what was said in a run was for the principal, by the groups he has now."""
        return view.user == principal.user and view.label.readers.admits(principal.names)

    async def withdrawn(self, principal: Principal, view: RunView) -> Withdrawn:
        """The passages a run rests on that the principal may not read any more."""
        return await self._withdrawals.of(principal, view.sources)

    async def check_goes_on(self, asker: Principal | None, run_id: str, entries: Sequence[Entry]) -> None:
        """Whoever goes on from old events gives a model again what they rest on, so it must be open to the asker still.

        Args:
            asker: The one who asked, as he is now; None if he may not act any more.
            entries: Those it would go on from.

        Raises:
            Forbidden: The asker may not read all of it any more.
        """
        view, first = view_of(run_id, entries), entries[0].event
        assert isinstance(first, RunStarted)  # every run begins with it
        if first.undoes or first.work != "agent":
            return  # no model reads anything in it
        if asker is None or not await self._may_read(asker, view):
            raise Forbidden(
                f"run {run_id} rests on what user {view.user} may not read any more: it goes on from no such place"
            )

    async def _may_read(self, principal: Principal, view: RunView) -> bool:
        return self.admits(principal, view) and not await self.withdrawn(principal, view)

    async def list(
        self,
        principal: Principal,
        *,
        status: RunStatus | None = None,
        code: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> list[RunRow]:
        """The principal's own runs, newest first; an operator's are those of the tenant.

        Args:
            code: Of the error a failed run ended with; ``poison`` for dead letters.
        """
        user = None if operates(principal) else principal.user
        return await self._journal.runs(principal.tenant, status=status, user=user, code=code, before=before, limit=limit)


def operates(principal: Principal) -> bool:
    """True for who may see all runs of the tenant, though not what was said in them."""
    return "operate" in principal.scopes
