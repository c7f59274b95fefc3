"""What an agent may read: protocols and their values."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeAlias

from quarterdeck.core.answers import Passage
from quarterdeck.core.usage import Usage

__all__ = [
    "KEYWORDS",
    "Chunk",
    "Document",
    "Edition",
    "Finding",
    "IndexStats",
    "KnowledgeIndex",
    "Lookup",
    "Space",
    "Vector",
]

Vector: TypeAlias = "array[float]"  # 32-bit floats; a string, since 3.11 cannot subscript the class


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Which vectors an index holds: part of its identity, checked when it is opened.

    Attributes:
        embedder: Id of the embedder that made them. Vectors of two ids are never compared.
        dim: Length of every vector, 0 without vectors.
    """

    embedder: str
    dim: int


KEYWORDS = Space(embedder="none", dim=0)
"""The space of an index without vectors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A text with its permissions.

    Attributes:
        id: Unique in the tenant; passages are named ``{id}-{n}``.
        text: The whole text; spans of chunks and passages count its characters.
        groups: Groups (or ``user:<id>``) that may read it. ``everyone`` is a group like any other. Empty: nobody.
        trusted: True only for curated collections: outsiders cannot write into it.
        uri: Where a person can open it.
        edition: Which text this is, from 1: one more whenever the index is given another text. 0 before it is stored.
        stored_at: When the index was given this edition, aware UTC; None before.
    """

    id: str
    tenant: str
    title: str
    text: str
    groups: frozenset[str]
    trusted: bool = False
    uri: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)
    edition: int = 0
    stored_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """One text a document had.

    Attributes:
        number: From 1; the last is the one that is searched.
        sha256: Of the text, hexadecimal.
    """

    number: int
    title: str
    sha256: str
    characters: int
    stored_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of a document, before it can be cited: ``document.text[start:end] == text``."""

    text: str
    start: int
    end: int
    heading_path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """A search. Tenant and groups are required and have no default; without groups nothing is found.

    Attributes:
        where: Only documents whose metadata has, for each of these keys, the value or one of the values.
    """

    text: str
    tenant: str
    groups: frozenset[str]
    where: Mapping[str, str | frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a search gives.

    Attributes:
        passages: Best first, perhaps none. A score is the evidence that the passage is about the question, 0 to 1; it
            explains, the order is that of the ranking.
        notes: What went wrong on the way, such as vectors that came too late.
        usage: Of embedder and reranker.
    """

    passages: tuple[Passage, ...]
    mode: str
    notes: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexStats:
    """Attributes: generation rises with every change; it keys the retrieval cache."""

    documents: int
    passages: int
    generation: int
    analyzer: str
    space: Space = KEYWORDS


class KnowledgeIndex(Protocol):
    """Passages and who may read them. The permission filter is inside every query.

    Every method may raise StoreUnavailable. An index is opened for one `Space` and one analyzer; one that was written with
    others is refused with Misconfigured, since its terms and vectors could not be compared.
    """

    async def upsert(
        self,
        document: Document,
        chunks: Sequence[Chunk],
        vectors: Sequence[Vector | None] = (),
        *,
        generation: int | None = None,
    ) -> None:
        """Replace all passages of the document at once; readers see the old or the new, never half.

        A chunk whose text stood there before keeps its passage id; a number once given is never given to other text, though
        the document was deleted in between. Another text is another edition, whose number is as new; the former ones stay
        to be opened. Groups and metadata are those of `document`.

        Args:
            vectors: One for each chunk, None for a chunk that is found by its words alone; empty for all of them.
            generation: Only while this is the tenant's: whoever may have been overtaken by others undoes nothing then.

        Raises:
            InvalidInput: A chunk is not its span of the text, or a vector is not of the index's space.
            Conflict: Something of the tenant changed since that generation; this changed nothing.
        """
        ...

    async def delete(self, tenant: str, doc_ids: Sequence[str], *, generation: int | None = None) -> int:
        """Forget documents with all their editions; returns how many there were. `generation` as in `upsert`."""
        ...

    async def set_groups(self, tenant: str, doc_id: str, groups: frozenset[str]) -> None:
        """Change who may read a document, without indexing it again. Raises NotFound."""
        ...

    async def keyword(self, lookup: Lookup, k: int) -> list[Passage]:
        """The k best passages by BM25 (or what the engine has like it) that the lookup's groups may read."""
        ...

    async def vector(self, lookup: Lookup, vector: Vector, k: int) -> list[Passage]:
        """The k passages nearest to `vector` by cosine that the lookup's groups may read, the score being the cosine.

        None in an index without vectors. Raises InvalidInput for a vector that is not of the index's space.
        """
        ...

    async def passages(self, tenant: str, passage_ids: Sequence[str], groups: frozenset[str]) -> dict[str, Passage]:
        """Those of these passages that there are and the groups may read, by id. Their scores are 0."""
        ...

    async def document(
        self, tenant: str, doc_id: str, groups: frozenset[str], *, edition: int | None = None
    ) -> Document | None:
        """One document, if the groups may read it; by default its present edition."""
        ...

    async def documents(self, tenant: str, groups: frozenset[str], *, after: str = "", limit: int = 100) -> list[Document]:
        """Documents the groups may read, by id from the one behind `after`, each with an empty text."""
        ...

    async def readable(self, tenant: str, doc_ids: Sequence[str], groups: frozenset[str]) -> frozenset[str]:
        """Those of these documents that there are and the groups may read."""
        ...

    async def editions(self, tenant: str, doc_id: str, groups: frozenset[str]) -> list[Edition]:
        """The texts a document had, newest first; none if the groups may not read it."""
        ...

    async def catalogue(self, tenant: str) -> Mapping[str, Mapping[str, str]]:
        """The metadata of every document of the tenant, by id. For ingestion: it asks nobody's permission."""
        ...

    async def stats(self, tenant: str) -> IndexStats:
        """Counts over all documents of the tenant, whoever may read them: for operators, never for a reader."""
        ...

    async def close(self) -> None: ...
