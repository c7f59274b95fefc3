"""Searches what a principal may read, and gives nothing rather than something beside the point.

The engine finds and ranks candidates. Everything after that rests only on candidates the reader may see: the relevance
cut-off, the removal of near-duplicates, and the score that is shown. An engine's own score does not, because its statistics
count passages of everybody, so a reader could tell from it whether a word occurs in documents closed to him.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import anyio

from quarterdeck.core.answers import Passage
from quarterdeck.core.context import Context, Principal
from quarterdeck.core.errors import DeadlineExceeded
from quarterdeck.core.text import content_terms, terms
from quarterdeck.knowledge.analyze import Vocabulary, stem, topic_terms
from quarterdeck.knowledge.base import KnowledgeIndex, Lookup

__all__ = ["Searcher", "lookup_groups"]

CANDIDATES = 50
# The least share of a question's topic, rare terms counting more, that the best passage must speak of, else there is no
# answer here. On CMRC 2018 that keeps something for 95 % of the questions, and gives nothing to 79 % of them once their
# paragraph is taken away; on the invented support desks of tests/unit/knowledge/desks.py it loses no answer.
ANSWERS = 0.4
BESIDE = 0.4  # the least share, relative to the best passage's, that another one must reach to stand beside it
DUPLICATE = 0.9  # Jaccard similarity of terms from which two passages say the same
_DECIDING = frozenset("not no never none without cannot only must may all any".split())
_DECIDING_CJK = frozenset("不没无未非禁仅只必可零一二两三四五六七八九十百千万")


def lookup_groups(principal: Principal) -> frozenset[str]:
    """The groups a principal searches with: own groups, ``everyone`` of the tenant, and ``user:<id>``.

    A group that is spelled like a user or like ``everyone`` is not passed on: it would open what it only resembles.
    """
    own = (group for group in principal.groups if not group.startswith("user:"))
    return frozenset({*own, "everyone", f"user:{principal.user}"})


class Searcher:
    """Keyword search within the rights of the one who asks."""

    def __init__(self, index: KnowledgeIndex) -> None:
        self._index = index

    async def search(self, query: str, ctx: Context, k: int = 6) -> tuple[Sequence[Passage], str]:
        """The passages that speak of `query`, best first, perhaps none, and the mode of the search.

        A passage's score is the share of the question's topic it speaks of, 0 to 1. It explains, the order is the engine's.
        Raises DeadlineExceeded.
        """
        lookup = Lookup(text=query, tenant=ctx.principal.tenant, groups=lookup_groups(ctx.principal))
        remaining_s = ctx.remaining_s()
        try:
            with anyio.fail_after(remaining_s):
                found = await self._index.keyword(lookup, max(CANDIDATES, k))
        except TimeoutError as error:
            raise DeadlineExceeded(f"the search took longer than the {remaining_s:.1f} s that were left") from error
        # The engine has checked already. This second check costs nothing and holds if an engine is ever wrong.
        readable = [passage for passage in found if passage.label.readers.admits(ctx.principal.names)]
        return _distinct(_relevant(readable, _topic(query)), k), "keyword"


def _topic(query: str) -> list[str]:
    # "IT?" is all stop words and still a question.
    return topic_terms(query) or [stem(term) for term in content_terms(query)]


def _relevant(passages: Sequence[Passage], topic: Sequence[str]) -> list[Passage]:
    """None if the best speaks of too little of the topic, else those that speak of about as much; with the
    share as their score, in the order they came."""
    if not topic or not passages:
        return []
    held = [_held(passage, topic) for passage in passages]
    weights = {term: _rarity(sum(term in terms for terms in held), len(passages)) for term in topic}
    whole = sum(weights.values())
    shares = [sum(weights[term] for term in terms) / whole for terms in held]
    best = max(shares)
    if best < ANSWERS:
        return []
    return [replace(p, score=round(share, 3)) for p, share in zip(passages, shares, strict=True) if share >= BESIDE * best]


@lru_cache(maxsize=1024)  # the candidates of one question are those of the next; about 10 kB each
def _vocabulary(text: str) -> Vocabulary:
    return Vocabulary(text)


def _held(passage: Passage, topic: Sequence[str]) -> frozenset[str]:
    words = _vocabulary("\n".join((passage.title, *passage.heading_path, passage.text)))
    return frozenset(term for term in topic if term in words)


def _rarity(having: int, total: int) -> float:
    """Weight of a term that `having` of `total` candidates hold; one that none holds counts as if one did."""
    return math.log(1 + (total + 1) / max(having, 1))


def _distinct(passages: Sequence[Passage], k: int) -> list[Passage]:
    """The first `k` without those that repeat a better one."""
    kept: list[tuple[Passage, frozenset[str]]] = []
    for passage in passages:
        if len(kept) == k:
            break
        words = frozenset(terms(passage.text))
        if not any(_repeats(words, other) for _, other in kept):
            kept.append((passage, words))
    return [passage for passage, _ in kept]


def _repeats(words: frozenset[str], other: frozenset[str]) -> bool:
    if len(words & other) < DUPLICATE * len(words | other):
        return False
    # Two editions of a rule may differ in one number or one "not", which is all that matters in them.
    return not any(_decides(word) for word in words ^ other)


def _decides(word: str) -> bool:
    return word in _DECIDING or any(letter.isdigit() or letter in _DECIDING_CJK for letter in word)
