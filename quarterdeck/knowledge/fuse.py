"""Merges rankings of the same things into one, by rank alone: scores of two engines cannot be compared."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["fuse"]


def fuse(rankings: Sequence[Sequence[str]], *, weights: Sequence[float] = (), k: int = 60) -> list[tuple[str, float]]:
    """Merge rankings with weighted reciprocal rank fusion.

    Args:
        rankings: Lists of ids, best first; lengths may differ, ids repeat across lists, not within one.
        weights: One for each ranking, at least 0; empty for 1 each.
        k: Smoothing constant, at least 0: the larger, the less the first places count.

    Returns:
        (id, score), best first, what scores alike in the order in which it was met. The score is the sum of
        weight / (k + rank), rank from 1.

    Source: Cormack, Clarke, Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
    Methods", SIGIR 2009.
    """
    scores: dict[str, float] = {}
    for ranking, weight in zip(rankings, weights or [1.0] * len(rankings), strict=True):
        for rank, name in enumerate(ranking, 1):
            scores[name] = scores.get(name, 0.0) + weight / (k + rank)
    return sorted(scores.items(), key=lambda pair: -pair[1])
