"""What one can ask and what those asked may call: the agents and tools there are."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Conflict
from quarterdeck.core.ids import content_hash
from quarterdeck.core.runs import AgentSpec
from quarterdeck.store.base import Put, Record, Records
from quarterdeck.tools.registry import CatalogueEntry

__all__ = ["Catalogue", "ListedAgent"]

KIND = "agent"
_PAGE = 200
_UNTOLD = frozenset({"name", "description", "instructions", "options"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedAgent:
    """An agent as one who may ask it sees it.

    Attributes:
        type: ``rag`` reads documents, ``tool`` calls other tools only, ``chat`` has neither.
        config: How it was declared, without its instructions.
        state: ``inactive`` once it is declared no more; its sessions and runs stay.
        created_at, updated_at: When it was first asked for here, and first asked for as it is now.
    """

    id: str
    type: Literal["rag", "tool", "chat"]
    description: str
    config: Mapping[str, Any]
    state: Literal["active", "inactive"]
    default: bool
    created_at: datetime
    updated_at: datetime


class Catalogue:
    """Agents and tools, for those who may ask.

    That an agent is there, and since when it is as it is, stands in a row of each tenant: it outlives the declaration.

    Args:
        agents: By name.
        default_agent: Whom a question goes to that names nobody.
        tools: All there are.
        reading: Names of those that search documents.
    """

    def __init__(
        self,
        records: Records,
        agents: Mapping[str, AgentSpec],
        default_agent: str,
        tools: Sequence[CatalogueEntry],
        *,
        reading: Collection[str] = (),
    ) -> None:
        self.tools = tuple(tools)
        self._records = records
        self._agents = agents
        self._default = default_agent
        self._reading = frozenset(reading)

    async def agents(self, principal: Principal) -> list[ListedAgent]:
        """Those that can be asked in their declared order, then those that could."""
        tenant = principal.tenant
        rows = await self._rows(tenant)
        if changed := [put for spec in self._agents.values() if (put := self._noted(spec, rows.get(spec.name))) is not None]:
            with contextlib.suppress(Conflict):  # another server noted the same at the same moment
                await self._records.write(tenant, changed)
            rows = await self._rows(tenant)
        gone = sorted(rows.keys() - self._agents.keys())
        return [self._listed(rows[name]) for name in (*self._agents, *gone)]

    async def _rows(self, tenant: str) -> dict[str, Record]:
        found: dict[str, Record] = {}
        before: str | None = None
        while True:
            page = await self._records.find(tenant, KIND, before=before, limit=_PAGE)
            found |= {record.id: record for record in page}
            if len(page) < _PAGE:
                return found
            before = page[-1].id

    def _listed(self, row: Record) -> ListedAgent:
        assert row.created_at is not None
        assert row.updated_at is not None
        return ListedAgent(
            id=row.id,
            type=row.data["type"],
            description=row.data["description"],
            config=row.data["config"],
            state="active" if row.id in self._agents else "inactive",
            default=row.id == self._default,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )

    def _noted(self, spec: AgentSpec, row: Record | None) -> Put | None:
        """The row of an agent as it is declared now, None if that stands there already."""
        declared = asdict(spec)
        version = content_hash(declared)
        if row is not None and row.data["hash"] == version:
            return None
        told = {name: value for name, value in declared.items() if name not in _UNTOLD}
        data = {"hash": version, "type": self._type(spec), "description": spec.description, "config": told}
        return Put(record=Record(kind=KIND, id=spec.name, data=data), expect=row.version if row is not None else 0)

    def _type(self, spec: AgentSpec) -> str:
        if spec.retrieve == "always" or not self._reading.isdisjoint(spec.tools):
            return "rag"
        return "tool" if spec.tools else "chat"
