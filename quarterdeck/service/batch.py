"""Many questions at once: a bounded number at a time, and one that fails does not fail the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import anyio

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import DeadlineExceeded, QuarterdeckError, RateLimited, error_of
from quarterdeck.service.desk import Desk, Question
from quarterdeck.service.views import RunView

__all__ = ["DEFAULT_CONCURRENCY", "MAX_CONCURRENCY", "MAX_QUESTIONS", "Item", "Outcome", "Told", "ask_all"]

MAX_QUESTIONS = 1_000
DEFAULT_CONCURRENCY, MAX_CONCURRENCY = 8, 64

log = logging.getLogger(__name__)

Told = Callable[["Outcome"], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one question: a run that rests or is over, or an error.

    Attributes:
        index: Of the question, from 0.
        run: None where no run was begun, or it failed or was not settled in time: then there is an `error`.
    """

    index: int
    run: RunView | None = None
    error: QuarterdeckError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One question of many.

    Attributes:
        wait_s: Seconds its answer is waited for once its turn came; None for as long as there is time for all.
    """

    question: Question
    wait_s: float | None = None


async def ask_all(
    desk: Desk,
    principal: Principal,
    items: Sequence[Item],
    *,
    wait_s: float,
    concurrency: int = DEFAULT_CONCURRENCY,
    told: Told | None = None,
) -> list[Outcome]:
    """Ask all of them; the outcomes in the order of the questions.

    Runs that were begun go on by themselves when the time is over; a question whose turn did not come by then is not begun.
    One for which there is no room waits for it within that time.

    Args:
        wait_s: Seconds for all of them together.
        concurrency: Questions under way at once.
        told: Awaited with each outcome as it comes.
    """
    until = time.monotonic() + wait_s
    turn = anyio.Semaphore(concurrency)
    outcomes: dict[int, Outcome] = {}

    async def ask(index: int, item: Item) -> None:
        async with turn:
            ends = until if item.wait_s is None else min(until, time.monotonic() + item.wait_s)
            outcomes[index] = await _asked(desk, principal, index, item.question, ends)
            if told is not None:
                await told(outcomes[index])

    async with anyio.create_task_group() as group:
        for index, item in enumerate(items):
            group.start_soon(ask, index, item)
    return [outcomes[index] for index in range(len(items))]


async def _asked(desk: Desk, principal: Principal, index: int, question: Question, until: float) -> Outcome:
    run: RunView | None = None
    while run is None:
        left_s = until - time.monotonic()
        if left_s <= 0:
            return Outcome(
                index=index, error=DeadlineExceeded("the time was over before this question's turn; it was not asked")
            )
        try:
            run = await desk.ask(principal, question, left_s)
        except RateLimited as error:
            await anyio.sleep(min(error.retry_after_s, left_s))
        except QuarterdeckError as error:
            return Outcome(index=index, error=error)
        except Exception:
            log.exception("a question of a batch crashed")
            return Outcome(index=index, error=QuarterdeckError("a question of a batch crashed"))
    if run.failure is not None:
        return Outcome(index=index, error=error_of(run.failure.code, f"run {run.run_id} failed: {run.failure.message}"))
    if not run.rests:
        return Outcome(index=index, error=DeadlineExceeded(f"run {run.run_id} is not settled yet; it goes on"))
    return Outcome(index=index, run=run)
