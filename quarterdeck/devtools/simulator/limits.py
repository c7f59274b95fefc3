"""A provider's rate limit: two buckets that refill with the clock, and the headers that tell how full they are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from quarterdeck.devtools.simulator.refusals import Dialect

__all__ = ["Bucket", "Headers", "RateLimit", "exhausted"]

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """What one trace may do per minute."""

    requests_per_min: int = 60
    tokens_per_min: int = 100_000


class Bucket:
    """How much of a rate limit is left. Not a fixed window: what is spent comes back little by little."""

    def __init__(self, limit: RateLimit, now: float) -> None:
        self._limit = limit
        self._at = now
        self._requests = float(limit.requests_per_min)
        self._tokens = float(limit.tokens_per_min)

    def take(self, tokens: int, now: float) -> float:
        """Spend one request of so many tokens: 0 if there was enough, else the seconds to wait, and nothing is spent."""
        self._refill(now)
        lacking_requests = max(0.0, 1 - self._requests) / self._limit.requests_per_min
        lacking_tokens = max(0.0, min(tokens, self._limit.tokens_per_min) - self._tokens) / self._limit.tokens_per_min
        wait_s = 60 * max(lacking_requests, lacking_tokens)
        if wait_s <= 1e-9:
            self._requests -= 1
            self._tokens = max(0.0, self._tokens - tokens)
            return 0.0
        return wait_s

    def headers(self, dialect: Dialect, epoch: int) -> Headers:
        """What is left, in the words of the provider."""
        limit = self._limit
        return _headers(
            dialect,
            epoch,
            requests=(limit.requests_per_min, int(self._requests), 60 * (1 - self._requests / limit.requests_per_min)),
            tokens=(limit.tokens_per_min, int(self._tokens), 60 * (1 - self._tokens / limit.tokens_per_min)),
        )

    def _refill(self, now: float) -> None:
        minutes, self._at = (now - self._at) / 60, now
        self._requests = min(self._limit.requests_per_min, self._requests + minutes * self._limit.requests_per_min)
        self._tokens = min(self._limit.tokens_per_min, self._tokens + minutes * self._limit.tokens_per_min)


def exhausted(dialect: Dialect, epoch: int, wait_s: float) -> Headers:
    """Headers of a limit with nothing left."""
    limit = RateLimit()
    return _headers(dialect, epoch, requests=(limit.requests_per_min, 0, wait_s), tokens=(limit.tokens_per_min, 0, wait_s))


def _headers(dialect: Dialect, epoch: int, *, requests: tuple[int, int, float], tokens: tuple[int, int, float]) -> Headers:
    headers: Headers = []
    for name, (limit, left, reset_s) in (("requests", requests), ("tokens", tokens)):
        if dialect == "anthropic":
            until = datetime.fromtimestamp(epoch + reset_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            told = [(f"anthropic-ratelimit-{name}-{what}", value) for what, value in _told(limit, left, until)]
        else:
            told = [(f"x-ratelimit-{what}-{name}", value) for what, value in _told(limit, left, _duration(reset_s))]
        headers += [(name.encode(), value.encode()) for name, value in told]
    return headers


def _told(limit: int, left: int, reset: str) -> tuple[tuple[str, str], ...]:
    return ("limit", str(limit)), ("remaining", str(left)), ("reset", reset)


def _duration(seconds: float) -> str:
    """As OpenAI writes it: ``20ms``, ``1.5s``, ``6m0s``."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:g}s" if minutes else f"{round(seconds, 3):g}s"
