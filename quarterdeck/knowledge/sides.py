"""The two sides of a search, asked at the same time: by words, and by meaning where an embedder knows the language.

The words are the side a search stands on. The other one has a time of its own, and its failure is told and not raised.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import anyio

from quarterdeck.core.answers import Passage
from quarterdeck.core.context import Context
from quarterdeck.core.errors import DeadlineExceeded, QuarterdeckError
from quarterdeck.core.text import has_cjk, terms
from quarterdeck.core.usage import Usage
from quarterdeck.knowledge.base import KnowledgeIndex, Lookup
from quarterdeck.knowledge.unrelated import Unrelated, probes
from quarterdeck.models.embeddings import Embedder

__all__ = ["Found", "Gate", "Sides"]

_CJK_LANGUAGES = frozenset({"ja", "ko", "zh"})
_SHARE = 0.8  # of the caller's time that vectors may take, so that something is left to answer with the words' side


class Gate(StrEnum):
    """Whether meaning is asked, and why not."""

    OPEN = "open"
    WORDLESS = "the question has no words"
    NO_EMBEDDER = "no embedder"
    LANGUAGE = "the embedder does not know the question's language"


@dataclass(slots=True, kw_only=True)
class Found:
    """What both sides gave: passages the caller may read, best first.

    Attributes:
        keyword: Scores are the engine's and rest on everybody's passages; they are for operators.
        otherwise: By the question's words and what means the same; empty where nothing does.
        vector: Scores are cosines.
        unrelated: What the cosines are measured against; None without vectors.
        notes: What went wrong, for the caller.
        seconds: Time by side.
    """

    keyword: Sequence[Passage] = ()
    otherwise: Sequence[Passage] = ()
    vector: Sequence[Passage] = ()
    gate: Gate = Gate.NO_EMBEDDER
    unrelated: Unrelated | None = None
    notes: list[str] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def mode(self) -> str:
        """``hybrid`` if both sides had a say, else ``keyword``."""
        return "hybrid" if self.vector else "keyword"

    def keep_editions_apart(self) -> None:
        """Of a document that several queries found keep what the first of them found.

        Each query sees a document whole, but two may see two editions of one that is replaced between them. A passage that
        both have is the same text: no other is ever given its id.
        """
        self.otherwise = _of_one_edition(self.otherwise, self.keyword)
        self.vector = _of_one_edition(self.vector, [*self.keyword, *self.otherwise])


class Sides:
    """Asks an index by words and by meaning."""

    def __init__(self, index: KnowledgeIndex, embedder: Embedder | None, *, timeout_s: float) -> None:
        """
        Args:
            embedder: The one the index's vectors are of; None for words alone.
            timeout_s: For the side of meaning; never more than four fifths of the caller's time.
        """
        self._index = index
        self._embedder = embedder
        self._timeout_s = timeout_s
        self._unrelated: dict[tuple[str, ...], Unrelated] = {}

    def gate(self, question: str) -> Gate:
        """Whether the side of meaning is asked."""
        if self._embedder is None:
            return Gate.NO_EMBEDDER
        if not terms(question):
            return Gate.WORDLESS
        known = self._embedder.languages
        # Vectors of a language the embedder does not know are noise: fused, they lower nDCG@10 on CMRC from 0.98 to 0.59.
        if has_cjk(question) and known is not None and not known & _CJK_LANGUAGES:
            return Gate.LANGUAGE
        return Gate.OPEN

    async def ask(self, lookup: Lookup, k: int, ctx: Context, wide: str = "") -> Found:
        """Up to `k` passages of each side. Raises DeadlineExceeded, and what the index raises.

        Args:
            wide: The question with what says its words otherwise; the same as the question, or empty, where nothing does.
        """
        found = Found(gate=self.gate(lookup.text))
        remaining_s = ctx.remaining_s()
        failures: list[QuarterdeckError] = []
        asked_otherwise = wide not in ("", lookup.text)
        several = asked_otherwise or found.gate == Gate.OPEN
        with anyio.move_on_after(remaining_s) as scope:
            before = await self._generation(lookup) if several else None
            async with anyio.create_task_group() as tasks:
                if self._embedder is not None and found.gate == Gate.OPEN:
                    tasks.start_soon(self._by_meaning, self._embedder, lookup, k, ctx, found)
                try:
                    begun = time.monotonic()
                    found.keyword = _readable(await self._index.keyword(lookup, k), ctx)
                    if asked_otherwise:
                        found.otherwise = _readable(await self._index.keyword(replace(lookup, text=wide), k), ctx)
                    found.seconds["keyword"] = time.monotonic() - begun
                except QuarterdeckError as error:
                    failures.append(error)  # told outside, since a task group would wrap it
                    tasks.cancel_scope.cancel()
            if several and not failures and await self._generation(lookup) != before:
                found.keep_editions_apart()
        if failures:
            raise failures[0]
        if scope.cancelled_caught:
            raise DeadlineExceeded(f"the search took longer than the {remaining_s:.1f} s that were left")
        return found

    async def _generation(self, lookup: Lookup) -> int:
        return (await self._index.stats(lookup.tenant)).generation

    async def _by_meaning(self, embedder: Embedder, lookup: Lookup, k: int, ctx: Context, found: Found) -> None:
        begun = time.monotonic()
        limit_s = min(self._timeout_s, _SHARE * (ctx.deadline - begun))
        hurried = replace(ctx, deadline=begun + limit_s)
        with anyio.move_on_after(limit_s) as scope:
            try:
                await self._near(embedder, lookup, k, hurried, found)
            except DeadlineExceeded:
                found.notes.append("vectors came too late: searched by words alone")
            except QuarterdeckError as error:
                found.notes.append(f"vectors failed ({error.code}): searched by words alone")
        if scope.cancelled_caught:
            found.notes.append("vectors came too late: searched by words alone")
        found.seconds["vector"] = time.monotonic() - begun

    async def _near(self, embedder: Embedder, lookup: Lookup, k: int, ctx: Context, found: Found) -> None:
        unrelated = probes(lookup.text)
        known = self._unrelated.get(unrelated)
        embedded = await embedder.embed([lookup.text, *(() if known else unrelated)], ctx)
        found.usage += embedded.usage
        question, *others = embedded.vectors
        known = known or Unrelated.among(others)
        self._unrelated[unrelated] = known
        near = _readable(await self._index.vector(lookup, question, k), ctx)
        found.unrelated, found.vector = known, near


def _of_one_edition(later: Sequence[Passage], earlier: Sequence[Passage]) -> list[Passage]:
    ids, documents = {passage.id for passage in earlier}, {passage.doc_id for passage in earlier}
    return [passage for passage in later if passage.id in ids or passage.doc_id not in documents]


def _readable(passages: Sequence[Passage], ctx: Context) -> list[Passage]:
    # The engine has checked already. This second check costs nothing and holds if an engine is ever wrong.
    names = ctx.principal.names
    return [passage for passage in passages if passage.label.readers.admits(names)]
