"""What runs stand on, opened: where bytes rest, which models and knowledge there are, who may ask and who is told.

Nothing in it advances a run. Each part is opened with what was opened before it, and they are closed in reverse.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from quarterdeck.app.budgets import open_budgets
from quarterdeck.app.chains import circuits
from quarterdeck.app.governance import Governance, opened_governance
from quarterdeck.app.identity import Identity, opened_access
from quarterdeck.app.knowledge import Knowledge, opened_knowledge
from quarterdeck.app.limits import opened_limits
from quarterdeck.app.metering import MeasuredStore
from quarterdeck.app.models import ModelShelf
from quarterdeck.app.notices import Notices, opened_notices
from quarterdeck.app.stores import Store, in_turn, opened_states, opened_store
from quarterdeck.service.access import Keys
from quarterdeck.service.budgets import Budgets
from quarterdeck.service.limits import RateLimits
from quarterdeck.settings import Configuration
from quarterdeck.store.base import Erasing, KeyValue
from quarterdeck.telemetry.metrics import Metrics

__all__ = ["Ground", "opened_ground"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The objects everything else is made of.

    Attributes:
        store: Measured, and what is written to it is told to who wants to hear of it.
        erasing: Takes things out of that store.
        states: Where snapshots rest.
        new_keys: API keys made just now, by user; nobody will be shown them again.
    """

    metrics: Metrics
    store: Store
    erasing: Erasing
    states: KeyValue
    governance: Governance
    budgets: Budgets
    rates: RateLimits
    models: ModelShelf
    knowledge: Knowledge
    keys: Keys
    new_keys: Mapping[str, str]
    identity: Identity
    notices: Notices


@contextlib.asynccontextmanager
async def opened_ground(configuration: Configuration, *, keyless: bool, serving: bool) -> AsyncIterator[Ground]:
    """Open it while the block lasts; the arguments are those of `app.runtime.opened`.

    Raises Misconfigured as that does.
    """
    settings = configuration.settings
    metrics = Metrics()
    async with contextlib.AsyncExitStack() as stack:
        whole = await stack.enter_async_context(opened_store(configuration, serving=serving))
        store = MeasuredStore.of(whole, metrics)
        states = await stack.enter_async_context(opened_states(configuration, store))
        governance = await stack.enter_async_context(opened_governance(configuration, store))
        budgets = open_budgets(settings, store.records)
        rates = await stack.enter_async_context(opened_limits(settings, metrics))
        breakers = await stack.enter_async_context(circuits(settings, metrics))
        models = ModelShelf(settings, folder=configuration.folder, budget=budgets, breakers=breakers)
        stack.push_async_callback(models.close)
        knowledge = await stack.enter_async_context(opened_knowledge(configuration, models, metrics))
        keys = Keys(configuration.data)
        async with in_turn(configuration):
            new_keys = keys.ensure(user.id for user in configuration.users if user.key == "generated")
        identity = await stack.enter_async_context(
            opened_access(configuration, store.records, keys.hashes(), keyless=keyless)
        )
        notices = await stack.enter_async_context(opened_notices(configuration, store, identity.access, metrics))
        yield Ground(
            metrics=metrics,
            store=notices.store,
            erasing=whole.erasing,
            states=states,
            governance=governance,
            budgets=budgets,
            rates=rates,
            models=models,
            knowledge=knowledge,
            keys=keys,
            new_keys=new_keys,
            identity=identity,
            notices=notices,
        )
