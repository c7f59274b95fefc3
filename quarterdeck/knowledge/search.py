"""Searches what a principal may read, and gives nothing rather than something beside the point.

The engine finds and ranks candidates, by words and by meaning; both rankings are fused. Everything after that rests only on
candidates the reader may see: the relevance cut-off, the reranker, the removal of near-duplicates, and the score that is
shown. An engine's own score does not, because its statistics count passages of everybody, so a reader could tell from it
whether a word occurs in documents closed to him.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import anyio
from anyio import to_thread

from quarterdeck.core.answers import Passage
from quarterdeck.core.context import Context, Principal
from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.core.synonyms import Synonyms
from quarterdeck.core.usage import Usage
from quarterdeck.knowledge.analyze import searched
from quarterdeck.knowledge.base import Finding, KnowledgeIndex, Lookup
from quarterdeck.knowledge.calibration import STRONGER, Meaning
from quarterdeck.knowledge.distinct import distinct, varied
from quarterdeck.knowledge.explain import Dropped, Explanation, Term, stage
from quarterdeck.knowledge.fuse import fuse
from quarterdeck.knowledge.relevance import BESIDE, HEADING, LEAST, Evidence
from quarterdeck.knowledge.rerank import Reranked, Reranker, reordered
from quarterdeck.knowledge.sides import Found, Sides
from quarterdeck.knowledge.topic import NO_SYNONYMS, Topic, widened
from quarterdeck.models.embeddings import Embedder

__all__ = ["Finding", "Ranked", "Searcher", "Tuning", "lookup_groups"]

log = logging.getLogger(__name__)

Where = Mapping[str, str | frozenset[str]]
_ANYWHERE: Where = {}
_OPERATOR = "operate"  # the scope of those who may see what rests on everybody's passages


def lookup_groups(principal: Principal) -> frozenset[str]:
    """The groups a principal searches with: own groups, ``everyone`` of the tenant, and ``user:<id>``.

    A group that is spelled like a user or like ``everyone`` is not passed on: it would open what it only resembles.
    """
    own = (group for group in principal.groups if not group.startswith("user:"))
    return frozenset({*own, "everyone", f"user:{principal.user}"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How a search weighs what it finds.

    Attributes:
        keyword, vector: Weights of the two sides in the fusion.
        smoothing: The k of reciprocal rank fusion.
        candidates: Passages asked of each side.
        least: Evidence the best passage must have, 0 to 1; with less, nothing is given.
        vector_timeout_s: Seconds the side of meaning has; the words' side stands without it.
        reranked: How many of the best a reranker is shown.
        rerank_timeout_s: Seconds it has; the order stands without it.
        least_reranked: Of the reranker's score, in its own scale; what has less is left out. None: nothing is.
        variety: 1 keeps the order; less prefers passages that differ from better ones (MMR's lambda).
    """

    keyword: float = 1.0
    vector: float = 1.0
    smoothing: int = 60
    candidates: int = 100
    least: float = LEAST
    vector_timeout_s: float = 2.0
    reranked: int = 30
    rerank_timeout_s: float = 2.0
    least_reranked: float | None = None
    variety: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """An order before anything is left out.

    Attributes:
        passages: Best first; scores are those of the fusion.
        mode: ``hybrid`` or ``keyword``: what the search could really do.
    """

    passages: list[Passage]
    mode: str
    notes: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)


class Searcher:
    """Hybrid search within the rights of the one who asks."""

    def __init__(
        self,
        index: KnowledgeIndex,
        *,
        embedder: Embedder | None = None,
        reranker: Reranker | None = None,
        tuning: Tuning | None = None,
        synonyms: Synonyms = NO_SYNONYMS,
        meaning: Meaning = STRONGER,
    ) -> None:
        """
        Args:
            embedder: The one the index's vectors are of, as it reads questions; without it words decide alone.
            synonyms: Words that are looked for beside those of the question.
            meaning: What the embedder's nearness is worth.
        """
        self._tuning = tuning or Tuning()
        self._synonyms = synonyms
        self._reranker = reranker
        self._meaning = meaning
        self._sides = Sides(index, embedder, timeout_s=self._tuning.vector_timeout_s)

    async def search(
        self, query: str, ctx: Context, k: int = 6, *, where: Where = _ANYWHERE
    ) -> tuple[Sequence[Passage], str]:
        """Passages and mode of `find`."""
        found = await self.find(query, ctx, k, where=where)
        return list(found.passages), found.mode

    async def find(self, query: str, ctx: Context, k: int = 6, *, where: Where = _ANYWHERE) -> Finding:
        """The passages that speak of `query`, best first, perhaps none.

        Raises:
            DeadlineExceeded: The caller's time is over.
            StoreUnavailable: The index does not answer.
        """
        trail = await self._trail(query, ctx, k, where)
        return Finding(passages=trail.given, mode=trail.found.mode, notes=tuple(trail.found.notes), usage=trail.found.usage)

    async def explain(self, query: str, ctx: Context, k: int = 6, *, where: Where = _ANYWHERE) -> Explanation:
        """What `find` gives and how it came about. Raises as `find` does."""
        return _explained(await self._trail(query, ctx, k, where), operator=_OPERATOR in ctx.principal.scopes)

    async def ranked(self, lookup: Lookup, k: int, ctx: Context) -> Ranked:
        """The `k` best of the order alone, reranked if there is a reranker; nothing is left out. For measuring."""
        found = await self._ask(lookup, k, ctx)
        ranking = self._fused(found, self._topic(lookup, found))
        if verdict := await self._verdict(lookup.text, ranking, ctx, found):
            ranking = reordered(ranking, verdict)
        return Ranked(passages=ranking[:k], mode=found.mode, notes=tuple(found.notes), usage=found.usage)

    async def _trail(self, query: str, ctx: Context, k: int, where: Where) -> _Trail:
        lookup = Lookup(text=searched(query), tenant=ctx.principal.tenant, groups=lookup_groups(ctx.principal), where=where)
        found = await self._ask(lookup, k, ctx)
        # A hundred passages that nobody read before take 50 ms: too long to keep everybody else waiting.
        trail = await to_thread.run_sync(self._weighed, lookup, found)
        trail.verdict = await self._verdict(lookup.text, trail.kept, ctx, found)
        trail.settle(k, self._tuning)
        if found.notes:
            log.warning("search of run %s: %s", ctx.run_id, "; ".join(found.notes))
        return trail

    async def _ask(self, lookup: Lookup, k: int, ctx: Context) -> Found:
        wide = widened(lookup.text, self._synonyms)
        return await self._sides.ask(lookup, max(self._tuning.candidates, k), ctx, wide)

    def _weighed(self, lookup: Lookup, found: Found) -> _Trail:
        topic = self._topic(lookup, found)
        trail = _Trail(query=lookup.text, found=found, fused=self._fused(found, topic), topic=topic)
        trail.cut(self._meaning, self._tuning.least)
        return trail

    def _topic(self, lookup: Lookup, found: Found) -> Topic:
        by_words = {passage.id: passage for passage in (*found.keyword, *found.otherwise)}
        return Topic.of(lookup.text, list(by_words.values()), self._synonyms, beside=found.vector)

    def _fused(self, found: Found, topic: Topic) -> list[Passage]:
        """One order of both sides. Where words have others, the engine's order counts each of them for itself, and is
        held against one that counts them as the one term they are."""
        words = {passage.id: passage for passage in (*found.otherwise, *found.keyword)}
        by_words = [found.otherwise, topic.rank(list(words.values()), HEADING)] if found.otherwise else [found.keyword]
        order = fuse(
            [[passage.id for passage in side] for side in (*by_words, found.vector)],
            weights=(*[self._tuning.keyword / len(by_words)] * len(by_words), self._tuning.vector),
            k=self._tuning.smoothing,
        )
        by_id = {passage.id: passage for passage in found.vector} | words
        return [replace(by_id[name], score=score) for name, score in order]

    async def _verdict(self, query: str, ranking: Sequence[Passage], ctx: Context, found: Found) -> Reranked | None:
        """The reranker's, None where there is none or it failed, which is noted."""
        if self._reranker is None or not ranking:
            return None
        begun = time.monotonic()
        limit_s = min(self._tuning.rerank_timeout_s, ctx.remaining_s())
        verdict: Reranked | None = None
        problem = "came too late"
        with anyio.move_on_after(limit_s):
            try:
                hurried = replace(ctx, deadline=begun + limit_s)
                verdict = await self._reranker.rerank(query, ranking[: self._tuning.reranked], hurried)
            except QuarterdeckError as error:
                problem = f"failed ({error.code})"
                found.usage += error.usage or Usage()
        found.seconds["reranker"] = time.monotonic() - begun
        if verdict is None:
            found.notes.append(f"the reranker {problem}: the order stands as it was")
            return None
        found.usage += verdict.usage
        return verdict


@dataclass(slots=True, kw_only=True)
class _Trail:
    """One search on its way: what each step kept, and why the rest was dropped."""

    query: str
    found: Found
    fused: Sequence[Passage]
    topic: Topic
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    kept: Sequence[Passage] = ()
    verdict: Reranked | None = None
    reranked: Sequence[Passage] = ()
    given: tuple[Passage, ...] = ()
    dropped: list[Dropped] = field(default_factory=list)

    def cut(self, meaning: Meaning, least: float) -> None:
        """Keep nothing if the best has less evidence than `least`, else what has about as much as that one."""
        cosines = {passage.id: passage.score for passage in self.found.vector}
        self.evidence = {
            passage.id: Evidence.of(passage, self.topic, cosines.get(passage.id), self.found.unrelated, meaning)
            for passage in self.fused
        }
        best = max((evidence.whole for evidence in self.evidence.values()), default=0.0)
        if best < least:
            self._drop(self.fused, "cut", "nothing that was found speaks of enough of the question")
            return
        self.kept = [passage for passage in self.fused if self.evidence[passage.id].whole >= BESIDE * best]
        kept = {passage.id for passage in self.kept}
        beside = [passage for passage in self.fused if passage.id not in kept]
        self._drop(beside, "cut", "speaks of much less of the question than the best")

    def settle(self, k: int, tuning: Tuning) -> None:
        """Order by the verdict, leave out what it scores too low, what repeats a better one, and what comes after `k`."""
        order = self.kept
        if self.verdict is not None:
            order = reordered(self.kept, self.verdict)
            scores = {self.kept[place].id: score for place, score in self.verdict.order}
            if tuning.least_reranked is not None and any(score is not None for score in scores.values()):
                good = {name for name, score in scores.items() if score is not None and score >= tuning.least_reranked}
                self._drop([p for p in order if p.id not in good], "reranked", "the reranker scores it too low")
                order = [passage for passage in order if passage.id in good]
        self.reranked = order
        chosen = distinct(varied(order, tuning.variety) if tuning.variety < 1 else order, k)
        self.given = tuple(replace(p, score=round(self.evidence[p.id].whole, 3)) for p in chosen)
        ids = {passage.id for passage in chosen}
        why = f"repeats a better one, or comes after the first {k}"
        self._drop([passage for passage in order if passage.id not in ids], "given", why)

    def _drop(self, passages: Sequence[Passage], stage: str, why: str) -> None:
        self.dropped += (Dropped(passage_id=passage.id, stage=stage, why=why) for passage in passages)


def _explained(trail: _Trail, *, operator: bool) -> Explanation:
    found, topic = trail.found, trail.topic
    words: Mapping[str, float | None] = {name: evidence.words for name, evidence in trail.evidence.items()}
    whole: Mapping[str, float | None] = {name: evidence.whole for name, evidence in trail.evidence.items()}
    engine = {passage.id: passage.score for passage in found.keyword}
    verdict = trail.verdict.order if trail.verdict is not None else ()
    reranks = {trail.kept[place].id: score for place, score in verdict}
    return Explanation(
        query=trail.query,
        mode=found.mode,
        passages=trail.given,
        gate=found.gate.value,
        terms=tuple(Term(term=one.name, having=topic.having[one.name]) for one in topic.terms),
        candidates=topic.candidates,
        stages=(
            stage("keyword", _ids(found.keyword), words, engine if operator else None),
            stage("vector", _ids(found.vector), {passage.id: passage.score for passage in found.vector}),
            stage("fused", _ids(trail.fused), {passage.id: passage.score for passage in trail.fused}),
            stage("cut", _ids(trail.kept), whole),
            stage("reranked", _ids(trail.reranked) if verdict else [], reranks),
            stage("given", _ids(trail.given), whole),
        ),
        dropped=tuple(trail.dropped),
        notes=tuple(found.notes),
        background=None if found.unrelated is None else (round(found.unrelated.mean, 4), round(found.unrelated.spread, 4)),
        seconds={part: round(seconds, 4) for part, seconds in found.seconds.items()} if operator else {},
    )


def _ids(passages: Sequence[Passage]) -> list[str]:
    return [passage.id for passage in passages]
