"""What a run retrieves, cites and answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from quarterdeck.core.context import Principal
from quarterdeck.core.labels import Label

__all__ = ["Answer", "Asked", "Citation", "Confidence", "Given", "Passage", "render_passages"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """Retrieved text that can be cited.

    Attributes:
        id: Passage id, unique in the tenant; what a citation names.
        doc_id: The document it was cut from.
        start, end: Character span in the document's text; the passage's text is that span, to the letter.
        edition: The text of the document it stands in, by its number; 0 where that is not known.
        score: Relevance by the engine that found it; larger is better, comparable within one result only.
        uri: Where a person can open it.
    """

    id: str
    doc_id: str
    title: str
    text: str
    label: Label
    heading_path: tuple[str, ...] = ()
    start: int = 0
    end: int = 0
    edition: int = 0
    score: float = 0.0
    uri: str = ""


def render_passages(passages: Sequence[Passage]) -> str:
    """The passages as the model reads them: a JSON list of {id, title, content, score}, best first.

    Where nothing says how much speaks for a passage, there is no score.
    """
    rows = [
        {"id": p.id, "title": " › ".join((p.title, *p.heading_path[-1:])) if p.heading_path else p.title, "content": p.text}
        | ({"score": round(p.score, 2)} if p.score else {})
        for p in passages
    ]
    return json.dumps(rows, ensure_ascii=False)


class Confidence(StrEnum):
    """How far an answer is supported by evidence."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A sentence of the answer and the passage that supports it.

    Attributes:
        sentence: The sentence, without its markers.
        support: Share of the sentence's content words found in the passage, 0 to 1.
    """

    passage: Passage
    sentence: str
    support: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A settled answer: what every run ends with, whatever its output type.

    Attributes:
        text: The answer for a person; ``[1]`` refers to the first of `sources`.
        sources: Ids of the cited passages, in order of first citation; each was retrieved by this run.
        tool_calls: Names of the tools called, in order.
        drafts: Ids of the drafts this run proposed.
        confidence_score: What the level is made from, 0 to 1: how far evidence bears the answer out. None in answers
            from before it was computed.
        reasons: Why the score is what it is, in words for a person.
        notes: Why confidence is low or a review is needed, in words for a person.
    """

    text: str
    confidence: Confidence = Confidence.MEDIUM
    sources: tuple[str, ...] = ()
    citations: tuple[Citation, ...] = ()
    tool_calls: tuple[str, ...] = ()
    needs_human_review: bool = False
    drafts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    confidence_score: float | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question on its own, and all else its answer depends on.

    Attributes:
        principal: Who asks, with present rights.
        agent: Hash of the whole declaration of the agent.
        policy: Version of the policy.
    """

    question: str
    principal: Principal
    agent: str
    policy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a model said to it.

    Attributes:
        text: In the model's own words, with the ids of the passages it cites.
        passages: Everything it had been given, cited or not.
        label: Of all of that.
    """

    text: str
    model: str
    passages: tuple[Passage, ...]
    label: Label
