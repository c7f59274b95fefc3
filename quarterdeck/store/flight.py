"""Work that many ask for at the same time is done once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import anyio

from quarterdeck.core.errors import DeadlineExceeded

__all__ = ["Flights"]

T = TypeVar("T")


class _Flight(Generic[T]):
    def __init__(self) -> None:
        self.landed = anyio.Event()
        self.value: list[T] = []  # one, once it is there
        self.error: Exception | None = None


class Flights(Generic[T]):
    """Lets one of those who ask for the same do the work, in its own task; the others wait for what it gets.

    Attributes:
        shared: How often somebody was spared the work.
    """

    def __init__(self) -> None:
        self.shared = 0
        self._under_way: dict[str, _Flight[T]] = {}

    async def once(self, key: str, make: Callable[[], Awaitable[T]]) -> T:
        """What `make` gives, made by whoever came first. Raises what that raised.

        If that one is cancelled or out of time, which concerns nobody else, one of those who wait begins anew. How long
        somebody waits is for the caller to bound.
        """
        while (other := self._under_way.get(key)) is not None:
            await other.landed.wait()
            if other.error is not None:
                raise other.error
            if other.value:
                self.shared += 1
                return other.value[0]
        flight = self._under_way[key] = _Flight()
        try:
            flight.value.append(await make())
        except DeadlineExceeded:
            raise
        except Exception as error:
            flight.error = error
            raise
        finally:
            del self._under_way[key]
            flight.landed.set()
        return flight.value[0]
