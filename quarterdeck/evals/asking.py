"""Asks the questions of cases at the desk of a runtime in this process."""

from __future__ import annotations

from collections.abc import Sequence

from quarterdeck.core.answers import Passage
from quarterdeck.core.context import Principal
from quarterdeck.core.errors import DeadlineExceeded, NotFound, error_of
from quarterdeck.evals.base import Case, Outcome, Source
from quarterdeck.service.access import User
from quarterdeck.service.desk import Desk, Question
from quarterdeck.service.views import RunView
from quarterdeck.workflow.lanes import Lane

__all__ = ["DeskAsker", "asker_of", "titled"]


def asker_of(case: Case, people: Sequence[User]) -> str | None:
    """Id of the person who asks a case; None for the caller without a key. Raises NotFound if nobody has the case's role."""
    if case.role is None:
        return case.user
    holder = next((user.id for user in people if case.role in user.roles), None)
    if holder is None:
        raise NotFound(f"nobody has the role {case.role!r}")
    return holder


class DeskAsker:
    """An `Asker` before the desk.

    Args:
        people: Who may ask. A case that names nobody is asked by the default one.
        timeout_s: Of one question.
    """

    def __init__(self, desk: Desk, people: Sequence[User], *, timeout_s: float) -> None:
        self._desk = desk
        self._people = people
        self._timeout_s = timeout_s

    async def ask(self, case: Case) -> Outcome:
        principal = self._principal(asker_of(case, self._people))
        view = await self._desk.ask(principal, Question(text=case.input, agent=case.agent, lane=Lane.EVAL), self._timeout_s)
        if not view.rests:
            await self._desk.controls.cancel(principal, view.run_id, "the evaluation's time was over")
            raise DeadlineExceeded(f"run {view.run_id} did not end within {self._timeout_s:g} s")
        if view.failure is not None:
            raise error_of(view.failure.code, f"run {view.run_id} failed: {view.failure.message}")
        return _outcome(view, principal)

    def _principal(self, name: str | None) -> Principal:
        for user in self._people:
            if user.default if name is None else user.id == name:
                return user.principal
        raise NotFound("no user is the default one" if name is None else f"there is no user {name!r}")


def titled(title: str, headings: Sequence[str]) -> str:
    """A passage's title with the headings it stands under."""
    return " › ".join((title, *headings))


def _outcome(view: RunView, asker: Principal) -> Outcome:
    answer = view.answer
    cited = {citation.passage.id: citation.passage for citation in answer.citations} if answer else {}
    return Outcome(
        answer=(answer.text if answer else "") or view.said,
        output=view.output,
        sources=tuple(_source(cited[name], asker) for name in (answer.sources if answer else ()) if name in cited),
        tools=tuple((answer.tool_calls if answer else ()) or view.tool_calls),
        drafts=len({*(answer.drafts if answer else ()), *view.drafts}),
        stop_reason=view.stop_reason,
        confidence=answer.confidence.value if answer else "",
        confidence_score=answer.confidence_score if answer else None,
        latency_ms=view.latency_ms,
        cost_usd=view.usage.cost_usd,
        model=view.model,
        run_id=view.run_id,
    )


def _source(passage: Passage, asker: Principal) -> Source:
    return Source(
        id=passage.id,
        document=passage.doc_id,
        title=titled(passage.title, passage.heading_path),
        text=passage.text,
        closed=not passage.label.readers.admits(asker.names),
    )
