"""A cache that processes share, in Redis: sealed, with an end of its own in each entry."""

from __future__ import annotations

import logging
import math
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from quarterdeck.core.errors import Misconfigured
from quarterdeck.store.cache import Kept, check_place
from quarterdeck.store.redis_link import RedisLink, redis_client
from quarterdeck.store.seal import Seal

__all__ = ["PREFIX", "RedisCache"]

log = logging.getLogger(__name__)

T = TypeVar("T")

PREFIX = "qd:cache:"
_UNTIL = struct.Struct(">d")
_AT_ONCE = 500  # keys of one command, so that Redis serves others in between


class RedisCache:
    """`Cache` in Redis. While it does not answer everything is a miss, and only one caller at a time finds that out.

    What is read counts only if this deployment wrote it, for the same tenant and key and until the same instant: who can
    write to Redis can empty the cache, and not put anything into it. What it holds is as readable there as any state: Redis
    needs a password and a network of its own.

    Attributes:
        outages: Times Redis was found not to answer.
        foreign: Entries that were not ours, or from another secret.
    """

    def __init__(
        self,
        url: str,
        *,
        secret: bytes,
        timeout_s: float = 0.25,
        away_s: float = 2.0,
        forget_s: float = 10.0,
        max_value: int = 1 << 20,
        connections: int = 16,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            url: Of the form redis://user:password@host:port/database, or rediss:// or unix://.
            secret: The same for all processes of the deployment.
            timeout_s: The longest a caller waits, for a connection and the answer together.
            away_s: Seconds Redis is left alone once it did not answer.
            forget_s: The longest it may take to forget what begins with a prefix, which walks over all keys.
            max_value: Bytes; what is larger is not kept.
            now: Seconds since 1970.
            clock: Monotonic seconds.

        Raises:
            Misconfigured: The URL is none.
        """
        # Without repeats: a miss costs less than a second wait.
        self._client = redis_client(url, timeout_s=timeout_s, connections=connections)
        self._link = RedisLink(
            self._client,
            timeout_s=timeout_s,
            alone_s=away_s,
            without="nothing is found in its cache",
            again="its cache is used",
            clock=clock,
        )
        self.foreign = 0
        self._seal = Seal(secret)
        self._forget_s = forget_s
        self._max_value = max_value
        self._now = now

    @property
    def outages(self) -> int:
        return self._link.outages

    async def get(self, tenant: str, keys: Sequence[str]) -> dict[str, Kept]:
        check_place(tenant, keys)
        found: dict[str, Kept] = {}
        for some in _batched(keys):
            names = [_name(tenant, key) for key in some]
            values = await self._link.ask(partial(self._client.mget, names))
            if values is None:
                break
            for key, data in zip(some, values, strict=True):
                if data is not None and (kept := self._opened(tenant, key, data)) is not None:
                    found[key] = kept
        return found

    async def put(self, tenant: str, entries: Mapping[str, Kept]) -> None:
        check_place(tenant, list(entries))
        now = self._now()
        lasting = [
            (key, kept, math.ceil((kept.until - now) * 1000))
            for key, kept in entries.items()
            if kept.until > now and len(kept.value) <= self._max_value
        ]
        for some in _batched(lasting):
            pipe = self._client.pipeline(transaction=False)
            for key, kept, left_ms in some:
                data = self._seal.close(tenant, key, _UNTIL.pack(kept.until) + kept.value)
                pipe.set(_name(tenant, key), data, px=left_ms)
            if await self._link.ask(pipe.execute) is None:
                return

    async def drop(self, tenant: str, keys: Sequence[str]) -> bool:
        check_place(tenant, keys)
        for some in _batched(keys):
            names = [_name(tenant, key) for key in some]
            if await self._link.ask(partial(self._client.unlink, *names)) is None:
                return False
        return True

    async def forget(self, tenant: str, prefix: str = "") -> bool:
        check_place(tenant, prefix=prefix)

        async def walk() -> bool:
            names: list[bytes] = []
            # Neither a tenant nor a prefix can hold a character that a pattern gives a meaning to.
            async for name in self._client.scan_iter(match=_name(tenant, prefix) + "*", count=1000):
                names.append(name)
                if len(names) == _AT_ONCE:
                    await self._client.unlink(*names)
                    names = []
            if names:
                await self._client.unlink(*names)
            return True

        return await self._link.ask(walk, timeout_s=self._forget_s) is not None

    async def close(self) -> None:
        """Let go of the connections."""
        await self._link.close()

    def _opened(self, tenant: str, key: str, data: bytes) -> Kept | None:
        try:
            payload = self._seal.open(tenant, key, data)
            (until,) = _UNTIL.unpack_from(payload)
        except (Misconfigured, struct.error):
            if not self.foreign:
                log.warning("the cache in Redis holds what this deployment did not write, or wrote with another secret")
            self.foreign += 1
            return None
        return Kept(payload[_UNTIL.size :], until) if until > self._now() else None


def _name(tenant: str, key: str) -> str:
    return f"{PREFIX}{tenant}/{key}"


def _batched(items: Sequence[T]) -> list[Sequence[T]]:
    return [items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE)]
