"""The one place where model calls are repeated."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol

from quarterdeck.core.context import Context
from quarterdeck.core.errors import ModelInvalid, ModelUnavailable, QuarterdeckError, Truncated
from quarterdeck.core.usage import Usage
from quarterdeck.models.base import Completion, Emit, Model, ModelRequest
from quarterdeck.models.watch import Watch

__all__ = ["Backoff", "Constant", "Exponential", "Linear", "Retry", "RetryBudget", "Retrying", "recoverable"]

Clock = Callable[[], float]


class Backoff(Protocol):
    """How long to wait before a retry, on average."""

    def delay_s(self, retry: int) -> float:
        """Seconds before retry number `retry`, from 1."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """The same wait before every retry."""

    base_s: float = 1.0

    def delay_s(self, retry: int) -> float:
        return self.base_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """A wait that grows by its base."""

    base_s: float = 1.0
    cap_s: float = 30.0

    def delay_s(self, retry: int) -> float:
        return min(self.cap_s, self.base_s * retry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exponential:
    """A wait that grows by a factor; 2 and 1.5 are usual."""

    base_s: float = 1.0
    factor: float = 2.0
    cap_s: float = 30.0

    def delay_s(self, retry: int) -> float:
        return min(self.cap_s, self.base_s * self.factor ** min(retry - 1, 64))


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """A retry that is about to be waited for.

    Attributes:
        attempt: The one that failed, from 1.
        wait_s: Seconds until the next.
    """

    model: str
    attempt: int
    error: QuarterdeckError
    wait_s: float


def recoverable(error: QuarterdeckError, attempt: int) -> bool:
    """Whether trying again can help: always if the model did not answer, once if it answered with no answer.

    A reply cut by its own token limit would be cut again; keys, bad requests and content policy do not change by asking.
    """
    match error:
        case ModelUnavailable():
            return True
        case ModelInvalid():
            return attempt == 1 and not isinstance(error, Truncated)
        case _:
            return False


class RetryBudget:
    """Keeps retries a small share of calls, so that a failing provider is not buried under repetition.

    Retries within the window may be `share` of the calls in it, and `floor` in any case. One budget per provider, shared by
    all that call it in this process.
    """

    def __init__(self, *, share: float = 0.2, floor: int = 3, window_s: float = 10.0, clock: Clock = time.monotonic) -> None:
        self._share = share
        self._floor = floor
        self._window_s = window_s
        self._clock = clock
        self._calls: deque[float] = deque()
        self._retries: deque[float] = deque()

    def called(self) -> None:
        """Count a call's first attempt."""
        self._forget()
        self._calls.append(self._clock())

    def take(self) -> bool:
        """Claim a retry; False if there is none left now."""
        self._forget()
        if len(self._retries) >= max(self._floor, int(self._share * len(self._calls))):
            return False
        self._retries.append(self._clock())
        return True

    def _forget(self) -> None:
        oldest = self._clock() - self._window_s
        for times in (self._calls, self._retries):
            while times and times[0] <= oldest:
                times.popleft()


class Retrying:
    """Repeats what may pass: with growing waits and jitter, as the provider asks, never past the deadline.

    Nothing is repeated once a part of the reply was passed on, since whoever watches would see it twice. What failed
    attempts consumed is added to the completion's usage.
    """

    def __init__(
        self,
        model: Model,
        *,
        retries: int = 3,
        backoff: Backoff | None = None,
        retry_if: Callable[[QuarterdeckError, int], bool] = recoverable,
        on_retry: Callable[[Retry], None] | None = None,
        budget: RetryBudget | None = None,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: Callable[[], float] = random.random,
    ) -> None:
        """
        Args:
            retries: After the first attempt.
            backoff: None for exponential from one second.
            retry_if: Takes the error and the number of the attempt that failed, from 1.
            on_retry: Told before each wait.
            budget: None for no limit across calls.
            rng: Gives numbers from 0 to 1.
        """
        self._model = model
        self._retries = retries
        self._backoff = backoff or Exponential()
        self._retry_if = retry_if
        self._on_retry = on_retry
        self._budget = budget
        self._clock = clock
        self._sleep = sleep
        self._rng = rng

    @property
    def name(self) -> str:
        return self._model.name

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        watch = None if emit is None else Watch(emit)
        if self._budget is not None:
            self._budget.called()
        wasted: Usage | None = None
        attempt = 1
        while True:
            try:
                completion = await self._model.complete(request, ctx, watch)
            except QuarterdeckError as error:
                wasted = _plus(wasted, error.usage)
                wait_s = self._wait_s(error, attempt)
                obstacle = self._obstacle(error, attempt, wait_s, ctx, watch)
                if obstacle is not None:
                    _explain(error, attempt, obstacle, wasted)
                    raise
                if self._on_retry is not None:
                    self._on_retry(Retry(model=self.name, attempt=attempt, error=error, wait_s=wait_s))
            else:
                if attempt == 1:
                    return completion
                usage = completion.usage if wasted is None else wasted + completion.usage
                return replace(completion, usage=usage, attempts=completion.attempts + attempt - 1)
            await self._sleep(wait_s)
            attempt += 1

    def _wait_s(self, error: QuarterdeckError, attempt: int) -> float:
        asked = error.retry_after_s if isinstance(error, ModelUnavailable) else None
        if asked:  # a wish not to wait at all is none: everybody would be back at once
            return asked * (1 + self._rng() / 4)  # never early; a little late, so that clients do not return all at once
        # Full jitter: from nothing to twice the backoff, which keeps its mean. Drawing from nothing to once the backoff
        # would put a tenth of 1,000 clients that failed together into each 100 ms of the first second.
        return 2 * self._rng() * self._backoff.delay_s(attempt)

    def _obstacle(
        self, error: QuarterdeckError, attempt: int, wait_s: float, ctx: Context, watch: Watch | None
    ) -> str | None:
        """Why there is no further attempt, None if there is one. An empty reason goes without saying."""
        if not self._retry_if(error, attempt):
            return ""
        if watch is not None and watch.delivered:
            return "a part of the reply was delivered already"
        if attempt > self._retries:
            return "no retries are left"
        if self._clock() + wait_s >= ctx.deadline:
            return f"waiting {wait_s:.1f} s would pass the deadline"
        if self._budget is not None and not self._budget.take():
            return "too many calls to this provider are being retried"
        return None


def _plus(wasted: Usage | None, spent: Usage | None) -> Usage | None:
    if spent is None or wasted is None:
        return spent or wasted
    return wasted + spent


def _explain(error: QuarterdeckError, attempts: int, obstacle: str, wasted: Usage | None) -> None:
    """Add the story of the attempts to `error`, which keeps its class and all else the provider's answer made it."""
    story = f"after {attempts} attempts" if attempts > 1 else "at the first attempt"
    error.args = (f"{error} ({story}{': ' if obstacle else ''}{obstacle})",)
    error.usage = wasted
