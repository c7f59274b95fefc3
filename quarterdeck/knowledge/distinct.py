"""Which of ranked passages say something of their own: near-duplicates once, and on request variety before rank."""

from __future__ import annotations

from collections.abc import Sequence

from quarterdeck.core.answers import Passage
from quarterdeck.core.text import terms

__all__ = ["distinct", "varied"]

DUPLICATE = 0.9  # Jaccard similarity of terms from which two passages say the same
_DECIDING = frozenset("not no never none without cannot only must may all any".split())
_DECIDING_CJK = frozenset("不没无未非禁仅只必可零一二两三四五六七八九十百千万")


def distinct(passages: Sequence[Passage], k: int) -> list[Passage]:
    """The first `k` without those that repeat a better one."""
    kept: list[tuple[Passage, frozenset[str]]] = []
    for passage in passages:
        if len(kept) == k:
            break
        words = frozenset(terms(passage.text))
        if not any(_repeats(words, other) for _, other in kept):
            kept.append((passage, words))
    return [passage for passage, _ in kept]


def varied(passages: Sequence[Passage], weight: float) -> list[Passage]:
    """`passages` reordered so that each adds to those before it: maximal marginal relevance over their words.

    Args:
        weight: Of the rank a passage came with, against its likeness to a better one: 1 keeps the order, 0 minds only
            variety.

    Source: Carbonell, Goldstein, "The Use of MMR, Diversity-Based Reranking ...", SIGIR 1998.
    """
    words = [frozenset(terms(passage.text)) for passage in passages]
    likeness = [0.0] * len(passages)  # to the most similar one chosen so far
    left = list(range(len(passages)))
    chosen: list[Passage] = []
    while left:
        best = max(left, key=lambda at: weight * (1 - at / len(passages)) - (1 - weight) * likeness[at])
        left.remove(best)
        chosen.append(passages[best])
        for at in left:
            likeness[at] = max(likeness[at], _jaccard(words[at], words[best]))
    return chosen


def _jaccard(words: frozenset[str], other: frozenset[str]) -> float:
    every = len(words | other)
    return len(words & other) / every if every else 1.0


def _repeats(words: frozenset[str], other: frozenset[str]) -> bool:
    if _jaccard(words, other) < DUPLICATE:
        return False
    # Two editions of a rule may differ in one number or one "not", which is all that matters in them.
    return not any(_decides(word) for word in words ^ other)


def _decides(word: str) -> bool:
    return word in _DECIDING or any(letter.isdigit() or letter in _DECIDING_CJK for letter in word)
