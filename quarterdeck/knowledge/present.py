"""Whether passages that were kept are still what an index has, for somebody who asks now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from quarterdeck.core.answers import Passage
from quarterdeck.core.context import Principal
from quarterdeck.knowledge.base import KnowledgeIndex
from quarterdeck.knowledge.search import lookup_groups

__all__ = ["still_there"]


async def still_there(index: KnowledgeIndex, principal: Principal, passages: Sequence[Passage]) -> bool:
    """True if the principal may read each of these now, and text, place and label are the same to the letter.

    Raises what the index raises.
    """
    names = principal.names
    if not all(kept.label.readers.admits(names) for kept in passages):
        return False
    present = await index.passages(principal.tenant, [kept.id for kept in passages], lookup_groups(principal))
    return all(kept.id in present and replace(present[kept.id], score=kept.score) == kept for kept in passages)
