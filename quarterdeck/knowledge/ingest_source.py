"""Where documents come from: what a source has, and what is decided about its documents from outside of them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from quarterdeck.core.errors import InvalidInput
from quarterdeck.core.ids import hashed_id

__all__ = ["Given", "Item", "Listing", "Origin", "Source", "check_groups", "new_id", "own_id"]

_ID_LENGTH = 56  # leaves room for the number of a passage within the 64 characters of an id
_NOT_ID = re.compile(r"[^a-z0-9_]+")
_GROUP = re.compile(r"(?:user:)?[\w.@-]{1,128}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What is decided about documents from outside of them.

    Attributes:
        collection: Names the source. With the path within it a document is known again, so that the source may move.
        groups: Who may read a document that names no groups itself.
        may_name: The groups a document may name itself, None for any: what a stranger wrote must not open it to others.
        trusted: True only if no outsider can write into the source.
        complete: It holds every document of the collection: what it has no more, or what is refused now, is forgotten.
        reads: Groups of the one who brings the documents in: of those that are there already, only what one of these may
            read is replaced, and it keeps its groups unless others are given. None for an administrator's own.
        gives: With `reads`: the groups that were given, None if none were.
    """

    collection: str
    groups: frozenset[str]
    may_name: frozenset[str] | None = None
    trusted: bool = False
    complete: bool = False
    reads: frozenset[str] | None = None
    gives: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A document as it came.

    Attributes:
        name: Its suffix tells kinds of plain text apart.
        title: What it is called if it does not say so itself.
        uri: Where a person can open it, if it does not say so itself.
    """

    name: str
    data: bytes
    title: str = ""
    uri: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A document of a source, not yet read.

    Attributes:
        path: Its name within the source, unique there.
        read: Gets it. Raises InvalidInput, Forbidden, Unavailable or OSError: it is refused then, and says why.
        doc_id: The document it replaces; None for the one that came from there, or a new one.
    """

    path: str
    read: Callable[[int], Awaitable[Given]]
    doc_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a source has.

    Attributes:
        refused: (path, reason) of what is there and no document.
    """

    items: Sequence[Item]
    refused: Sequence[tuple[str, str]] = ()


class Source(Protocol):
    """Something that has documents."""

    @property
    def origin(self) -> Origin: ...

    async def listing(self) -> Listing:
        """Everything it has, always in the same order. Raises InvalidInput if it is none."""
        ...


def check_groups(groups: Collection[str]) -> frozenset[str]:
    """`groups`, each well formed. Raises InvalidInput."""
    for group in groups:
        if _GROUP.match(group) is None:
            raise InvalidInput(f"{group[:60]!r} is no group: use a name without spaces, or user:<id>")
    return frozenset(groups)


def new_id(path: str, collection: str, taken: Collection[str]) -> str:
    """An id a person can read, from the path; with a hash where it would be long, not ASCII, or is taken."""
    slug = _slug(path)
    if 0 < len(slug) <= _ID_LENGTH and slug not in taken:
        return slug
    return own_id(path, collection)


def own_id(path: str, collection: str) -> str:
    """The id of a path of a collection, which no other has, and which says nothing of what else there is."""
    noise = hashed_id(collection, path)[:16]
    readable = _slug(path)[: _ID_LENGTH - len(noise) - 1].strip("-")
    return f"{readable or 'doc'}-{noise}"


def _slug(path: str) -> str:
    """Empty for a path that is not ASCII: what is left of it would name something else."""
    stem = PurePosixPath(path).with_suffix("").as_posix() if PurePosixPath(path).name else path
    return _NOT_ID.sub("-", stem.lower()).strip("-") if stem.isascii() else ""
