"""What is found out at the beginning, all at once: passages for the question, and what the model wants to know ahead."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import anyio

from quarterdeck.agent.base import Finder, Retriever
from quarterdeck.core.context import Context
from quarterdeck.core.errors import DeadlineExceeded, QuarterdeckError
from quarterdeck.core.events import Event, GuardrailFired, Retrieved
from quarterdeck.core.labels import join_all
from quarterdeck.core.messages import Message, Role
from quarterdeck.core.usage import Usage
from quarterdeck.knowledge.analyze import searched
from quarterdeck.knowledge.base import Finding
from quarterdeck.knowledge.rewrite import Rewriter
from quarterdeck.models.base import Model, ModelRequest, Preparing

__all__ = ["found_out"]


async def found_out(
    model: Model,
    retriever: Retriever | None,
    request: ModelRequest,
    ctx: Context,
    *,
    turn: int,
    timeout_s: float,
    rewriter: Rewriter | None = None,
) -> tuple[Event, ...]:
    """Search for the question while the model prepares for it; what became of the search.

    The run goes on without a search that fails or is late, and its record says so. What the model prepared shows in the
    route of its reply.

    Args:
        request: As far as it is known.
        timeout_s: For the search; the model's own preparations have their own.
        rewriter: Completes a question that leans on the conversation, within the time of the search.
    """
    search = _Search(retriever, rewriter, request, ctx, timeout_s)
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
    found = search.found
    event = Retrieved(
        turn=turn,
        query=search.query,
        passages=found.passages,
        mode=found.mode,
        label=join_all(passage.label for passage in found.passages),
        notes=found.notes,
        usage=search.usage + found.usage,
    )
    if not search.problem:
        return (event,)
    left_out = GuardrailFired(layer="retrieval", verdict=found.mode, rule=search.problem, action="answer_without")
    return (left_out, event)


class _Search:
    """One search within a time of its own.

    Attributes:
        query: What was searched for.
        usage: What it took to know that.
        problem: Code of the error it ended with, empty if it did not.
    """

    def __init__(
        self, retriever: Retriever | None, rewriter: Rewriter | None, request: ModelRequest, ctx: Context, timeout_s: float
    ) -> None:
        self.query = searched(request.question)
        self.usage = Usage()
        self.found = Finding(passages=(), mode="none")
        self.problem = ""
        self._retriever = retriever
        self._rewriter = rewriter
        self._request = request
        self._ctx = replace(ctx, deadline=min(ctx.deadline, time.monotonic() + timeout_s))

    async def run(self) -> None:
        if self._retriever is None:
            return
        try:
            with anyio.fail_after(self._ctx.remaining_s()):
                await self._complete()
                self.found = await _found(self._retriever, self.query, self._ctx)
        except (TimeoutError, DeadlineExceeded):
            self.found, self.problem = Finding(passages=(), mode="late"), DeadlineExceeded.code
        except QuarterdeckError as error:
            self.found, self.problem = Finding(passages=(), mode="failed"), error.code

    async def _complete(self) -> None:
        if self._rewriter is not None and (earlier := _before(self._request)):
            rewritten = await self._rewriter.rewrite(self.query, earlier, self._ctx)
            self.query, self.usage = rewritten.query, rewritten.usage


async def _found(retriever: Retriever, query: str, ctx: Context) -> Finding:
    if isinstance(retriever, Finder):
        return await retriever.find(query, ctx)
    passages, mode = await retriever.search(query, ctx)
    return Finding(passages=tuple(passages), mode=mode)


def _before(request: ModelRequest) -> Sequence[Message]:
    """What was said before the question."""
    said = [message for message in request.messages if message.role is not Role.SYSTEM]
    asked = (at for at in reversed(range(len(said))) if said[at].role is Role.USER and request.question in said[at].text)
    return said[: next(asked, len(said))]
