"""One run of one agent: what the loop needs from the rest of the system."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from quarterdeck.core.answers import Asked, Given, Passage
from quarterdeck.core.context import Context, Principal
from quarterdeck.core.events import Delta
from quarterdeck.core.runs import AgentSpec
from quarterdeck.knowledge.base import Finding
from quarterdeck.models.base import Model
from quarterdeck.store.base import Entry

__all__ = ["Audience", "Directory", "Finder", "Models", "Remembered", "Retriever", "Silence", "Specs", "ToolRates"]


class Models(Protocol):
    """Finds a model by its ``provider:name``."""

    def get(self, name: str) -> Model:
        """Raises Misconfigured for an unknown provider or a missing key."""
        ...


class Specs(Protocol):
    """Finds the declaration a run began with."""

    async def get(self, tenant: str, config_hash: str) -> AgentSpec:
        """Raises NotFound."""
        ...


class Retriever(Protocol):
    """Searches what a principal may read."""

    async def search(self, query: str, ctx: Context, k: int = 6) -> tuple[Sequence[Passage], str]:
        """Passages, best first, and the mode of the search (``keyword``, ``vector``, ``hybrid``)."""
        ...


@runtime_checkable
class Finder(Protocol):
    """A retriever that also says what went wrong on the way and what it took."""

    async def find(self, query: str, ctx: Context, k: int = 6) -> Finding: ...


class Remembered(Protocol):
    """Knows what was answered before."""

    async def recall(self, asked: Asked) -> Given | None:
        """What may be given again to this asker: everything it was made from is the same, and theirs to read."""
        ...

    async def keep(self, asked: Asked, given: Given) -> None:
        """Remember an answer that may be given again."""
        ...

    async def forget(self, asked: Asked) -> None:
        """Give what is remembered of this to nobody any more."""
        ...


class Directory(Protocol):
    """Knows what people may do now. Asked again whenever a run is resumed (security rule 20)."""

    async def current(self, principal: Principal) -> Principal | None:
        """The principal with present roles, groups and scopes; None if the user may not act any more."""
        ...


class ToolRates(Protocol):
    """Knows how often tools may be called."""

    async def tool(self, principal: Principal, name: str) -> float:
        """Count a call of the tool `name`. Returns seconds until it may be made, 0 if it may be now; only then it counts."""
        ...


class Audience(Protocol):
    """Whoever watches runs: told of stored events and of the pieces of a reply while it is made."""

    async def watched(self, tenant: str, run_id: str) -> bool:
        """True if somebody wants the pieces; a model is asked to stream only then."""
        ...

    async def stored(self, tenant: str, run_id: str, entries: Sequence[Entry]) -> None: ...

    async def delta(self, tenant: str, run_id: str, delta: Delta) -> None: ...


class Silence:
    """An audience of nobody."""

    async def watched(self, tenant: str, run_id: str) -> bool:
        return False

    async def stored(self, tenant: str, run_id: str, entries: Sequence[Entry]) -> None: ...

    async def delta(self, tenant: str, run_id: str, delta: Delta) -> None: ...
