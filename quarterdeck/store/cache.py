"""What may be forgotten at any time: bytes by tenant and key, each with an end, in one level or two.

A cache holds nothing that cannot be made again, so whatever fails in it is a miss and never an error.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from quarterdeck.core.errors import InvalidInput
from quarterdeck.core.ids import check_id

__all__ = ["Cache", "Kept", "Levels", "MemoryCache", "Shelf", "check_place"]

BACK_S = 300.0  # the longest a process goes on with what another one may have dropped meanwhile
_BESIDE = 200  # bytes an entry takes in memory beside its key and value, about
_KEY = re.compile(r"[A-Za-z0-9._:-]{1,200}\Z")
_PREFIX = re.compile(r"[A-Za-z0-9._:-]{0,200}\Z")


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes and the instant they are no longer to be used, in seconds since 1970, which all processes share."""

    value: bytes
    until: float


class Cache(Protocol):
    """Bytes by tenant and key. No method raises because the place behind it does not answer; no wait is long.

    Every method raises InvalidInput for a tenant that is no id, or a key of other characters than ``A-Za-z0-9._:-``.
    """

    async def get(self, tenant: str, keys: Sequence[str]) -> dict[str, Kept]:
        """What is kept and not over, by key; the rest is missing."""
        ...

    async def put(self, tenant: str, entries: Mapping[str, Kept]) -> None:
        """Keep these, perhaps; each replaces what stood under its key."""
        ...

    async def drop(self, tenant: str, keys: Sequence[str]) -> bool:
        """Forget these; False if that could not be done now."""
        ...

    async def forget(self, tenant: str, prefix: str = "") -> bool:
        """Forget all of the tenant's keys that begin with `prefix`; False if that could not be done now."""
        ...

    async def close(self) -> None: ...


def check_place(tenant: str, keys: Sequence[str] = (), *, prefix: str = "") -> None:
    """Raises InvalidInput for what could reach beyond the tenant or mean something to an engine."""
    check_id(tenant, "tenant")
    if not _PREFIX.match(prefix) or any(not _KEY.match(key) for key in keys):
        raise InvalidInput("a key of a cache holds 1 to 200 letters, digits, '.', '_', ':' and '-'")


class MemoryCache:
    """`Cache` of one process. What was not used for longest goes first."""

    def __init__(
        self, *, max_entries: int = 10_000, max_bytes: int = 64 << 20, now: Callable[[], float] = time.time
    ) -> None:
        """
        Args:
            max_bytes: Of all entries, about; one that is larger by itself is not kept.
            now: Seconds since 1970.
        """
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._now = now
        self._bytes = 0
        self._kept: OrderedDict[tuple[str, str], Kept] = OrderedDict()

    async def get(self, tenant: str, keys: Sequence[str]) -> dict[str, Kept]:
        check_place(tenant, keys)
        now, found = self._now(), {}
        for key in keys:
            if (kept := self._kept.get((tenant, key))) is None:
                continue
            if kept.until <= now:
                self._remove((tenant, key))
            else:
                self._kept.move_to_end((tenant, key))
                found[key] = kept
        return found

    async def put(self, tenant: str, entries: Mapping[str, Kept]) -> None:
        check_place(tenant, list(entries))
        for key, kept in entries.items():
            self._remove((tenant, key))
            size = _size((tenant, key), kept)
            if size <= self._max_bytes and kept.until > self._now():
                self._kept[tenant, key] = kept
                self._bytes += size
        while len(self._kept) > self._max_entries or self._bytes > self._max_bytes:
            self._remove(next(iter(self._kept)))

    async def drop(self, tenant: str, keys: Sequence[str]) -> bool:
        check_place(tenant, keys)
        for key in keys:
            self._remove((tenant, key))
        return True

    async def forget(self, tenant: str, prefix: str = "") -> bool:
        check_place(tenant, prefix=prefix)
        for place in [place for place in self._kept if place[0] == tenant and place[1].startswith(prefix)]:
            self._remove(place)
        return True

    async def close(self) -> None:
        self._kept.clear()
        self._bytes = 0

    def _remove(self, place: tuple[str, str]) -> None:
        if (kept := self._kept.pop(place, None)) is not None:
            self._bytes -= _size(place, kept)


def _size(place: tuple[str, str], kept: Kept) -> int:
    return len(kept.value) + len(place[0]) + len(place[1]) + _BESIDE


class Levels:
    """A cache of this process before one that others share: what is found below is kept above for some minutes."""

    def __init__(
        self, memory: Cache, second: Cache, *, back_s: float = BACK_S, now: Callable[[], float] = time.time
    ) -> None:
        """Args: back_s: The longest the memory goes on alone with what the second level may have dropped."""
        self._memory = memory
        self._second = second
        self._back_s = back_s
        self._now = now
        self._dropped = 0  # what was read before something was dropped is not written back after it

    async def get(self, tenant: str, keys: Sequence[str]) -> dict[str, Kept]:
        found = await self._memory.get(tenant, keys)
        missing = [key for key in keys if key not in found]
        if not missing:
            return found
        dropped = self._dropped
        below = await self._second.get(tenant, missing)
        if below and dropped == self._dropped:
            await self._memory.put(tenant, self._shortened(below))
        return found | below

    async def put(self, tenant: str, entries: Mapping[str, Kept]) -> None:
        await self._memory.put(tenant, self._shortened(entries))
        await self._second.put(tenant, entries)

    async def drop(self, tenant: str, keys: Sequence[str]) -> bool:
        self._dropped += 1
        gone = await self._second.drop(tenant, keys)
        self._dropped += 1
        return await self._memory.drop(tenant, keys) and gone

    async def forget(self, tenant: str, prefix: str = "") -> bool:
        self._dropped += 1
        gone = await self._second.forget(tenant, prefix)
        self._dropped += 1
        return await self._memory.forget(tenant, prefix) and gone

    async def close(self) -> None:
        await self._memory.close()
        await self._second.close()

    def _shortened(self, entries: Mapping[str, Kept]) -> dict[str, Kept]:
        end = self._now() + self._back_s
        return {key: kept if kept.until <= end else replace(kept, until=end) for key, kept in entries.items()}


class Shelf:
    """One named part of a cache, whose entries last equally long.

    Attributes:
        name: What it is called in keys and metrics.
        hits, misses: Keys asked for, since the start.
        stale: Hits that turned out not to be true any more; they count as misses and no longer as hits.
    """

    def __init__(self, cache: Cache, name: str, *, ttl_s: float, now: Callable[[], float] = time.time) -> None:
        self.name = check_id(name, "name of a cache")
        self.hits = 0
        self.misses = 0
        self.stale = 0
        self._cache = cache
        self._ttl_s = ttl_s
        self._now = now

    async def get(self, tenant: str, keys: Sequence[str]) -> dict[str, bytes]:
        """What is kept of these, by key."""
        named = {f"{self.name}:{key}": key for key in keys}
        found = await self._cache.get(tenant, list(named))
        self.hits += len(found)
        self.misses += len(named) - len(found)
        return {named[place]: kept.value for place, kept in found.items()}

    async def put(self, tenant: str, entries: Mapping[str, bytes]) -> None:
        """Keep these for the time of this shelf."""
        until = self._now() + self._ttl_s
        await self._cache.put(tenant, {f"{self.name}:{key}": Kept(value, until) for key, value in entries.items()})

    async def drop(self, tenant: str, key: str) -> bool:
        """Forget what is kept under a key; False if that could not be done now."""
        return await self._cache.drop(tenant, [f"{self.name}:{key}"])

    async def refuse(self, tenant: str, key: str) -> None:
        """Say that what was found under a key may not be used, and forget it."""
        self.hits -= 1
        self.misses += 1
        self.stale += 1
        await self.drop(tenant, key)

    async def forget(self, tenant: str) -> bool:
        """Forget all that is here of a tenant; False if that could not be done everywhere."""
        return await self._cache.forget(tenant, f"{self.name}:")
