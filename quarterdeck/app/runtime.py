"""A configured folder as running objects: opened in order, closed in reverse.

First what runs stand on (`app.ground`), then what advances them (`app.running`); of both, here, what transports need.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from quarterdeck.app.agents import Agents
from quarterdeck.app.approvals import unheld
from quarterdeck.app.governance import Governance
from quarterdeck.app.ground import Ground, opened_ground
from quarterdeck.app.metering import standing_of
from quarterdeck.app.notices import Notices
from quarterdeck.app.running import Running, opened_running
from quarterdeck.app.stores import Store
from quarterdeck.app.workers import Task
from quarterdeck.core.errors import Unavailable
from quarterdeck.knowledge.base import KnowledgeIndex
from quarterdeck.knowledge.ingest import IngestReport, Progress
from quarterdeck.knowledge.tool import SEARCH_TOOL
from quarterdeck.service.access import Access, Keys
from quarterdeck.service.api_keys import ApiKeys
from quarterdeck.service.budgets import Budgets
from quarterdeck.service.catalogue import Catalogue
from quarterdeck.service.controls import Controls
from quarterdeck.service.desk import Desk
from quarterdeck.service.documents import Documents
from quarterdeck.service.embeddings import Embeddings
from quarterdeck.service.export import Exports
from quarterdeck.service.limits import RateLimits
from quarterdeck.service.privacy import Privacy
from quarterdeck.service.repeats import Repeats
from quarterdeck.service.search import Search
from quarterdeck.service.sessions import Sessions
from quarterdeck.service.spending import Spending
from quarterdeck.service.standing import Standing
from quarterdeck.service.stays import Stays
from quarterdeck.service.stream_tokens import StreamTokens
from quarterdeck.service.streams import Hub
from quarterdeck.service.withdrawn import Withdrawals
from quarterdeck.settings import Configuration
from quarterdeck.store.snapshots import Snapshots
from quarterdeck.workflow.approvals import Approvals
from quarterdeck.workflow.delegations import Delegations
from quarterdeck.workflow.effects import Effects
from quarterdeck.workflow.undoing import Undoing

__all__ = ["Runtime", "opened"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """The objects a transport needs.

    Attributes:
        standing: Counts what happens, and knows how things stand.
        checks: For readiness: each raises what is wrong with its part.
        models: Name of the model that really answers, by the name agents give.
        new_keys: API keys made just now, by user; nobody will be shown them again.
        ingested: What became of each folder of documents.
        warnings: What a person should know.
    """

    configuration: Configuration
    desk: Desk
    documents: Documents
    governance: Governance
    privacy: Privacy
    search: Search
    approvals: Approvals
    effects: Effects
    undoing: Undoing
    access: Access
    api_keys: ApiKeys
    stays: Stays
    rates: RateLimits
    stream_tokens: StreamTokens
    catalogue: Catalogue
    spending: Spending
    embeddings: Embeddings | None
    notices: Notices
    repeats: Repeats
    hub: Hub
    budgets: Budgets
    standing: Standing
    checks: Mapping[str, Callable[[], Awaitable[None]]]
    models: Mapping[str, str]
    keys: Keys
    new_keys: Mapping[str, str]
    ingested: Mapping[Path, IngestReport]
    warnings: tuple[str, ...]
    _stopping: anyio.Event = field(default_factory=anyio.Event)

    def drain(self) -> None:
        """Be ready no more, and end event streams: their readers come back to another replica, or later."""
        self._stopping.set()
        self.hub.cut_streams()


@contextlib.asynccontextmanager
async def opened(
    configuration: Configuration, *, keyless: bool = False, serving: bool = True, progress: Progress | None = None
) -> AsyncIterator[Runtime]:
    """Open everything, advance runs while the block lasts unless others do, close everything.

    Args:
        keyless: True if callers without a key may be let in at all; see `service.access.Access`.
        serving: False in a process that only advances runs.
        progress: Told while documents are brought in.

    Raises:
        Misconfigured: Something in the folder is wrong, or another server holds its data.
    """
    async with (
        opened_ground(configuration, keyless=keyless, serving=serving) as ground,
        opened_running(configuration, ground, serving=serving, progress=progress) as running,
    ):
        yield _runtime(configuration, ground, running)


def _runtime(configuration: Configuration, ground: Ground, running: Running) -> Runtime:
    """The doors to what is open. Nothing is opened here."""
    store, agents, identity = ground.store, running.agents, ground.identity
    dispatcher, stopping = running.queue.dispatcher, anyio.Event()
    approvals = Approvals(
        journal=store.journal,
        records=store.records,
        dispatcher=dispatcher,
        toolbox=agents.tools,
        delegations=Delegations(store.records, identity.access),
    )
    return Runtime(
        configuration=configuration,
        desk=_desk(configuration, ground, running),
        documents=running.intake.documents,
        governance=ground.governance,
        privacy=running.privacy,
        search=Search(ground.knowledge.searcher, timeout_s=configuration.settings.knowledge.search_timeout_s),
        approvals=approvals,
        effects=Effects(journal=store.journal, records=store.records, dispatcher=dispatcher),
        undoing=Undoing(
            journal=store.journal,
            records=store.records,
            dispatcher=dispatcher,
            toolbox=agents.tools,
            approvals=approvals,
            keep=agents.specs.keep,
        ),
        access=identity.access,
        api_keys=identity.keys,
        stays=identity.stays,
        rates=ground.rates,
        stream_tokens=StreamTokens(store.records, identity.access),
        catalogue=_catalogue(configuration, ground, agents),
        embeddings=_embeddings(configuration, ground),
        spending=Spending(ground.budgets),
        notices=ground.notices,
        repeats=running.repeats,
        hub=running.hub,
        budgets=ground.budgets,
        standing=standing_of(configuration, store, ground.metrics),
        checks=_checks(store, ground.knowledge.index, stopping, running.queue.alive),
        models=agents.models,
        keys=ground.keys,
        new_keys=ground.new_keys,
        ingested=running.ingested,
        warnings=(
            *ground.models.warnings,
            *_warnings(running.ingested),
            *unheld(agents.loop.policy, configuration.users),
        ),
        _stopping=stopping,
    )


def _desk(configuration: Configuration, ground: Ground, running: Running) -> Desk:
    store, agents, dispatcher = ground.store, running.agents, running.queue.dispatcher
    withdrawals = Withdrawals(ground.knowledge.index)
    return Desk(
        journal=store.journal,
        sessions=Sessions(store.journal, store.records, withdrawals=withdrawals),
        specs=agents.specs,
        hub=running.hub,
        dispatcher=dispatcher,
        agents=configuration.agents,
        default_agent=configuration.default_agent,
        exports=Exports(journal=store.journal, records=store.records, snapshots=Snapshots(ground.states)),
        admission=running.places,
        guards=agents.loop.guards,
        records=store.records,
        withdrawals=withdrawals,
        controls=Controls(
            journal=store.journal,
            records=store.records,
            specs=agents.specs,
            dispatcher=dispatcher,
            directory=ground.identity.access,
            guards=agents.loop.guards,
            interrupt=running.watch.interrupt,
            withdrawals=withdrawals,
        ),
    )


def _catalogue(configuration: Configuration, ground: Ground, agents: Agents) -> Catalogue:
    return Catalogue(
        ground.store.records,
        configuration.agents,
        configuration.default_agent,
        agents.tools.catalogue(),
        reading=(SEARCH_TOOL,),
    )


def _embeddings(configuration: Configuration, ground: Ground) -> Embeddings | None:
    settings, embedder = configuration.settings, ground.knowledge.embedder
    if embedder is None:
        return None
    return Embeddings(embedder, settings.knowledge.embedder.model, timeout_s=settings.server.answer_timeout_s)


def _checks(
    store: Store, index: KnowledgeIndex, stopping: anyio.Event, alive: Task | None
) -> Mapping[str, Callable[[], Awaitable[None]]]:
    async def journal() -> None:
        await store.journal.find("health", "health")
        await store.journal.probe()

    async def knowledge() -> None:
        await index.stats("health")

    async def worker() -> None:
        if stopping.is_set():
            raise Unavailable("stopping")
        if alive is not None:
            await alive()

    return {"journal": journal, "knowledge": knowledge, "worker": worker}


def _warnings(reports: Mapping[Path, IngestReport]) -> list[str]:
    return [
        f"{path}: {name}: {text}" for path, report in reports.items() for name, text in (*report.refused, *report.warnings)
    ]
