"""The story of a request: everything that happened in its runs, step by step, told from their journals alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from quarterdeck.agent.base import Specs
from quarterdeck.agent.fold import fold
from quarterdeck.agent.state import RunState
from quarterdeck.core.context import Principal
from quarterdeck.core.errors import NotFound
from quarterdeck.core.events import RunStarted
from quarterdeck.core.runs import AgentSpec
from quarterdeck.service.runs import Runs, operates
from quarterdeck.service.story_eyes import Eyes
from quarterdeck.service.story_steps import Step, Telling
from quarterdeck.service.views import RunView, view_of, without_words
from quarterdeck.service.withdrawn import Withdrawn
from quarterdeck.store.base import Entry, Journal

__all__ = ["Stories", "StoriesOfRequest", "Story"]

_AT_ONCE = 200  # stories; a batch has up to 1,000 runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What happened in one run.

    Attributes:
        view: How it stands.
        steps: What happened, in order.
        withheld: Some of what was said in it is left out, as whoever reads may not read it.
    """

    view: RunView
    steps: tuple[Step, ...]
    withheld: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StoriesOfRequest:
    """What happened in runs of one request.

    Attributes:
        stories: Oldest first.
        before: A run id to go on from, as there are older ones; None where there are none.
    """

    stories: tuple[Story, ...]
    before: str | None


class Stories:
    """Tells stories to those who may see the run: its asker, and an operator, who is not told what was said in it."""

    def __init__(self, journal: Journal, specs: Specs, runs: Runs) -> None:
        self._journal = journal
        self._runs = runs
        self._specs = specs

    async def of_run(self, principal: Principal, run_id: str) -> Story:
        """Raises NotFound: there is no such run, or it is somebody else's."""
        row = await self._runs.row(principal, run_id)
        entries = await self._runs.entries(principal.tenant, run_id)
        spec = await self._spec(principal.tenant, entries)
        view = view_of(run_id, entries, row.status)
        withdrawn = await self._runs.withdrawn(principal, view)
        return self._told(principal, view, entries, spec, withdrawn)

    async def of_request(self, principal: Principal, request_id: str, before: str | None = None) -> StoriesOfRequest:
        """The stories of the last 200 runs a request began, or of the last 200 before the run `before`.

        Raises:
            NotFound: It began none, none before that, or only somebody else's.
        """
        user = None if operates(principal) else principal.user
        found = await self._journal.runs(
            principal.tenant, request_id=request_id, user=user, before=before, limit=_AT_ONCE + 1
        )
        rows = found[:_AT_ONCE]
        if not rows:
            raise NotFound(f"there is no request {request_id} that began a run")
        stories = [await self.of_run(principal, row.run_id) for row in reversed(rows)]
        return StoriesOfRequest(stories=tuple(stories), before=rows[-1].run_id if len(found) > len(rows) else None)

    def _told(
        self, principal: Principal, view: RunView, entries: Iterable[Entry], spec: AgentSpec | None, withdrawn: Withdrawn
    ) -> Story:
        state, steps = RunState(), []
        eyes = Eyes(principal, withdrawn)
        telling = Telling(eyes, spec)
        for entry in entries:
            before, state = state, fold((entry,), state)
            eyes.asker = state.started.principal.user if state.started else None
            steps += telling.of(entry, before, state)
        whole = self._runs.admits(principal, view) and not withdrawn
        return Story(view=view if whole else without_words(view), steps=tuple(steps), withheld=eyes.withheld or not whole)

    async def _spec(self, tenant: str, entries: list[Entry]) -> AgentSpec | None:
        """What the agent was told to be, None for work that is no agent's or where it is forgotten."""
        first = entries[0].event if entries else None
        if not isinstance(first, RunStarted) or first.work != "agent":
            return None
        try:
            return await self._specs.get(tenant, first.config_hash)
        except NotFound:
            return None
