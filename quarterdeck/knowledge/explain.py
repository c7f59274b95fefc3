"""Why a search gave what it gave, told to whoever asked.

Everything here is about passages the asker may read, and every number rests on those alone: shares of a topic, cosines,
places. An engine's own scores do not, since its statistics count everybody's passages, and neither does the time it took;
both are for operators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from quarterdeck.core.answers import Passage

__all__ = ["Dropped", "Explanation", "Place", "Stage", "Term", "stage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a passage stood in a stage.

    Attributes:
        rank: From 1.
        score: keyword: share of the topic; vector: cosine; fused: sum of reciprocal ranks; reranked: the reranker's own, if
            it gave one; cut and given: the evidence, as in the result.
        engine_score: The engine's own, for operators.
    """

    passage_id: str
    rank: int
    score: float | None = None
    engine_score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A step of the search: ``keyword``, ``vector``, ``fused``, ``cut``, ``reranked``, ``given``."""

    name: str
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A passage the asker may read that was found and not given."""

    passage_id: str
    stage: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A term of the question's topic. `having`: how many of the candidates by words hold it."""

    term: str
    having: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One search, step by step.

    Attributes:
        passages: What was given, best first.
        gate: Whether vectors were asked, and why not.
        background: (mean, standard deviation) of the cosines of unrelated texts, which meaning is measured against.
        notes: What went wrong.
        seconds: By part; empty for all but operators.
    """

    query: str
    mode: str
    passages: tuple[Passage, ...]
    gate: str
    terms: tuple[Term, ...]
    candidates: int
    stages: tuple[Stage, ...]
    dropped: tuple[Dropped, ...]
    notes: tuple[str, ...]
    background: tuple[float, float] | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)


def stage(
    name: str,
    ids: Sequence[str],
    scores: Mapping[str, float | None],
    engine: Mapping[str, float] | None = None,
) -> Stage:
    """A stage from passages in order.

    Args:
        engine: The engine's own scores, None for whoever may not see them.
    """
    return Stage(
        name=name,
        places=tuple(
            Place(
                passage_id=passage,
                rank=rank,
                score=None if (score := scores.get(passage)) is None else round(score, 4),
                engine_score=None if engine is None else engine.get(passage),
            )
            for rank, passage in enumerate(ids, 1)
        ),
    )
