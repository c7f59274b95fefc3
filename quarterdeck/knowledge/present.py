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
    groups = lookup_groups(principal)
    for kept in passages:
        if not kept.label.readers.admits(principal.names):
            return False
        present = await index.passage(principal.tenant, kept.id, groups)
        if present is None or replace(present, score=kept.score) != kept:
            return False
    return True
