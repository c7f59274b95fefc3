"""Which questions may be answered as before, which answers may be given again, and how that stands in the journal."""

from __future__ import annotations

import logging

import anyio

from quarterdeck.agent.base import Remembered
from quarterdeck.agent.state import RunState
from quarterdeck.core.answers import Answer, Asked, Confidence, Given
from quarterdeck.core.context import Principal
from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.core.events import FinalAnswer, ModelReply, Retrieved
from quarterdeck.core.labels import Integrity, Label
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.core.runs import AgentSpec, StopReason
from quarterdeck.core.usage import Usage

__all__ = ["ROUTE", "found_again", "keep", "recall", "said_again", "take_back"]

log = logging.getLogger(__name__)

ROUTE = "answers: remembered"
_KEEPING_S = 1.0


async def recall(
    remembered: Remembered | None, state: RunState, spec: AgentSpec, principal: Principal, policy: str, timeout_s: float
) -> Given | None:
    """What was answered to the run's question before. A memory that fails or is late has no answer.

    Asked before the first step alone, and only for a question that stands on its own: history, further messages, pictures
    or text of others would have to be part of what is compared.
    """
    asked = _asked(state, spec, principal, policy)
    if remembered is None or asked is None or len(state.messages) != 1 or state.cancel is not None or state.paused:
        return None
    given: Given | None = None
    with anyio.move_on_after(timeout_s):
        try:
            given = await remembered.recall(asked)
        except QuarterdeckError as error:
            log.warning("remembered answers cannot be asked for now: %s", error.code)
    return given


def found_again(given: Given, state: RunState) -> Retrieved:
    """The passages of a remembered answer, as the journal has what was retrieved. Its label is that of the whole answer."""
    query = state.words[-1] if state.words else ""
    return Retrieved(turn=state.turn, query=query, passages=given.passages, mode="cache", label=given.label)


def said_again(given: Given, state: RunState, label: Label, seen: int) -> ModelReply:
    """The remembered words as a reply that cost nothing; it is settled by the same rules as any other."""
    message = Message(role=Role.ASSISTANT, parts=(Text(text=given.text, label=label),))
    return ModelReply(
        turn=state.turn + 1, message=message, model=given.model, usage=Usage(), route=ROUTE, attempts=0, seen=seen
    )


async def keep(
    remembered: Remembered | None, state: RunState, spec: AgentSpec, principal: Principal, policy: str
) -> Asked | None:
    """Remember the answer of a run that is about to end, if it may be given again; failing to is no harm.

    Returns:
        What it may stand under now; None where nothing was kept.
    """
    asked = _asked(state, spec, principal, policy)
    if remembered is None or asked is None or not _repeatable(state):
        return None
    given = Given(
        text=state.messages[-1].text, model=state.model, passages=tuple(state.passages.values()), label=state.label
    )
    with anyio.move_on_after(_KEEPING_S):
        try:
            await remembered.keep(asked, given)
        except QuarterdeckError as error:
            log.warning("an answer could not be remembered: %s", error.code)
    return asked


async def take_back(remembered: Remembered | None, asked: Asked) -> None:
    """Forget what was kept of a run that did not end so."""
    if remembered is None:
        return
    with anyio.move_on_after(_KEEPING_S, shield=True):
        try:
            await remembered.forget(asked)
        except QuarterdeckError as error:
            log.warning("a remembered answer could not be forgotten: %s", error.code)


def _asked(state: RunState, spec: AgentSpec, principal: Principal, policy: str) -> Asked | None:
    """The question, if the run is nothing but one typed question to an agent that remembers."""
    started = state.started
    if started is None or not spec.answer_cache or spec.output_schema is not None:
        return None
    first = not started.history and not started.since and started.parent is None and started.forked_from is None
    typed = all(isinstance(part, Text) and part.label.integrity is Integrity.TRUSTED for part in started.input.parts)
    if not (first and typed and len(state.words) == 1):
        return None
    return Asked(question=state.words[0], principal=principal, agent=started.config_hash, policy=policy)


def _repeatable(state: RunState) -> bool:
    """It ended well, was made by the model from what searches found, and nobody has to look at it."""
    match state.ended:
        case FinalAnswer(stop_reason=StopReason.COMPLETED, answer=Answer() as answer):
            pass
        case _:
            return False
    searches = {result.name for result in state.results if result.passages}
    searched = all(call.success and call.draft is None and call.name in searches for call in state.made)
    sure = answer.confidence is Confidence.HIGH and not answer.needs_human_review and not answer.drafts
    return sure and searched and bool(state.passages) and not state.search_failed and state.closing is None
