"""The search itself as a service: what an agent would find for somebody, and why, without asking a model."""

from __future__ import annotations

import time
from collections.abc import Mapping

from quarterdeck.core.context import Context, Principal
from quarterdeck.core.errors import InvalidInput
from quarterdeck.core.ids import new_id
from quarterdeck.knowledge.analyze import MAX_QUERY
from quarterdeck.knowledge.explain import Explanation
from quarterdeck.knowledge.search import Finding, Searcher
from quarterdeck.service.intake import cleaned

__all__ = ["MAX_PASSAGES", "MAX_QUERY", "Search"]

MAX_PASSAGES = 50

Where = Mapping[str, str | frozenset[str]]


class Search:
    """Searches with the rights of the one who asks.

    Args:
        timeout_s: For one search.
    """

    def __init__(self, searcher: Searcher, *, timeout_s: float = 10.0) -> None:
        self._searcher = searcher
        self._timeout_s = timeout_s

    async def find(self, principal: Principal, query: str, *, k: int, where: Where) -> Finding:
        """The passages that speak of `query`, perhaps none.

        Raises:
            InvalidInput: The query is empty or too long.
            DeadlineExceeded, StoreUnavailable: As for a search.
        """
        return await self._searcher.find(_checked(query), self._context(principal), k, where=where)

    async def explain(self, principal: Principal, query: str, *, k: int, where: Where) -> Explanation:
        """The same with each step; nothing in it rests on what the principal may not read, but for operators. Raises as
        `find` does."""
        return await self._searcher.explain(_checked(query), self._context(principal), k, where=where)

    def _context(self, principal: Principal) -> Context:
        return Context(principal=principal, run_id=new_id(), deadline=time.monotonic() + self._timeout_s)


def _checked(query: str) -> str:
    if len(query) > MAX_QUERY:
        raise InvalidInput(f"the query has {len(query)} characters; at most {MAX_QUERY} are searched for")
    return cleaned(query, "query").strip()
