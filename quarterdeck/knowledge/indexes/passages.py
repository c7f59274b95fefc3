"""What passages and editions are in every engine: names, labels, what may be stored, and what is kept of old ones."""

from __future__ import annotations

import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from quarterdeck.core.errors import Conflict, InvalidInput
from quarterdeck.core.labels import Integrity, Label, Readers
from quarterdeck.knowledge.base import Chunk, Document, Lookup, Space, Vector

__all__ = [
    "Numbers",
    "check_document",
    "check_groups",
    "check_vector",
    "criteria",
    "digest",
    "is_edition",
    "label_of",
    "number_of",
    "overtaken",
    "page",
    "readable",
    "storable",
]

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # what no engine keeps to the letter
_MOST = 2**31 - 1  # what every engine takes as a whole number
_PASSAGE_ID = re.compile(r"(.+)-([1-9][0-9]{0,8})", re.DOTALL)


def storable(*texts: str) -> bool:
    """False if one of the texts holds a NUL or half a character. Nothing of such a name is in any index."""
    return not any(map(_UNSTORABLE.search, texts))


def readable(groups: Iterable[str]) -> list[str]:
    """The groups a search goes by, in order: those a document can have."""
    return sorted(group for group in groups if storable(group))


def criteria(lookup: Lookup) -> dict[str, list[str]]:
    """The values a document may have for each key of ``lookup.where``; none for a key that cannot be met."""
    return {
        key: sorted(filter(storable, [values] if isinstance(values, str) else values)) if storable(key) else []
        for key, values in lookup.where.items()
    }


def is_edition(number: int | None) -> bool:
    """False if no edition can have this number; None is the present one."""
    return number is None or 0 < number < _MOST


def page(limit: int) -> int:
    """How many rows are asked for at a time, as any engine can count them."""
    return min(max(limit, 0), _MOST)


def number_of(passage_id: str) -> tuple[str, int] | None:
    """The document and the number of a passage, if it is a passage's name: ``vpn-01`` is none."""
    match = _PASSAGE_ID.fullmatch(passage_id)
    return (match[1], int(match[2])) if match and storable(passage_id) else None


def label_of(tenant: str, passage_id: str, groups: Iterable[str], trusted: bool) -> Label:
    """The label of a passage: read by those who may read its document."""
    names = (
        f"tenant:{tenant}" if group == "everyone" else group if group.startswith("user:") else f"group:{group}"
        for group in groups
    )
    return Label(
        integrity=Integrity.TRUSTED if trusted else Integrity.UNTRUSTED, readers=Readers.of(*names), sources=(passage_id,)
    )


def digest(text: str) -> str:
    """SHA-256, hexadecimal: texts with the same are the same edition."""
    return hashlib.sha256(text.encode()).hexdigest()


def check_document(document: Document, chunks: Sequence[Chunk], vectors: Sequence[Vector | None], space: Space) -> None:
    """Raises InvalidInput unless an index of this space can hold the document."""
    texts = (document.tenant, document.id, document.title, document.text, document.uri, *document.groups)
    headings = (heading for chunk in chunks for heading in chunk.heading_path)
    if not storable(*texts, *document.meta, *document.meta.values(), *headings):
        raise InvalidInput(f"document {document.id!r} holds a NUL or half a character")
    for chunk in chunks:
        if document.text[chunk.start : chunk.end] != chunk.text:
            raise InvalidInput(f"chunk {chunk.start}:{chunk.end} of document {document.id!r} is not the text of its span")
    if vectors and len(vectors) != len(chunks):
        raise InvalidInput(f"document {document.id!r} has {len(chunks)} chunks and {len(vectors)} vectors")
    for vector in vectors:
        if vector is not None:
            check_vector(vector, space)


def check_vector(vector: Vector, space: Space) -> None:
    """Raises InvalidInput unless the vector has the space's length and a direction."""
    if len(vector) != space.dim:
        raise InvalidInput(f"a vector has {len(vector)} numbers, the index has vectors of {space.dim} ({space.embedder})")
    length = math.sqrt(math.fsum(number * number for number in vector))
    if not (math.isfinite(length) and length):
        raise InvalidInput("a vector of zeros, or with a number that is not finite, is near to nothing")


def check_groups(groups: Collection[str]) -> None:
    """Raises InvalidInput if a document cannot have one of these groups."""
    if not storable(*groups):
        raise InvalidInput("a group holds a NUL or half a character")


@dataclass(slots=True)
class Numbers:
    """Numbers for the passages of a document that is written again.

    A text that stood there before keeps its number; a number once given is never given to other text, so an old citation
    never points at something else.

    Attributes:
        next: The first number that was never given.
    """

    next: int
    _kept: defaultdict[str, list[int]]

    @classmethod
    def after(cls, old: Sequence[tuple[int, str]], following: int) -> Numbers:
        """Continue from the present passages, as (number, text) in the order of the text."""
        kept: defaultdict[str, list[int]] = defaultdict(list)
        for number, text in reversed(old):
            kept[text].append(number)
        return cls(following, kept)

    def give(self, text: str) -> int:
        """The number of the next passage of this text."""
        if self._kept[text]:
            return self._kept[text].pop()
        self.next += 1
        return self.next - 1


def overtaken(generation: int) -> Conflict:
    """Why a change that was meant for one generation was not made."""
    return Conflict(f"the index has changed since generation {generation}: look again at what is to be done")
