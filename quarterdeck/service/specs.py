"""The declaration a run began with: kept as a blob under its hash, so that a run never changes its agent."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable

from pydantic import TypeAdapter

from quarterdeck.core.ids import canonical_json
from quarterdeck.core.runs import AgentSpec
from quarterdeck.store.base import Journal

__all__ = ["BlobSpecs"]

_SPEC: TypeAdapter[AgentSpec] = TypeAdapter(AgentSpec)
_REMEMBERED = 1000
# A retention job may delete a blob that no run refers to any more; a hash remembered for ever could then point at nothing.
_WRITTEN_AGAIN_AFTER_S = 300.0


class BlobSpecs:
    """Implements `agent.base.Specs` over the journal's blobs; reads and writes each declaration once in a while only."""

    def __init__(self, journal: Journal, clock: Callable[[], float] = time.monotonic) -> None:
        self._journal = journal
        self._clock = clock
        self._kept: dict[tuple[str, str], tuple[AgentSpec, str, float]] = {}
        self._read: dict[tuple[str, str], AgentSpec] = {}

    async def keep(self, tenant: str, spec: AgentSpec) -> str:
        """Keep a declaration; returns its hash."""
        known, sha256, written = self._kept.get((tenant, spec.name), (None, "", 0.0))
        if known is spec and self._clock() - written < _WRITTEN_AGAIN_AFTER_S:
            return sha256
        sha256 = await self._journal.put_blob(tenant, canonical_json(dataclasses.asdict(spec)).encode())
        self._kept[tenant, spec.name] = (spec, sha256, self._clock())
        return sha256

    async def get(self, tenant: str, config_hash: str) -> AgentSpec:
        """The declaration under a hash. Raises NotFound."""
        found = self._read.get((tenant, config_hash))
        if found is None:
            found = _SPEC.validate_python(json.loads(await self._journal.get_blob(tenant, config_hash)))
            if len(self._read) >= _REMEMBERED:
                self._read.clear()
            self._read[tenant, config_hash] = found
        return found
