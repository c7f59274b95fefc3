"""Bodies of the search: what is asked, what was found, and how it came about."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from quarterdeck.core.answers import Passage
from quarterdeck.knowledge.explain import Explanation, Stage
from quarterdeck.service.search import MAX_PASSAGES, MAX_QUERY
from quarterdeck.transports.http.shapes import place_of

__all__ = ["SearchAnswer", "SearchRequest", "explanation_body", "passage_rows"]

_Value = Annotated[str, StringConstraints(max_length=500)]


class SearchRequest(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [{"query": "How many days of leave do I have?", "k": 3, "where": {"department": ["hr", "it"]}}]
        },
    )

    query: str = Field(min_length=1, max_length=MAX_QUERY, description="What to look for, best in the words of a question.")
    k: int = Field(6, ge=1, le=MAX_PASSAGES, description="How many passages at most.")
    where: dict[_Value, _Value | list[_Value]] = Field(
        default_factory=dict,
        max_length=16,
        description="Only documents whose metadata has, for each key, the value or one of the values.",
    )
    explain: bool = Field(False, description="Whether to tell how the result came about.")


class PassageRow(BaseModel):
    id: str
    rank: int
    score: float = Field(
        description="How much speaks for its being about the question, 0 to 1; the order is another matter."
    )
    document: str
    title: str
    heading_path: list[str]
    content: str
    start: int
    end: int
    uri: str


class PlaceRow(BaseModel):
    passage: str
    rank: int
    score: float | None
    engine_score: float | None = Field(None, description="For operators: it rests on everybody's passages.")


class StageRow(BaseModel):
    name: str = Field(description="keyword, vector, fused, cut, reranked, given: in this order.")
    places: list[PlaceRow]


class TermRow(BaseModel):
    term: str
    having: int = Field(description="How many of the candidates by words hold it.")


class DroppedRow(BaseModel):
    passage: str
    stage: str
    why: str


class ExplanationBody(BaseModel):
    gate: str = Field(description="`open` if vectors were asked, else why not.")
    terms: list[TermRow]
    candidates: int
    background: list[float] | None = Field(description="Mean and spread of the cosines of unrelated texts.")
    stages: list[StageRow]
    dropped: list[DroppedRow]
    seconds: dict[str, float] = Field(description="By part; for operators.")


class SearchAnswer(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "query": "How many days of leave do I have?",
                    "mode": "hybrid",
                    "notes": [],
                    "passages": [
                        {
                            "id": "leave-1",
                            "rank": 1,
                            "score": 0.84,
                            "document": "leave",
                            "title": "Annual leave",
                            "heading_path": ["Entitlement"],
                            "content": "Full-time employees have 30 days of annual leave.",
                            "start": 0,
                            "end": 49,
                            "uri": "/api/v1/documents/leave?at=0-49&edition=2",
                        }
                    ],
                    "explanation": None,
                }
            ]
        }
    )

    query: str
    mode: str = Field(description="hybrid, or keyword where vectors had no say.")
    notes: list[str] = Field(description="What went wrong on the way, such as vectors that came too late.")
    passages: list[PassageRow]
    explanation: ExplanationBody | None = None


def passage_rows(passages: tuple[Passage, ...]) -> list[dict[str, Any]]:
    """Passages with their ranks."""
    return [
        {
            "id": passage.id,
            "rank": rank,
            "score": passage.score,
            "document": passage.doc_id,
            "title": passage.title,
            "heading_path": list(passage.heading_path),
            "content": passage.text,
            "start": passage.start,
            "end": passage.end,
            "uri": passage.uri or place_of(passage),
        }
        for rank, passage in enumerate(passages, 1)
    ]


def explanation_body(told: Explanation) -> dict[str, Any]:
    """The steps of a search."""
    return {
        "gate": told.gate,
        "terms": [{"term": one.term, "having": one.having} for one in told.terms],
        "candidates": told.candidates,
        "background": list(told.background) if told.background else None,
        "stages": [_stage_row(stage) for stage in told.stages],
        "dropped": [{"passage": one.passage_id, "stage": one.stage, "why": one.why} for one in told.dropped],
        "seconds": dict(told.seconds),
    }


def _stage_row(stage: Stage) -> dict[str, Any]:
    places = [
        {"passage": place.passage_id, "rank": place.rank, "score": place.score, "engine_score": place.engine_score}
        for place in stage.places
    ]
    return {"name": stage.name, "places": places}
