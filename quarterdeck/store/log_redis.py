"""An append-only log outside: a stream of Redis, of bounded length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio

from quarterdeck.core.errors import Misconfigured, Unavailable

try:
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError
except ImportError as error:
    raise ImportError("install quarterdeck[redis]") from error

__all__ = ["RedisLog"]


class RedisLog:
    """Entries of a Redis stream; the oldest go once there are about `max_entries`."""

    def __init__(self, url: str, stream: str, *, max_entries: int, timeout_s: float = 2.0) -> None:
        """
        Args:
            url: Of the form redis://user:password@host:port/database, or rediss:// or unix://.
            stream: Its key.
            timeout_s: The longest an entry may take.

        Raises:
            Misconfigured: The URL is none.
        """
        try:
            self._client = Redis.from_url(
                url,
                socket_connect_timeout=timeout_s,
                socket_timeout=timeout_s,
                retry=Retry(NoBackoff(), 0),  # whoever calls tries again later, with the same id in the entry
            )
        except ValueError:
            raise Misconfigured("the URL of Redis is not of the form redis://user:password@host:port/database") from None
        self._stream = stream
        self._max_entries = max_entries
        self._timeout_s = timeout_s

    async def add(self, fields: Mapping[str, str]) -> None:
        """Append one entry. Raises Unavailable; it may stand there nevertheless."""
        try:
            with anyio.fail_after(self._timeout_s):
                entry: dict[Any, Any] = dict(fields)
                await self._client.xadd(self._stream, entry, maxlen=self._max_entries, approximate=True)
        except (RedisError, OSError) as error:  # a time-out is an OSError
            raise Unavailable(f"the stream {self._stream} cannot be written now: {type(error).__name__}") from error

    async def close(self) -> None:
        await self._client.aclose()
