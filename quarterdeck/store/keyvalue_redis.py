"""State by key (row R12) in Redis: one hash per tenant, sealed.

A hash, and not a Redis key per state: forgetting a tenant is one step that no save can slip through and that never walks
over the keys of others. The price is that a tenant's states lie on one node of a cluster.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Self

import anyio
from anyio import to_thread

from quarterdeck.core.errors import Misconfigured, StoreUnavailable
from quarterdeck.store.keyvalue import check_key, state_uri, uri_key
from quarterdeck.store.redis_link import GONE, redis_client
from quarterdeck.store.seal import Seal

try:
    from redis.asyncio import Redis
    from redis.exceptions import AuthenticationError, NoPermissionError
except ImportError as error:
    raise ImportError("install quarterdeck[redis]") from error

__all__ = ["PREFIX", "RedisKeyValue"]

PREFIX = "qd:state:"


class RedisKeyValue:
    """`KeyValue` in Redis, as durable as that Redis is: with append-only files and without eviction.

    Args:
        timeout_s: The longest a call takes, waiting for a connection included.
    """

    scheme = "redis-state"

    def __init__(self, client: Redis, seal: Seal, *, timeout_s: float) -> None:
        self._client = client
        self._seal = seal
        self._timeout_s = timeout_s

    @classmethod
    async def open(cls, url: str, *, secret: bytes, timeout_s: float = 10.0, connections: int = 16) -> Self:
        """The Redis of a URL: redis://user:password@host:port/database, or rediss:// or unix://. Nothing is sent yet.

        Raises:
            Misconfigured: The URL is none.
        """
        # The connection may have been idle for too long; to repeat does no harm.
        client = redis_client(url, timeout_s=timeout_s, connections=connections, repeats=1)
        return cls(client, Seal(secret), timeout_s=timeout_s)

    async def save(self, tenant: str, key: str, payload: bytes) -> str:
        """Keep `payload`, replacing what was there; returns a URI for `load_uri`."""
        check_key(tenant, key)
        data = await to_thread.run_sync(self._seal.close, tenant, key, payload)
        await self._ask("HSET", PREFIX + tenant, key, data)
        return state_uri(self.scheme, tenant, key)

    async def load(self, tenant: str, key: str) -> bytes | None:
        """What was saved, None if nothing was.

        Raises:
            Misconfigured: It was changed outside, or written with another secret.
        """
        check_key(tenant, key)
        data = await self._ask("HGET", PREFIX + tenant, key)
        return None if data is None else await to_thread.run_sync(self._seal.open, tenant, key, data)

    async def load_uri(self, tenant: str, uri: str) -> bytes | None:
        """What `save` kept under the URI it returned; None for another tenant's."""
        key = uri_key(self.scheme, tenant, uri)
        return None if key is None else await self.load(tenant, key)

    async def clear(self, tenant: str, key: str | None = None) -> int:
        """Forget one key, or without a key all of the tenant's. Returns how many were forgotten."""
        check_key(tenant, key if key is not None else "all")
        if key is not None:
            return int(await self._ask("HDEL", PREFIX + tenant, key))
        with self._deadline():
            async with self._client.pipeline(transaction=True) as both:
                both.hlen(PREFIX + tenant)
                both.unlink(PREFIX + tenant)  # Redis frees the memory beside its other work
                count, _ = await both.execute()
        return int(count)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    async def _ask(self, *command: Any) -> Any:
        execute: Any = self._client.execute_command  # untyped in the client
        with self._deadline():
            return await execute(*command)

    @contextlib.contextmanager
    def _deadline(self) -> Iterator[None]:
        try:
            with anyio.fail_after(self._timeout_s):
                yield
        except (AuthenticationError, NoPermissionError) as error:
            raise Misconfigured(f"Redis refuses the credentials of the state store: {type(error).__name__}") from error
        except GONE as error:
            raise StoreUnavailable(f"Redis, where states rest, does not answer: {type(error).__name__}") from error
