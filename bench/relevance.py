"""How good a ranking is, against judgements of what is relevant to a question."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

K = 10

Gains = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Means over all questions.

    Attributes:
        ndcg: Normalised discounted cumulative gain of the first 10, with linear gain.
        recall: Share of the relevant documents that are among the first 10.
        hit: Share of the questions whose first document is relevant.
        empty: Share of the questions that were given nothing.
    """

    ndcg: float
    recall: float
    hit: float
    empty: float


def quality(found: Mapping[str, Sequence[str]], judged: Mapping[str, Gains]) -> Quality:
    """Quality of the rankings, best document first, by question. Only questions with a judgement count."""
    asked = [(docs, judged[question]) for question, docs in found.items() if judged.get(question)]
    return Quality(
        ndcg=_mean([ndcg(docs, gains) for docs, gains in asked]),
        recall=_mean([len(gains.keys() & set(docs[:K])) / len(gains) for docs, gains in asked]),
        hit=_mean([docs[:1] != [] and docs[0] in gains for docs, gains in asked]),
        empty=_mean([not docs for docs, _ in asked]),
    )


def ndcg(found: Sequence[str], gains: Gains, k: int = K) -> float:
    """Gain of the first `k`, each divided by the logarithm of its rank, as a share of the best there could be."""
    got = sum(gains.get(doc, 0.0) / math.log2(rank + 2) for rank, doc in enumerate(found[:k]))
    best = sum(gain / math.log2(rank + 2) for rank, gain in enumerate(sorted(gains.values(), reverse=True)[:k]))
    return got / best if best else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
