"""Public collections of documents, questions and judgements, as BEIR lays them out.

They are for measuring only and are no part of the project: ``BENCH_DATA`` names the folder that holds them, each with
``corpus.jsonl``, ``queries.jsonl`` and ``qrels.tsv``.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.relevance import Gains
from quarterdeck.core.context import Principal
from quarterdeck.knowledge.base import Chunk, Document

READER = Principal(user="bench", tenant="bench")


class NotThere(Exception):
    """A collection, an engine or weights are missing; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Attributes: judged: gains of documents by question; documents that are not named have none."""

    name: str
    documents: Sequence[Document]
    questions: Mapping[str, str]
    judged: Mapping[str, Gains]


def load(name: str) -> Corpus:
    """The collection of this name. Raises NotThere."""
    data = os.environ.get("BENCH_DATA")
    if not data:
        raise NotThere("BENCH_DATA does not say where the collections are")
    folder = Path(data) / name
    if not (folder / "corpus.jsonl").is_file():
        raise NotThere(f"BENCH_DATA names {data}, and there is no collection {name} in it")
    judged: dict[str, dict[str, float]] = defaultdict(dict)
    for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        question, doc, gain = line.split("\t")
        judged[question][doc.lower()] = float(gain)
    return Corpus(
        name=name,
        documents=[
            Document(
                id=row["_id"].lower(),
                tenant=READER.tenant,
                title=row["title"],
                text=row["text"],
                groups=frozenset({"everyone"}),
                trusted=True,
            )
            for row in _rows(folder / "corpus.jsonl")
        ],
        questions={row["_id"]: row["text"] for row in _rows(folder / "queries.jsonl")},
        judged=judged,
    )


def chunk(document: Document) -> Chunk:
    """The document as one passage: the collections judge documents, so nothing is gained by cutting them."""
    return Chunk(text=document.text, start=0, end=len(document.text))


def _rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
