"""Advancing a run by whoever can, with its ids on every log line, and telling those who wait when it is let go of."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from quarterdeck.core.errors import Misconfigured
from quarterdeck.core.events import RunStarted
from quarterdeck.service.streams import Stage
from quarterdeck.store.base import Journal
from quarterdeck.telemetry import bound
from quarterdeck.telemetry.tags import logged
from quarterdeck.workflow.base import Advance

__all__ = ["Announced"]

_REMEMBERED = 1_000  # runs whose beginning is known without reading it again

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Begun:
    """How a run began: its work, and the ids of the request that wanted it."""

    work: str
    ids: Mapping[str, str | None]


_UNKNOWN = _Begun("agent", {})


class Announced:
    """`workflow.base.Advance` around others: each kind of work has its own."""

    def __init__(
        self, advance: Advance, journal: Journal, stage: Stage, others: Mapping[str, Advance] | None = None
    ) -> None:
        """
        Args:
            advance: Takes runs of agents.
            others: By `RunStarted.work`, who takes runs of other work.
        """
        self._advances = {"agent": advance, **(others or {})}
        self._journal = journal
        self._stage = stage
        self._begun: dict[tuple[str, str], _Begun] = {}

    async def __call__(self, tenant: str, run_id: str) -> None:
        begun = await self._beginning(tenant, run_id)
        advance = self._advances.get(begun.work)
        if advance is None:
            raise Misconfigured(f"run {run_id} is work that nothing here does: {begun.work}")
        with bound(tenant=tenant, run_id=run_id, **begun.ids):
            with self._stage.advancing(tenant, run_id):
                await advance(tenant, run_id)
            log.debug("run advanced")

    async def _beginning(self, tenant: str, run_id: str) -> _Begun:
        key = tenant, run_id
        if key not in self._begun:
            if len(self._begun) >= _REMEMBERED:
                self._begun.clear()
            async for entry in self._journal.read(tenant, run_id):
                if isinstance(entry.event, RunStarted):
                    started = entry.event
                    ids = {
                        "request_id": started.request_id,
                        "trace_id": started.trace_id,
                        "parent_span_id": started.span_id,
                        **logged(started.tags, started.trace_id),
                    }
                    self._begun[key] = _Begun(started.work, ids)
                break
        return self._begun.get(key, _UNKNOWN)
