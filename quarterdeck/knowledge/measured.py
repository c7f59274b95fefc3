"""A searcher that tells how long its searches took, how they were made, and how much they found."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from quarterdeck.core.answers import Passage
from quarterdeck.core.context import Context
from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.knowledge.recalled import Finds
from quarterdeck.knowledge.search import Finding

if TYPE_CHECKING:  # its package is one of the server's
    from quarterdeck.telemetry.metrics import Metrics

__all__ = ["MeasuredSearch"]

_ANYWHERE: Mapping[str, str | frozenset[str]] = {}


class MeasuredSearch:
    """`Finds` around another, outside its cache."""

    def __init__(self, searcher: Finds, metrics: Metrics, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._searcher = searcher
        self._metrics = metrics
        self._clock = clock

    async def search(
        self, query: str, ctx: Context, k: int = 6, *, where: Mapping[str, str | frozenset[str]] = _ANYWHERE
    ) -> tuple[Sequence[Passage], str]:
        """Passages and mode of `find`."""
        found = await self.find(query, ctx, k, where=where)
        return list(found.passages), found.mode

    async def find(
        self, query: str, ctx: Context, k: int = 6, *, where: Mapping[str, str | frozenset[str]] = _ANYWHERE
    ) -> Finding:
        """What the searcher finds. Raises as it does."""
        began = self._clock()
        try:
            found = await self._searcher.find(query, ctx, k, where=where)
        except QuarterdeckError:
            self._metrics.search("failed", 0, self._clock() - began)
            raise
        self._metrics.search(found.mode, len(found.passages), self._clock() - began, found.usage)
        return found
