"""One document: from the bytes it came as to chunks with their vectors."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from quarterdeck.core.context import Context
from quarterdeck.core.errors import InvalidInput
from quarterdeck.core.ids import content_hash
from quarterdeck.knowledge.analyze import ANALYZER
from quarterdeck.knowledge.base import Chunk, Document, Vector
from quarterdeck.knowledge.chunk import SPLITTER, split
from quarterdeck.knowledge.embedders.language import embeddable
from quarterdeck.knowledge.embedders.wording import WORDING, worded
from quarterdeck.knowledge.ingest_source import Given, Origin, check_groups
from quarterdeck.knowledge.parsers.base import Block
from quarterdeck.knowledge.parsers.read import READER, DocumentReader
from quarterdeck.models.embeddings import Embedder
from quarterdeck.models.tokens import count_tokens

__all__ = ["Prepared", "Recipe", "cut", "made_from", "prepare", "vectors_of"]

_SCHEME = re.compile(r"([^/?#:]*):")
_OWN_KEYS = frozenset({"title", "groups", "uri"})
_RESERVED = frozenset({"trusted", "collection", "path", "hash"})  # decided from outside, never by a file itself
_MEASURES = {"characters": len, "tokens": count_tokens}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How documents are cut and embedded.

    Attributes:
        size, overlap: Of chunks, in `unit`; tokens are estimated.
        embedder: Id of what makes the vectors, ``none`` without.
    """

    size: int = 800
    overlap: int = 0
    unit: Literal["characters", "tokens"] = "characters"
    embedder: str = "none"

    @property
    def name(self) -> str:
        """A hash of all of it, and of how this version cuts."""
        return content_hash([ANALYZER, SPLITTER, self.size, self.overlap, self.unit, self.embedder])


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A document, ready to be embedded and stored."""

    document: Document
    chunks: Sequence[Chunk]
    warnings: Sequence[str]


def made_from(given: Given, origin: Origin, recipe: Recipe) -> str:
    """A hash of all that what is stored of a document depends on: while it stays, nothing has to be done."""
    return content_hash(
        [
            hashlib.sha256(given.data).hexdigest(),
            PurePosixPath(given.name).suffix,
            given.title,
            given.uri,
            sorted(origin.groups),
            origin.trusted,
            READER,
            recipe.name,
            WORDING,
        ]
    )


def prepare(
    reader: DocumentReader, given: Given, origin: Origin, recipe: Recipe, *, tenant: str, doc_id: str, path: str
) -> Prepared:
    """Read a document and cut it. Blocks.

    Raises:
        InvalidInput: It cannot be read, says of itself what it may not, or there is no text in it.
    """
    parsed = reader.read(given.name, given.data)
    front = parsed.front
    _check_front(frozenset(front))
    title, uri = (front.get(key, "") for key in ("title", "uri"))
    if not isinstance(title, str) or not isinstance(uri, str):
        raise InvalidInput("title and uri in the front matter must be one value, not a list")
    if (scheme := _SCHEME.match(uri)) and scheme[1].lower() not in ("http", "https"):
        raise InvalidInput(f"the uri {uri[:60]!r} is no http(s) address: people are to open it with a click")
    meta = {
        key: value if isinstance(value, str) else ", ".join(value) for key, value in front.items() if key not in _OWN_KEYS
    }
    document = Document(
        id=doc_id,
        tenant=tenant,
        title=title or given.title or parsed.title or PurePosixPath(given.name).stem or path,
        text=parsed.text,
        groups=_groups(front.get("groups"), origin),
        trusted=origin.trusted,
        uri=uri or given.uri,
        meta={**meta, "collection": origin.collection, "path": path, "hash": made_from(given, origin, recipe)},
    )
    chunks = cut(document, parsed.blocks, recipe)
    if not chunks:
        raise InvalidInput("there is no text in it")
    warnings = list(parsed.warnings)
    if not document.groups:
        warnings.append("nobody may read it: name groups in its front matter or for the folder")
    return Prepared(document=document, chunks=chunks, warnings=warnings)


def cut(document: Document, blocks: Sequence[Block], recipe: Recipe) -> list[Chunk]:
    """The chunks of a document with this structure."""
    measure = _MEASURES[recipe.unit]
    return split(document.text, blocks, size=recipe.size, overlap=recipe.overlap, measure=measure)


async def vectors_of(embedder: Embedder, prepared: Sequence[Prepared], context: Context) -> list[Sequence[Vector | None]]:
    """The vectors of each document's chunks, all asked for at once; None for a chunk the embedder knows no meaning of.

    Raises as `Embedder.embed` does.
    """
    pieces = [(one.document.title, chunk) for one in prepared for chunk in one.chunks]
    wanted = [place for place, (_, chunk) in enumerate(pieces) if embeddable(chunk.text, embedder)]
    vectors: list[Vector | None] = [None] * len(pieces)
    if wanted:
        embedded = await embedder.embed([worded(*pieces[place]) for place in wanted], context)
        for place, vector in zip(wanted, embedded.vectors, strict=True):
            vectors[place] = vector
    following = iter(vectors)
    return [[next(following) for _ in one.chunks] for one in prepared]


def _check_front(keys: frozenset[str]) -> None:
    if reserved := sorted(keys & _RESERVED):
        raise InvalidInput(f"the front matter may not set {', '.join(reserved)}")
    for key in keys:
        if key not in _OWN_KEYS and difflib.get_close_matches(key.lower(), ("groups",), cutoff=0.8):
            raise InvalidInput(f"the front matter has {key!r}: write 'groups' to say who may read it")


def _groups(own: str | tuple[str, ...] | None, origin: Origin) -> frozenset[str]:
    """Who may read a document: whom it names itself, as far as it may."""
    if own is None:
        return origin.groups
    named = check_groups((own,) if isinstance(own, str) else own)
    if origin.may_name is not None and (others := sorted(named - origin.may_name)):
        raise InvalidInput(f"its front matter names {', '.join(others)}, for whom whoever brings it in may not speak")
    return named
