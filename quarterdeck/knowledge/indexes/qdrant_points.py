"""What rests in Qdrant: passages and records as points, what is asked of them, and text as a sparse vector.

A record is one state of a document, and nobody changes it: the next state is a record with the next number. A passage
belongs to one record, named by its batch.
"""

from __future__ import annotations

import json
import uuid
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any

from qdrant_client import models

from quarterdeck.core.answers import Passage
from quarterdeck.core.text import terms
from quarterdeck.knowledge.analyze import query_terms, stem
from quarterdeck.knowledge.base import Chunk, Document, Edition, Vector
from quarterdeck.knowledge.indexes.passages import label_of

__all__ = [
    "CONTENT",
    "DENSE",
    "WORDS",
    "Piece",
    "Record",
    "any_of",
    "asked",
    "document_of",
    "edition_of",
    "equals",
    "key_of",
    "meta_terms",
    "passage_of",
    "piece_id",
    "pieces_of",
    "record_id",
]

DENSE = "dense"
WORDS = "words"
CONTENT = (
    "doc",
    "title",
    "uri",
    "groups",
    "meta",
    "sha256",
    "stored_at",
    "text",
)  # what a deleted document leaves nothing of

_NAMES = uuid.UUID("5b5ce0b2-7a0b-5d0c-9d8e-5f0e6a1c9b11")
_SATURATION = 1.2  # k1 of BM25
_LENGTH = 0.75  # b of BM25
# Terms of a passage; fixed, since the weights of a passage are not written again when others come. On Cranfield nDCG@10 is
# 0.545 with 100, 0.537 with 150, 0.536 with 200; on 250 questions of CMRC 0.985 with 100, 0.983 with 150.
_AVERAGE = 100
_TITLE = 2  # a word of the title or a heading counts as often in the text


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One state of a document.

    Attributes:
        key: Stands for tenant and document.
        number: From 1, without gaps. The document is as its last record says.
        batch: The passages that belong to it.
        next: The first passage number that was never given.
        gone: It says that the document was deleted.
        past: Another record followed. A hint: set a little later than that happens.
        tidy: What the former record left behind was cleared away.
        origin: The number of the record that holds the text.
        text: Empty in records that did not bring another text.
        stored_at: When the text came, ISO 8601.
    """

    tenant: str
    key: str
    number: int
    batch: str
    next: int = 1
    gone: bool = False
    past: bool = False
    tidy: bool = False
    doc: str = ""
    title: str = ""
    uri: str = ""
    trusted: bool = False
    groups: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    edition: int = 0
    origin: int = 0
    sha256: str = ""
    characters: int = 0
    stored_at: str = ""
    text: str = ""

    @classmethod
    def read(cls, payload: Mapping[str, Any]) -> Record:
        known = {name: payload[name] for name in _FIELDS if name in payload}
        return cls(**{**known, "groups": tuple(known.get("groups", ()))})

    @property
    def id(self) -> str:
        return record_id(self.key, self.number)

    @property
    def point(self) -> models.PointStruct:
        return models.PointStruct(id=self.id, vector={}, payload={**asdict(self), "groups": list(self.groups)})


_FIELDS = tuple(one.name for one in fields(Record))


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A passage as it rests: the n-th of a document, with the vectors it is found by."""

    n: int
    text: str
    heading: tuple[str, ...]
    start: int
    end: int
    vectors: Mapping[str, Any]

    @classmethod
    def of(cls, n: int, title: str, chunk: Chunk, vector: Vector | None) -> Piece:
        vectors: dict[str, Any] = {WORDS: _weights((title, *chunk.heading_path), chunk.text)}
        if vector is not None:
            vectors[DENSE] = list(vector)
        return cls(
            n=n, text=chunk.text, heading=tuple(chunk.heading_path), start=chunk.start, end=chunk.end, vectors=vectors
        )

    def point(self, record: Record) -> models.PointStruct:
        """The point of this passage in the batch of `record`, whose permissions and metadata it is found by."""
        payload = {
            "tenant": record.tenant,
            "key": record.key,
            "number": record.number,
            "batch": record.batch,
            "groups": list(record.groups),
            "meta": meta_terms(record.meta),
            "n": self.n,
            "text": self.text,
            "heading": list(self.heading),
            "start": self.start,
            "end": self.end,
        }
        return models.PointStruct(id=piece_id(record.batch, self.n), vector=dict(self.vectors), payload=payload)


def pieces_of(points: Iterable[models.Record]) -> list[Piece]:
    """Passages as they were written, in the order of the text."""
    pieces = [
        Piece(
            n=payload["n"],
            text=payload["text"],
            heading=tuple(payload["heading"]),
            start=payload["start"],
            end=payload["end"],
            vectors=point.vector if isinstance(point.vector, dict) else {},
        )
        for point in points
        if (payload := point.payload)
    ]
    return sorted(pieces, key=lambda piece: (piece.start, piece.n))


def key_of(tenant: str, doc_id: str) -> str:
    """Stands for a document of a tenant, whatever characters their names have."""
    return str(uuid.uuid5(_NAMES, json.dumps([tenant, doc_id])))


def record_id(key: str, number: int) -> str:
    """The point of the document's record of this number."""
    return str(uuid.uuid5(uuid.UUID(key), str(number)))


def piece_id(batch: str, n: int) -> str:
    """The point of the n-th passage in a batch."""
    return str(uuid.uuid5(uuid.UUID(batch), str(n)))


def passage_of(record: Record, payload: Mapping[str, Any], score: float) -> Passage:
    """A passage as its record lets it be read."""
    name = f"{record.doc}-{payload['n']}"
    return Passage(
        id=name,
        doc_id=record.doc,
        title=record.title,
        text=payload["text"],
        label=label_of(record.tenant, name, record.groups, record.trusted),
        heading_path=tuple(payload["heading"]),
        start=payload["start"],
        end=payload["end"],
        edition=record.edition,
        score=score,
        uri=record.uri,
    )


def document_of(record: Record, text: str = "") -> Document:
    """The document as of this record."""
    return Document(
        id=record.doc,
        tenant=record.tenant,
        title=record.title,
        text=text,
        groups=frozenset(record.groups),
        trusted=record.trusted,
        uri=record.uri,
        meta=dict(record.meta),
        edition=record.edition,
        stored_at=datetime.fromisoformat(record.stored_at),
    )


def edition_of(origin: Record) -> Edition:
    """The text that came with this record."""
    return Edition(
        number=origin.edition,
        title=origin.title,
        sha256=origin.sha256,
        characters=origin.characters,
        stored_at=datetime.fromisoformat(origin.stored_at),
    )


def equals(**values: str | int | bool) -> Iterator[models.FieldCondition]:
    """Conditions that fields have these values."""
    for name, value in values.items():
        yield models.FieldCondition(key=name, match=models.MatchValue(value=value))


def any_of(name: str, values: Iterable[str]) -> models.FieldCondition:
    """The condition that a field has, or holds, one of the values."""
    return models.FieldCondition(key=name, match=models.MatchAny(any=list(values)))


def meta_terms(meta: Mapping[str, str]) -> list[str]:
    """Metadata as terms. A key of its own for each would be read as a path, with a meaning for dots and brackets."""
    return [json.dumps(pair) for pair in sorted(meta.items())]


def asked(query: str) -> models.SparseVector | None:
    """What to look for, as weights that the engine multiplies by the rarity of each term; None without any word."""
    found = dict.fromkeys(_place(term) for term in query_terms(query))
    return models.SparseVector(indices=list(found), values=[1.0] * len(found)) if found else None


def _weights(headings: Sequence[str], text: str) -> models.SparseVector:
    """BM25 without its factor for rarity, which the engine knows."""
    counts: Counter[int] = Counter()
    length = 0
    for weight, source in ((_TITLE, " ".join(headings)), (1, text)):
        for term in terms(source):
            counts[_place(term)] += weight
            length += 1
    base = _SATURATION * (1 - _LENGTH + _LENGTH * length / _AVERAGE)
    weights = {place: count * (_SATURATION + 1) / (count + base) for place, count in counts.items()}
    return models.SparseVector(indices=list(weights), values=list(weights.values()))


def _place(term: str) -> int:
    # Stems, since on Cranfield nDCG@10 is 0.521 with whole words and 0.537 with stems, other things equal.
    # 32 bits: among 100,000 terms about one pair shares a place.
    return zlib.crc32(stem(term).encode())
