"""An append-only log outside: a stream of Redis, of bounded length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio

from quarterdeck.core.errors import Unavailable
from quarterdeck.store.redis_link import GONE, redis_client

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
        # Without repeats: whoever calls tries again later, with the same id in the entry.
        self._client = redis_client(url, timeout_s=timeout_s)
        self._stream = stream
        self._max_entries = max_entries
        self._timeout_s = timeout_s

    async def add(self, fields: Mapping[str, str]) -> None:
        """Append one entry. Raises Unavailable; it may stand there nevertheless."""
        try:
            with anyio.fail_after(self._timeout_s):
                entry: dict[Any, Any] = dict(fields)
                await self._client.xadd(self._stream, entry, maxlen=self._max_entries, approximate=True)
        except GONE as error:
            raise Unavailable(f"the stream {self._stream} cannot be written now: {type(error).__name__}") from error

    async def close(self) -> None:
        await self._client.aclose()
