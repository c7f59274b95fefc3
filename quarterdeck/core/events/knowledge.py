"""What is looked up, what answers rest on, and what is brought into the index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from quarterdeck.core.answers import Passage
from quarterdeck.core.labels import Label
from quarterdeck.core.usage import Usage

__all__ = ["CitationsChecked", "DocumentIngested", "Retrieved"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieved:
    """Passages fetched before the model was asked.

    Attributes:
        mode: ``keyword``, ``vector`` or ``hybrid``: what the index could really do; ``none`` without one; ``late`` or
            ``failed`` where the run went on without; ``cache`` where an earlier answer to the same question is given again.
        query: What was searched for: the question, or what it was completed to from the conversation.
        notes: What went wrong on the way, such as vectors that came too late.
        usage: Of completing the question, of its vector and of a reranker.
    """

    kind: ClassVar[str] = "retrieved"
    turn: int
    query: str
    passages: tuple[Passage, ...]
    mode: str
    label: Label
    notes: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    v: int = 1

    @property
    def key(self) -> str:
        return f"q:{self.turn}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CitationsChecked:
    """What a model says of the cited sentences of an answer.

    Attributes:
        verdicts: By sentence, whether what it cites bears it out. Of sentences that are missing, words decide.
        model: That decided, empty if none was asked.
        problem: Code of the error why there are no verdicts, ``late``, or ``simulated``; empty where there is none.
    """

    kind: ClassVar[str] = "citations_checked"
    turn: int
    verdicts: Mapping[str, bool] = field(default_factory=dict)
    model: str = ""
    usage: Usage = field(default_factory=Usage)
    problem: str = ""
    v: int = 1

    @property
    def key(self) -> str:
        return f"k:{self.turn}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentIngested:
    """What became of one document that was to be brought into the index. It stands there already, whole, or not at all.

    Attributes:
        item: What it is called where it comes from, such as a path or an address.
        doc_id: Its id in the index, empty for one that was refused before it had one.
        reason: Why it was refused.
        chunks: How many pieces it was cut into.
        warnings: What a person should know of it.
        total: How many items the run has, as far as was known then.
    """

    kind: ClassVar[str] = "document_ingested"
    item: str
    outcome: Literal["added", "updated", "unchanged", "refused", "removed"]
    doc_id: str = ""
    reason: str = ""
    chunks: int = 0
    warnings: tuple[str, ...] = ()
    total: int = 0
    v: int = 1

    @property
    def key(self) -> str:
        return f"g:{self.outcome == 'removed':d}:{self.item}"
