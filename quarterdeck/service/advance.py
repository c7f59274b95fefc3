"""Advancing a run with its ids on every log line, and telling those who wait when it is let go of."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from quarterdeck.core.events import RunStarted
from quarterdeck.service.streams import Stage
from quarterdeck.store.base import Journal
from quarterdeck.telemetry import bound
from quarterdeck.workflow.base import Advance

__all__ = ["Announced"]

_REMEMBERED = 10_000

log = logging.getLogger(__name__)


class Announced:
    """`workflow.base.Advance` around another one."""

    def __init__(self, advance: Advance, journal: Journal, stage: Stage) -> None:
        self._advance = advance
        self._journal = journal
        self._stage = stage
        self._ids: dict[tuple[str, str], Mapping[str, str | None]] = {}

    async def __call__(self, tenant: str, run_id: str) -> None:
        with bound(tenant=tenant, run_id=run_id, **await self._ids_of(tenant, run_id)):
            with self._stage.advancing(tenant, run_id):
                await self._advance(tenant, run_id)
            log.debug("run advanced")

    async def _ids_of(self, tenant: str, run_id: str) -> Mapping[str, str | None]:
        """The ids of the request that began the run, as its first event has them."""
        key = tenant, run_id
        if key not in self._ids:
            if len(self._ids) >= _REMEMBERED:
                self._ids.clear()
            async for entry in self._journal.read(tenant, run_id):
                if isinstance(entry.event, RunStarted):
                    self._ids[key] = {
                        "request_id": entry.event.request_id,
                        "trace_id": entry.event.trace_id,
                        "parent_span_id": entry.event.span_id,
                    }
                break
        return self._ids.get(key, {})
