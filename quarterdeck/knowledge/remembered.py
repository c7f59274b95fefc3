"""Answers that were given before, for whoever may read all they were made from, as long as all of that is the same."""

from __future__ import annotations

import json
import logging
import unicodedata

from quarterdeck.core.answers import Asked, Given
from quarterdeck.core.context import Principal
from quarterdeck.core.errors import SchemaMismatch
from quarterdeck.core.ids import content_hash
from quarterdeck.knowledge.base import KnowledgeIndex
from quarterdeck.knowledge.present import still_there
from quarterdeck.store.cache import Shelf
from quarterdeck.store.codec import from_json, json_text, to_json

__all__ = ["RememberedAnswers", "normalised"]

log = logging.getLogger(__name__)

_FORMAT = 1  # of an entry
_ENDS = " ?!.。？！…"


class RememberedAnswers:
    """Keeps answers by tenant, agent, policy, groups and question; for a day, usually.

    The same groups are not enough to be given one: its label must admit the asker, who must be able to read every passage
    now, as it was then. A changed or closed passage ends the answer for everybody.
    """

    def __init__(self, index: KnowledgeIndex, shelf: Shelf) -> None:
        self._index = index
        self._shelf = shelf

    async def recall(self, asked: Asked) -> Given | None:
        """What was said to the same question, None if nothing was or it is not to be given. Raises what the index raises."""
        tenant, key = asked.principal.tenant, _key(asked)
        data = (await self._shelf.get(tenant, [key])).get(key)
        if data is None:
            return None
        given = _read(data)
        if given is not None and await self._may_be_given(given, asked.principal):
            return given
        await self._shelf.refuse(tenant, key)
        return None

    async def keep(self, asked: Asked, given: Given) -> None:
        """Give this from now on to who asks the same."""
        await self._shelf.put(asked.principal.tenant, {_key(asked): json_text(to_json(given)).encode()})

    async def forget(self, asked: Asked) -> None:
        """Give to nobody any more what stands under this question."""
        await self._shelf.drop(asked.principal.tenant, _key(asked))

    async def _may_be_given(self, given: Given, principal: Principal) -> bool:
        admitted = bool(given.passages) and given.label.readers.admits(principal.names)
        return admitted and await still_there(self._index, principal, given.passages)


def normalised(question: str) -> str:
    """The question without what changes nothing in it: case, white space, width of letters, the marks at its end."""
    return " ".join(unicodedata.normalize("NFKC", question).casefold().split()).rstrip(_ENDS)


def _read(data: bytes) -> Given | None:
    try:
        return from_json(Given, json.loads(data))
    except (ValueError, SchemaMismatch):
        log.warning("what was kept of an answer cannot be read by this version")
        return None


def _key(asked: Asked) -> str:
    groups = sorted(set(asked.principal.groups))
    return content_hash([_FORMAT, asked.agent, asked.policy, groups, normalised(asked.question)])
