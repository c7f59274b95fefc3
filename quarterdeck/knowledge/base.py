"""What an agent may read: protocols and their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from quarterdeck.core.answers import Passage

__all__ = ["Chunk", "Document", "Found", "IndexStats", "KnowledgeIndex", "Lookup"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A text with its permissions.

    Attributes:
        id: Unique in the tenant; passages are named ``{id}-{n}``.
        text: The whole text; spans of chunks and passages count its characters.
        groups: Groups (or ``user:<id>``) that may read it. ``everyone`` is a group like any other. Empty: nobody.
        trusted: True only for curated collections: outsiders cannot write into it.
        uri: Where a person can open it.
    """

    id: str
    tenant: str
    title: str
    text: str
    groups: frozenset[str]
    trusted: bool = False
    uri: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)


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
        where: Only documents whose metadata has these values.
    """

    text: str
    tenant: str
    groups: frozenset[str]
    where: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search gave, best first.

    Attributes:
        mode: ``keyword``, ``vector`` or ``hybrid``: what the index could really do.
    """

    passages: tuple[Passage, ...]
    mode: str = "keyword"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexStats:
    """Attributes: generation rises with every change; it keys the retrieval cache."""

    documents: int
    passages: int
    generation: int
    analyzer: str
    embedder: str = "none"


class KnowledgeIndex(Protocol):
    """Passages and who may read them. The permission filter is inside every query."""

    async def upsert(self, document: Document, chunks: Sequence[Chunk]) -> None:
        """Replace all passages of the document in one transaction; readers see the old or the new, never half."""
        ...

    async def delete(self, tenant: str, doc_ids: Sequence[str]) -> int: ...

    async def set_groups(self, tenant: str, doc_id: str, groups: frozenset[str]) -> None:
        """Change who may read a document, without indexing it again. Raises NotFound."""
        ...

    async def keyword(self, lookup: Lookup, k: int) -> list[Passage]:
        """The k best passages by BM25 that the lookup's groups may read."""
        ...

    async def passage(self, tenant: str, passage_id: str, groups: frozenset[str]) -> Passage | None:
        """One passage, if the groups may read it."""
        ...

    async def document(self, tenant: str, doc_id: str, groups: frozenset[str]) -> Document | None:
        """One document, if the groups may read it."""
        ...

    async def catalogue(self, tenant: str) -> Mapping[str, Mapping[str, str]]:
        """The metadata of every document of the tenant, by id. For ingestion: it asks nobody's permission."""
        ...

    async def stats(self, tenant: str) -> IndexStats:
        """Counts over all documents of the tenant, whoever may read them: for operators, never for a reader."""
        ...

    async def close(self) -> None: ...
