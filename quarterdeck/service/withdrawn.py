"""What somebody was given once and may not read any more, because it was closed to him or deleted since.

Labels say who could read a text when it was given. Groups a person has lost show at once against them; that a document was
closed to a group he still has is known to the index alone. So whoever reads an old run is held to both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from quarterdeck.core.answers import Passage
from quarterdeck.core.context import Principal
from quarterdeck.core.labels import MANY, Label
from quarterdeck.knowledge.indexes.passages import number_of
from quarterdeck.knowledge.search import lookup_groups

__all__ = ["NOTHING", "Withdrawals", "Withdrawn", "one_of_each", "sources_of"]


class _Index(Protocol):
    async def readable(self, tenant: str, doc_ids: Sequence[str], groups: frozenset[str]) -> frozenset[str]: ...


class Withdrawn(frozenset[str]):
    """Ids of passages that are withdrawn from somebody."""

    def touches(self, label: Label) -> bool:
        """True if a text rests on one of them. One of more sources than its label holds is taken to, if there are any."""
        return bool(self) and (label.sources == MANY or not self.isdisjoint(label.sources))


NOTHING = Withdrawn()


class Withdrawals:
    """Tells what is withdrawn from whom.

    Args:
        index: Where the documents are; None where there are none.
    """

    def __init__(self, index: _Index | None = None) -> None:
        self._index = index

    async def of(self, principal: Principal, sources: Iterable[str]) -> Withdrawn:
        """Those of the sources that are passages the principal may not read now. Raises what the index raises."""
        named = dict(_passages(sources))
        if self._index is None or not named:
            return NOTHING
        present = await self._index.readable(principal.tenant, sorted(set(named.values())), lookup_groups(principal))
        return Withdrawn(source for source, doc_id in named.items() if doc_id not in present)


def sources_of(labels: Iterable[Label], passages: Iterable[Passage] = (), rests_on: Iterable[str] = ()) -> frozenset[str]:
    """All that these texts are known to come from.

    Args:
        rests_on: What is known of those whose labels say no more than that it is much.
    """
    of_labels = (source for label in labels if label.sources != MANY for source in label.sources)
    return frozenset((*of_labels, *(passage.id for passage in passages), *rests_on))


def one_of_each(sources: Iterable[str]) -> tuple[str, ...]:
    """A passage of each document among the sources: rights are those of documents, and of these there are fewer."""
    return tuple(sorted({doc_id: passage for passage, doc_id in _passages(sorted(sources))}.values()))


def _passages(sources: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Those of the sources that are passages, each with its document."""
    for source in sources:
        if ":" not in source and (name := number_of(source)) is not None:
            yield source, name[0]
