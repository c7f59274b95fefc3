"""Many questions in one request, answered side by side; one that fails does not fail the others."""

from __future__ import annotations

from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Header, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Receive, Scope, Send

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.core.ids import content_hash
from quarterdeck.service.batch import DEFAULT_CONCURRENCY, MAX_CONCURRENCY, MAX_QUESTIONS, Item, Outcome, Told, ask_all
from quarterdeck.service.desk import Desk, Question
from quarterdeck.service.repeats import Repeats
from quarterdeck.transports.errors import words
from quarterdeck.transports.http.asking import InTime, Waiting
from quarterdeck.transports.http.callers import Asker
from quarterdeck.transports.http.keys import IdempotencyKey, checked
from quarterdeck.transports.http.shapes import PROBLEMS, AgentAnswer, AgentQuery, ProblemDetail, QueryOptions, agent_answer
from quarterdeck.transports.http.sse import DONE, EVENTS, frame, until_gone
from quarterdeck.transports.http.wire import Json, StrictRoute, dump
from quarterdeck.workflow.lanes import Lane

__all__ = ["router"]

router = APIRouter(route_class=StrictRoute, tags=["questions"])


class BatchRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    items: list[AgentQuery] = Field(min_length=1, max_length=MAX_QUESTIONS, description="The questions.")
    concurrency: int = Field(DEFAULT_CONCURRENCY, ge=1, le=MAX_CONCURRENCY, description="Questions under way at once.")
    options: QueryOptions | None = Field(None, description="For all of them together.")


class BatchItem(BaseModel):
    index: int
    status: str = Field(description="`ok` with an answer, `error` with an error.")
    answer: AgentAnswer | None = None
    error: ProblemDetail | None = None


class BatchAnswer(BaseModel):
    items: list[BatchItem] = Field(description="In the order of the questions.")
    succeeded: int
    failed: int


_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": BatchAnswer,
        "content": {
            "text/event-stream": {"schema": {**EVENTS["schema"], "description": "`item` as each is there, `done` last."}}
        },
    },
    **PROBLEMS,
}


@router.post("/api/v1/agent/batch", responses=_RESPONSES)
async def batch(
    request: Request,
    body: BatchRequest,
    caller: Asker,
    how: InTime,
    idempotency_key: IdempotencyKey = None,
    accept: Annotated[str, Header(description="`text/event-stream` to be told of each item as it is there.")] = "",
) -> Response:
    """Ask many questions; each has its own run, answer or error. Under one key a repeated batch gets the same runs."""
    key = checked(idempotency_key)
    repeats: Repeats | None = request.app.state.repeats
    if key is not None and repeats is not None:
        # A part of another batch would pass for one of this, and only the rest be refused.
        await repeats.same(caller, "batch", key, content_hash([item.model_dump() for item in body.items]))
    batch = _Batch(request, body, caller, how, key)
    if "text/event-stream" in accept:
        return _Progress(batch)
    outcomes = await batch.ask()
    return Json({"items": [batch.shown(outcome) for outcome in outcomes], **_counts(outcomes)})


class _Batch:
    """The questions of one request."""

    def __init__(self, request: Request, body: BatchRequest, caller: Principal, how: Waiting, key: str | None) -> None:
        self._desk: Desk = request.app.state.desk
        self._request_id: str = request.state.request_id
        limit_s: float = request.app.state.answer_timeout_s
        asked_s = body.options.timeout_s if body.options else None
        self._wait_s = min(asked_s or limit_s, limit_s)
        self._concurrency = body.concurrency
        self._caller = caller
        self._items = [
            Item(
                question=Question(
                    text=item.query,
                    agent=item.agent_id,
                    session_id=item.session_id,
                    idempotency_key=None if key is None else f"{key}:{index}",
                    request_id=request.state.request_id,
                    trace_id=request.state.trace_id,
                    span_id=request.state.span_id,
                    tags=request.state.tags,
                    deadline=how.deadline,
                    lane=Lane.EVAL if how.lane is Lane.EVAL else Lane.BATCH,
                ),
                wait_s=item.options.timeout_s if item.options else None,
            )
            for index, item in enumerate(body.items)
        ]

    async def ask(self, told: Told | None = None) -> list[Outcome]:
        return await ask_all(
            self._desk, self._caller, self._items, wait_s=self._wait_s, concurrency=self._concurrency, told=told
        )

    def shown(self, outcome: Outcome) -> dict[str, Any]:
        if outcome.run is not None:
            return {"index": outcome.index, "status": "ok", "answer": agent_answer(outcome.run)}
        error = outcome.error or QuarterdeckError("it was not asked")
        problem = {"code": error.code, "message": words(error), "request_id": self._request_id}
        return {"index": outcome.index, "status": "error", "error": problem}


class _Progress(Response):
    """Each item as it is there, then how many succeeded. Runs that were begun go on when the reader leaves."""

    media_type = "text/event-stream"

    def __init__(self, batch: _Batch) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._batch = batch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        turn = anyio.Lock()  # items come from many tasks

        async def say(piece: bytes) -> None:
            async with turn:
                await send({"type": "http.response.body", "body": piece, "more_body": True})

        async def item(outcome: Outcome) -> None:
            await say(frame("item", dump(self._batch.shown(outcome))))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(until_gone, receive, tasks.cancel_scope)
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            outcomes = await self._batch.ask(item)
            await say(frame("done", dump(_counts(outcomes))) + DONE)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            tasks.cancel_scope.cancel()


def _counts(outcomes: list[Outcome]) -> dict[str, int]:
    failed = sum(outcome.error is not None for outcome in outcomes)
    return {"succeeded": len(outcomes) - failed, "failed": failed}
