"""What a process counts of itself, put together."""

from __future__ import annotations

from dataclasses import dataclass

from quarterdeck.app.stores import Store
from quarterdeck.service.measured import MeasuredJournal
from quarterdeck.service.standing import Standing
from quarterdeck.settings import Configuration
from quarterdeck.store.base import Journal, KeyValue, Records
from quarterdeck.store.suspects import SuspectsApart
from quarterdeck.telemetry.metrics import Metrics

__all__ = ["MeasuredStore", "standing_of"]


@dataclass(frozen=True, slots=True)
class MeasuredStore:
    """A store whose events are counted once they are stored, and of which this process claims suspects apart."""

    journal: Journal
    records: Records
    keyvalue: KeyValue

    @classmethod
    def of(cls, store: Store, metrics: Metrics) -> MeasuredStore:
        """`store` is closed by whoever opened it."""
        return cls(MeasuredJournal(SuspectsApart(store.journal), metrics), store.records, store.keyvalue)

    async def close(self) -> None:
        """Nothing: the store is another's."""


def standing_of(configuration: Configuration, store: Store, metrics: Metrics) -> Standing:
    """How things stand for all tenants there are."""
    return Standing(metrics, store.journal, store.records, configuration.tenants)
