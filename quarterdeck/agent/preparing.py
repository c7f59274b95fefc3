"""What is found out at the beginning, all at once: passages for the question, and what the model wants to know ahead."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import anyio

from quarterdeck.agent.base import Retriever
from quarterdeck.core.answers import Passage
from quarterdeck.core.context import Context
from quarterdeck.core.errors import DeadlineExceeded, QuarterdeckError
from quarterdeck.core.events import Event, GuardrailFired, Retrieved
from quarterdeck.core.labels import join_all
from quarterdeck.models.base import Model, ModelRequest, Preparing

__all__ = ["found_out"]


async def found_out(
    model: Model, retriever: Retriever | None, request: ModelRequest, ctx: Context, *, turn: int, timeout_s: float
) -> tuple[Event, ...]:
    """Search for the question while the model prepares for it; what became of the search.

    The run goes on without a search that fails or is late, and its record says so. What the model prepared shows in the
    route of its reply.

    Args:
        request: As far as it is known.
        timeout_s: For the search; the model's own preparations have their own.
    """
    search = _Search(retriever, request.question, ctx, timeout_s)
    crash: Exception | None = None
    async with anyio.create_task_group() as tasks:
        if isinstance(model, Preparing):
            tasks.start_soon(model.prepare, request, ctx)
        try:
            await search.run()
        except Exception as error:  # noqa: BLE001 - raised again below, outside the group, which would wrap it
            crash = error
    if crash is not None:
        raise crash
    label = join_all(passage.label for passage in search.found)
    event = Retrieved(turn=turn, query=request.question, passages=tuple(search.found), mode=search.mode, label=label)
    if not search.problem:
        return (event,)
    left_out = GuardrailFired(layer="retrieval", verdict=search.mode, rule=search.problem, action="answer_without")
    return (left_out, event)


class _Search:
    """One search within a time of its own.

    Attributes:
        problem: Code of the error it ended with, empty if it did not.
    """

    def __init__(self, retriever: Retriever | None, query: str, ctx: Context, timeout_s: float) -> None:
        self.found: Sequence[Passage] = ()
        self.mode = "none"
        self.problem = ""
        self._retriever = retriever
        self._query = query
        self._ctx = replace(ctx, deadline=min(ctx.deadline, time.monotonic() + timeout_s))

    async def run(self) -> None:
        if self._retriever is None:
            return
        try:
            with anyio.fail_after(self._ctx.remaining_s()):
                self.found, self.mode = await self._retriever.search(self._query, self._ctx)
        except (TimeoutError, DeadlineExceeded):
            self.mode, self.problem = "late", DeadlineExceeded.code
        except QuarterdeckError as error:
            self.mode, self.problem = "failed", error.code
