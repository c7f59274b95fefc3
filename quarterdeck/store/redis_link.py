"""A Redis that may be away: how it is asked, when it is left alone, and what is said of it meanwhile."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from quarterdeck.core.errors import Misconfigured
from quarterdeck.store.breaker import BreakerRule, Circuit, MemoryBreaker, Outcome

try:
    from redis.asyncio import BlockingConnectionPool, Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError
except ImportError as error:
    raise ImportError("install quarterdeck[redis]") from error

__all__ = ["GONE", "RedisLink", "redis_client"]

log = logging.getLogger(__name__)

T = TypeVar("T")

GONE = (RedisError, OSError)  # what a client raises when Redis does not answer; a time-out is an OSError

_NAME = "redis"


def redis_client(
    url: str,
    *,
    timeout_s: float,
    silence_s: float | None = None,
    connections: int = 16,
    repeats: int = 0,
    text: bool = False,
) -> Redis:
    """A client of the Redis at a URL; nothing is sent yet. Whoever asks for it closes it.

    Args:
        url: Of the form redis://user:password@host:port/database, or rediss:// or unix://.
        timeout_s: The longest to wait for one of the connections, for a new one, and for an answer.
        silence_s: The longest to wait for an answer, where it is not `timeout_s`.
        repeats: How often a command is sent again whose answer did not come: it may be done twice then.
        text: True for answers as text, False as bytes.

    Raises:
        Misconfigured: The URL is none.
    """
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=connections,
            timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            socket_timeout=timeout_s if silence_s is None else silence_s,
            decode_responses=text,
            retry=Retry(NoBackoff(), repeats),
        )
    except ValueError:  # its message may hold the password
        raise Misconfigured("the URL of Redis is not of the form redis://user:password@host:port/database") from None
    return Redis.from_pool(pool)


class RedisLink:
    """A Redis one can do without: once it did not answer it is left alone, and then tried again by one caller at a time.

    Attributes:
        client: To ask it with.
        outages: Times Redis was found not to answer; each is logged once, and so is its end.
    """

    def __init__(
        self,
        client: Redis,
        *,
        timeout_s: float,
        alone_s: float,
        without: str,
        again: str,
        back: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            client: Closed with the link.
            timeout_s: The longest an answer to `ask` may take, waiting for a connection included.
            alone_s: Seconds Redis is left alone once it did not answer.
            without: For the log, how things are without it, such as "nothing is found in its cache".
            again: For the log, how they are once it is back.
            back: Called when it answers again.
            clock: Monotonic seconds.
        """
        self.client = client
        self.outages = 0
        self._timeout_s = timeout_s
        self._without = without
        self._again = again
        self._back = back
        self._away = False
        # Redis is itself something that may fail: the first failure opens its circuit, and one caller tries it again.
        rule = BreakerRule(share=1e-9, minimum=1, window_s=1.0, open_s=alone_s, probe_s=2 * timeout_s)
        self._circuit = MemoryBreaker(rule, clock=clock)

    async def ask(self, work: Callable[[], Awaitable[T]], *, timeout_s: float | None = None) -> T | None:
        """What `work` gets from Redis; None if Redis does not answer, or is left alone at the moment.

        Args:
            timeout_s: The longest it may take where that is not the link's own.
        """
        admission = await self._circuit.admit(_NAME)
        if admission.circuit is Circuit.OPEN:
            return None
        outcome = Outcome.VOID
        try:
            with anyio.fail_after(self._timeout_s if timeout_s is None else timeout_s):
                answer = await work()
            outcome = Outcome.SUCCEEDED
        except GONE as error:
            outcome = Outcome.FAILED
            self.lost(error)
            return None
        finally:
            await self._circuit.report(_NAME, admission, outcome)
        self.answered()
        return answer

    def lost(self, error: BaseException) -> None:
        """Note that Redis did not answer: who asks it by the client itself tells so."""
        if not self._away:
            self._away = True
            self.outages += 1
            log.warning("Redis does not answer (%s): until it does, %s", type(error).__name__, self._without)

    def answered(self) -> None:
        """Note that Redis answered."""
        if self._away:
            self._away = False
            if self._back is not None:
                self._back()
            log.warning("Redis answers again: %s", self._again)

    async def close(self) -> None:
        """Let go of the connections."""
        await self.client.aclose()
