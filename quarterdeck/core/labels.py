"""Where a piece of text came from, how far it can be trusted, and who may read it.

Labels join: the worst integrity, both demands on readers, all sources. Readers are kept as a conjunction of clauses, so
that "readable by HR" joined with "readable by Anna" means both at once; whether Anna, who is in HR, satisfies it is resolved
from her groups when somebody asks (docs/decisions/0002-readers-are-clauses.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

__all__ = ["MANY", "MAX_SOURCES", "NOBODY", "PUBLIC", "Integrity", "Label", "Readers", "join_all"]

MAX_SOURCES = 64
MANY = ("many",)


class Integrity(IntEnum):
    """How far a text can be trusted; joining takes the largest, which is the worst."""

    TRUSTED = 0
    ENDORSED = 1
    UNTRUSTED = 2


@dataclass(frozen=True, slots=True)
class Readers:
    """Who may read: every clause must be met, and a clause is met by any one of its names.

    No clause at all is public. An empty clause can be met by nobody. Names are ``user:..``, ``group:..``, ``tenant:..``.
    Clauses and names are sorted and clauses implied by others are dropped, so that equal readers have equal bytes.
    """

    clauses: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def of(cls, *names: str) -> Readers:
        """Readable by any one of `names`; by nobody when none is given."""
        return cls((tuple(sorted(set(names))),))

    @property
    def is_public(self) -> bool:
        return not self.clauses

    def meet(self, other: Readers) -> Readers:
        """Those who may read both."""
        if self.clauses == other.clauses or not other.clauses:
            return self
        if not self.clauses:
            return other
        clauses = {frozenset(clause) for clause in self.clauses + other.clauses}
        needed = (clause for clause in clauses if not any(less < clause for less in clauses))
        return Readers(tuple(sorted(tuple(sorted(clause)) for clause in needed)))

    def admits(self, names: Iterable[str]) -> bool:
        """True if somebody who goes by all of `names` (own name, groups, tenant) may read."""
        known = frozenset(names)
        return all(not known.isdisjoint(clause) for clause in self.clauses)


PUBLIC = Readers()
NOBODY = Readers(((),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What is known of a piece of text. A forgotten label must never open anything: readers have no default.

    Attributes:
        integrity: How far it can be trusted.
        readers: Who may see it.
        sources: Sorted ids of the messages, passages and calls it came from; more than 64 become ``("many",)``.
    """

    integrity: Integrity = Integrity.UNTRUSTED
    readers: Readers
    sources: tuple[str, ...] = ()

    def join(self, other: Label) -> Label:
        """The label of a text made from both. Associative, commutative, idempotent."""
        if self is other or self == other:
            return self
        return Label(
            integrity=max(self.integrity, other.integrity),
            readers=self.readers.meet(other.readers),
            sources=_union(self.sources, other.sources),
        )


def _union(left: tuple[str, ...], right: tuple[str, ...]) -> tuple[str, ...]:
    if left == right or not right:
        return left
    if not left:
        return right
    if MANY in (left, right):
        return MANY
    both = tuple(sorted({*left, *right}))
    return both if len(both) <= MAX_SOURCES else MANY


def join_all(labels: Iterable[Label]) -> Label:
    """The join of `labels`; of none it is the join's neutral element: trusted, public, from nowhere."""
    result = Label(integrity=Integrity.TRUSTED, readers=PUBLIC)
    for label in labels:
        result = result.join(label)
    return result
