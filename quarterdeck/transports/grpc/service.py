"""`AgentService` over the desk."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import anyio

from quarterdeck.core.errors import DeadlineExceeded, InvalidInput, TooLarge, Unavailable, error_of
from quarterdeck.service.batch import DEFAULT_CONCURRENCY, MAX_CONCURRENCY, MAX_QUESTIONS, Item, Outcome, ask_all
from quarterdeck.service.desk import Desk, Followed, Question, late
from quarterdeck.service.leaving import abandon
from quarterdeck.service.streams import Signal
from quarterdeck.transports.errors import words
from quarterdeck.transports.grpc import agent_pb2 as pb
from quarterdeck.transports.grpc.calls import Call, Context, Entrance
from quarterdeck.transports.grpc.messages import Asked, asked, chunk, read, response
from quarterdeck.transports.telling import Done, Telling, ToldOf
from quarterdeck.workflow.lanes import Lane

__all__ = ["AgentService"]

# Of the client's deadline, the last bit is for telling it: what is said later it does not hear.
_SPARE_SHARE = 0.1
_SPARE_S = 0.2
_LONGEST_S = 86_400.0  # clients without patience for a deadline of their own send one centuries away


class AgentService:
    """Handlers of the three methods; each is one door to `Desk`. Requests are bytes: nobody's are read before he is let in.

    Args:
        answer_timeout_s: Seconds a call waits at most for an answer.
    """

    def __init__(self, desk: Desk, entrance: Entrance, *, answer_timeout_s: float) -> None:
        self._desk = desk
        self._entrance = entrance
        self._answer_timeout_s = answer_timeout_s

    async def quiet(self) -> None:
        """Wait until no call is under way."""
        await self._entrance.quiet()

    async def query(self, request: bytes, context: Context) -> pb.QueryResponse:
        async with self._entrance.admitted(context, "agent.AgentService/Query") as call:
            async with aclosing(self._told(call, asked(read(pb.QueryRequest, request), call.ids), deltas=False)) as telling:
                async for told in telling:
                    if isinstance(told, Done):
                        return response(told.run)
            raise DeadlineExceeded(f"run {call.run_id} is not settled yet; it goes on")
        raise AssertionError("unreachable: the block returns or raises")

    async def stream_query(self, request: bytes, context: Context) -> AsyncIterator[pb.QueryChunk]:
        async with self._entrance.admitted(context, "agent.AgentService/StreamQuery") as call:
            done = False
            async with aclosing(self._told(call, asked(read(pb.QueryRequest, request), call.ids), deltas=True)) as telling:
                async for told in telling:
                    done = isinstance(told, Done)
                    yield chunk(call.run_id or "", told)
            if not done:
                raise DeadlineExceeded(f"run {call.run_id} is not settled yet; it goes on")

    async def batch_query(self, request: bytes, context: Context) -> pb.BatchQueryResponse:
        async with self._entrance.admitted(context, "agent.AgentService/BatchQuery") as call:
            batch = read(pb.BatchQueryRequest, request)
            if not 0 < len(batch.requests) <= MAX_QUESTIONS:
                raise TooLarge(f"requests: {len(batch.requests)} of them; between 1 and {MAX_QUESTIONS} are taken")
            if not 0 <= batch.concurrency <= MAX_CONCURRENCY:
                raise InvalidInput(f"concurrency: {batch.concurrency} is not between 0 and {MAX_CONCURRENCY}")
            given = [asked(one, call.ids) for one in batch.requests]
            outcomes = await ask_all(
                self._desk,
                call.principal,
                [Item(question=replace(_until(call, one.question), lane=Lane.BATCH), wait_s=one.wait_s) for one in given],
                wait_s=self._wait_s(call, max((one.wait_s or self._answer_timeout_s) for one in given)),
                concurrency=batch.concurrency or DEFAULT_CONCURRENCY,
            )
            return pb.BatchQueryResponse(items=map(_item, outcomes))
        raise AssertionError("unreachable: the block returns or raises")

    async def _told(self, call: Call, given: Asked, *, deltas: bool) -> AsyncGenerator[ToldOf, None]:
        """What is told of the run until it rests or the time is over.

        Raises QuarterdeckError with the code a failed run ended with, DeadlineExceeded for one that its deadline ended,
        and Unavailable when the run goes on and nothing more can be told of it here.
        """
        over = False
        try:
            question = _until(call, given.question)
            async with self._desk.asking(call.principal, question, deltas=deltas) as run:
                call.about(run.run_id)
                telling = Telling(run.run_id)
                until = anyio.current_time() + self._wait_s(call, given.wait_s)
                while True:
                    signal, late_now = await _heard(call, run, until)
                    if signal is None and not late_now:
                        raise Unavailable(f"run {run.run_id} goes on; ask again with the same idempotency_key")
                    over = signal is None
                    for told in () if signal is None else telling(signal):
                        over = over or isinstance(told, Done)
                        if isinstance(told, Done) and told.run.failure is not None:
                            raise error_of(told.run.failure.code, f"run {run.run_id} failed: {told.run.failure.message}")
                        if isinstance(told, Done) and late(told.run, question.deadline):
                            raise DeadlineExceeded(
                                f"run {run.run_id} did not end in time; it has what there is of an answer"
                            )
                        yield told
                    if over:
                        return
        except (anyio.get_cancelled_exc_class(), GeneratorExit):
            if given.cancels and not over and call.run_id is not None:
                await abandon(self._desk.controls, call.principal, call.run_id)
            raise

    def _wait_s(self, call: Call, asked_s: float | None) -> float:
        """As long as the call, its caller and the server allow."""
        left_s = self._answer_timeout_s if call.remaining_s is None else _heard_s(call.remaining_s)
        return min(left_s, asked_s or left_s, self._answer_timeout_s)


async def _heard(call: Call, run: Followed, until: float) -> tuple[Signal | None, bool]:
    """The next signal of the run, and whether the time was over first.

    Raises Unauthenticated once the caller may listen no longer.
    """
    while True:
        signal = None
        with anyio.move_on_at(min(until, call.look_at)) as waiting:
            signal = await run.signals.receive()
        if anyio.current_time() >= call.look_at:
            await call.look()
        if not waiting.cancelled_caught or anyio.current_time() >= until:
            return signal, waiting.cancelled_caught


def _until(call: Call, question: Question) -> Question:
    """`question` with the deadline of the call; its run ends a little earlier, so that the caller hears of it."""
    if call.remaining_s is None:
        return question
    return replace(question, deadline=datetime.now(UTC) + timedelta(seconds=_heard_s(min(call.remaining_s, _LONGEST_S))))


def _heard_s(remaining_s: float) -> float:
    """Seconds until a client that waits so long must be told, to hear it."""
    return remaining_s - min(_SPARE_S, remaining_s * _SPARE_SHARE)


def _item(outcome: Outcome) -> pb.BatchItem:
    if outcome.run is not None:
        return pb.BatchItem(response=response(outcome.run))
    error = outcome.error
    assert error is not None
    return pb.BatchItem(error=pb.Problem(code=error.code, message=words(error)))
