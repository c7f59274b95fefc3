"""What was found for a question is found again at no cost, as long as the index and the asker's rights are the same."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import anyio

from quarterdeck.core.answers import Passage
from quarterdeck.core.context import Context, Principal
from quarterdeck.core.errors import DeadlineExceeded, SchemaMismatch
from quarterdeck.core.ids import content_hash
from quarterdeck.core.usage import Usage
from quarterdeck.knowledge.base import KnowledgeIndex
from quarterdeck.knowledge.present import still_there
from quarterdeck.knowledge.search import Finding, lookup_groups
from quarterdeck.store.cache import Shelf
from quarterdeck.store.codec import from_json, json_text, to_json
from quarterdeck.store.flight import Flights

__all__ = ["Finds", "Recalled"]

log = logging.getLogger(__name__)

Where = Mapping[str, str | frozenset[str]]
_ANYWHERE: Where = {}
_FORMAT = 1  # of an entry


class Finds(Protocol):
    """Searches what a principal may read."""

    async def find(self, query: str, ctx: Context, k: int = 6, *, where: Where = _ANYWHERE) -> Finding: ...

    async def search(
        self, query: str, ctx: Context, k: int = 6, *, where: Where = _ANYWHERE
    ) -> tuple[Sequence[Passage], str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """What is kept of a finding: nothing was noted, and nothing is consumed the next time."""

    passages: tuple[Passage, ...]
    mode: str


class Recalled:
    """A searcher that keeps what it found; for an hour, usually.

    An entry belongs to one tenant, one set of groups, one question, one way to search and one generation of the index, which
    is read before each search: once a document has changed, or who may read it, no older entry is found. The groups are
    those the asker has now, and the passages of an entry are looked up again with them: what is spared is ranking and
    embedding. A finding with a note is not kept, since the next one may be better.
    """

    def __init__(self, searcher: Finds, index: KnowledgeIndex, shelf: Shelf, *, configuration: str) -> None:
        """
        Args:
            configuration: Whatever else decides what is found and in which order: embedder, reranker, weights.
        """
        self._searcher = searcher
        self._index = index
        self._shelf = shelf
        self._configuration = configuration
        self._flights: Flights[Finding] = Flights()

    @property
    def shared(self) -> int:
        """How often somebody was served by a search that was under way for another."""
        return self._flights.shared

    async def search(
        self, query: str, ctx: Context, k: int = 6, *, where: Where = _ANYWHERE
    ) -> tuple[Sequence[Passage], str]:
        """Passages and mode of `find`."""
        found = await self.find(query, ctx, k, where=where)
        return list(found.passages), found.mode

    async def find(self, query: str, ctx: Context, k: int = 6, *, where: Where = _ANYWHERE) -> Finding:
        """What the searcher finds, or found; one search serves all who ask for the same at once. Raises as it does."""
        remaining_s = ctx.remaining_s()
        try:
            with anyio.fail_after(remaining_s):
                key = await self._key(query, ctx.principal, k, where)
                if (kept := await self._kept(key, ctx.principal)) is not None:
                    return kept
                own: list[Finding] = []

                async def searched() -> Finding:
                    own.append(await self._searched(key, query, ctx, k, where))
                    return own[0]

                found = await self._flights.once(f"{ctx.principal.tenant}/{key}", searched)
        except TimeoutError as error:
            raise DeadlineExceeded(f"the search took longer than the {remaining_s:.1f} s that were left") from error
        return found if own else replace(found, usage=Usage())  # it was consumed once

    async def _searched(self, key: str, query: str, ctx: Context, k: int, where: Where) -> Finding:
        found = await self._searcher.find(query, ctx, k, where=where)
        if not found.notes:
            entry = to_json(_Entry(passages=found.passages, mode=found.mode))
            await self._shelf.put(ctx.principal.tenant, {key: json_text(entry).encode()})
        return found

    async def _key(self, query: str, principal: Principal, k: int, where: Where) -> str:
        stats = await self._index.stats(principal.tenant)
        conditions = {name: value if isinstance(value, str) else sorted(value) for name, value in where.items()}
        groups = sorted(lookup_groups(principal))
        index = [stats.generation, stats.documents, stats.passages, stats.analyzer, stats.space.embedder]
        return content_hash([_FORMAT, self._configuration, index, groups, query, conditions, k])

    async def _kept(self, key: str, principal: Principal) -> Finding | None:
        data = (await self._shelf.get(principal.tenant, [key])).get(key)
        if data is None:
            return None
        try:
            entry = from_json(_Entry, json.loads(data))
        except (ValueError, SchemaMismatch):
            log.warning("what was kept of a search cannot be read by this version")
            await self._shelf.refuse(principal.tenant, key)
            return None
        # Generations begin again where an index was thrown away and filled anew, perhaps with other rights.
        if not await still_there(self._index, principal, entry.passages):
            await self._shelf.refuse(principal.tenant, key)
            return None
        return Finding(passages=entry.passages, mode=entry.mode)
