"""A configured folder as running objects: opened in order, closed in reverse."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import anyio

from quarterdeck.app.agents import Agents, assembled
from quarterdeck.app.approvals import unheld
from quarterdeck.app.chains import by_role, circuits, prices
from quarterdeck.app.classifiers import opened_classifiers
from quarterdeck.app.documents import Intake, WebClient
from quarterdeck.app.folder import ingest
from quarterdeck.app.governance import Governance, opened_governance
from quarterdeck.app.identity import opened_access
from quarterdeck.app.knowledge import opened_knowledge
from quarterdeck.app.limits import admission, opened_limits
from quarterdeck.app.metering import MeasuredStore, standing_of
from quarterdeck.app.models import ModelShelf
from quarterdeck.app.notices import Notices, opened_notices
from quarterdeck.app.policy import Watching
from quarterdeck.app.privacy import FolderBelongings
from quarterdeck.app.stores import Store, in_turn, opened_states, opened_store, shared
from quarterdeck.app.workers import Task, dispatching, relaying, working
from quarterdeck.core.errors import Unavailable
from quarterdeck.knowledge.base import KnowledgeIndex
from quarterdeck.knowledge.ingest import IngestReport, Progress
from quarterdeck.knowledge.tool import SEARCH_TOOL
from quarterdeck.service.access import Access, Keys
from quarterdeck.service.advance import Announced
from quarterdeck.service.api_keys import ApiKeys
from quarterdeck.service.budgets import BudgetLimit, Budgets
from quarterdeck.service.catalogue import Catalogue
from quarterdeck.service.controls import Controls
from quarterdeck.service.desk import Desk
from quarterdeck.service.documents import Documents
from quarterdeck.service.embeddings import Embeddings
from quarterdeck.service.export import Exports
from quarterdeck.service.limits import RateLimits
from quarterdeck.service.privacy import Privacy
from quarterdeck.service.repeats import Repeats
from quarterdeck.service.retention import Retention
from quarterdeck.service.search import Search
from quarterdeck.service.sessions import Sessions
from quarterdeck.service.spending import Spending
from quarterdeck.service.standing import Standing
from quarterdeck.service.stays import Stays
from quarterdeck.service.stream_tokens import StreamTokens
from quarterdeck.service.streams import Hub
from quarterdeck.service.watch import Watch
from quarterdeck.service.withdrawn import Withdrawals
from quarterdeck.settings import Configuration, Settings
from quarterdeck.store.base import Records
from quarterdeck.store.snapshots import Snapshots
from quarterdeck.telemetry.event_loop import LoopLag
from quarterdeck.telemetry.metrics import Metrics
from quarterdeck.workflow.approvals import Approvals
from quarterdeck.workflow.delegations import Delegations
from quarterdeck.workflow.effects import Effects
from quarterdeck.workflow.undoing import Undoing

__all__ = ["Runtime", "open_budgets", "opened"]

_T = TypeVar("_T")

_LAST_TURNS_S = 3.0  # what running turns get once no request waits for them; then they stay checkpointed


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
    settings = configuration.settings
    async with contextlib.AsyncExitStack() as stack:
        metrics = Metrics()
        opened_here = await stack.enter_async_context(opened_store(configuration, serving=serving))
        store: Store = MeasuredStore.of(opened_here, metrics)
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
        access = identity.access
        notices = await stack.enter_async_context(opened_notices(configuration, store, access, metrics))
        store = notices.store  # before anything that writes events
        repeats = Repeats(store.records)
        queue = await stack.enter_async_context(dispatching(configuration, store))
        dispatcher = queue.dispatcher
        belongings = FolderBelongings(knowledge, states, configuration.data)
        privacy = Privacy(store.journal, store.records, opened_here.erasing, belongings, dispatcher.wake)
        hub = Hub()
        relay = await stack.enter_async_context(relaying(configuration, hub, metrics))
        stage = relay or hub
        classifiers = await stack.enter_async_context(opened_classifiers(settings.guards, models))
        agents = assembled(
            configuration,
            store,
            models,
            knowledge,
            directory=access,
            audience=stage,
            rates=rates,
            classifiers=classifiers,
        )
        async with in_turn(configuration):
            reports = await ingest(configuration, knowledge, progress)
        intake = Intake(
            configuration,
            store,
            knowledge,
            web=await stack.enter_async_context(WebClient(settings.knowledge.fetch_origins)),
            directory=access,
            audience=stage,
            dispatcher=dispatcher,
        )
        advances = not serving or settings.worker.in_server
        advance = Announced(agents.loop.advance, store.journal, stage, {"ingest": intake.ingestion.advance})
        places = admission(configuration)
        watch = Watch(store.journal, hub, agents.loop.interrupt, relay)
        stopping = anyio.Event()
        await stack.enter_async_context(
            working(
                agents.loop,
                dispatcher,
                places.around(advance) if advances else None,
                concurrency=settings.worker.concurrency,
                grace_s=_LAST_TURNS_S if serving else settings.worker.stop_s,
                budgets=budgets,
                beside=[
                    *_beside(configuration, store, watch, [notices.outbox.serve, repeats.serve], advances=advances),
                    *governance.tasks,
                    identity.refused.serve,
                    privacy.serve,
                    LoopLag(metrics).serve,
                    *_policy_watched(settings, agents, governance),
                ],
            )
        )
        stack.callback(intake.ingestion.drain)  # before the workers are told to stop, as the stack is left in reverse
        approvals = Approvals(
            journal=store.journal,
            records=store.records,
            dispatcher=dispatcher,
            toolbox=agents.tools,
            delegations=Delegations(store.records, access),
        )
        withdrawals = Withdrawals(knowledge.index)
        yield Runtime(
            configuration=configuration,
            desk=Desk(
                journal=store.journal,
                sessions=Sessions(store.journal, store.records, withdrawals=withdrawals),
                specs=agents.specs,
                hub=hub,
                dispatcher=dispatcher,
                agents=configuration.agents,
                default_agent=configuration.default_agent,
                exports=Exports(journal=store.journal, records=store.records, snapshots=Snapshots(states)),
                admission=places,
                guards=agents.loop.guards,
                records=store.records,
                withdrawals=withdrawals,
                controls=Controls(
                    journal=store.journal,
                    records=store.records,
                    specs=agents.specs,
                    dispatcher=dispatcher,
                    interrupt=watch.interrupt,
                    withdrawals=withdrawals,
                ),
            ),
            documents=intake.documents,
            governance=governance,
            privacy=privacy,
            search=Search(knowledge.searcher, timeout_s=settings.knowledge.search_timeout_s),
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
            access=access,
            api_keys=identity.keys,
            stays=identity.stays,
            rates=rates,
            stream_tokens=StreamTokens(store.records, access),
            catalogue=Catalogue(
                store.records,
                configuration.agents,
                configuration.default_agent,
                agents.tools.catalogue(),
                reading=(SEARCH_TOOL,),
            ),
            embeddings=(
                None
                if knowledge.embedder is None
                else Embeddings(
                    knowledge.embedder, settings.knowledge.embedder.model, timeout_s=settings.server.answer_timeout_s
                )
            ),
            spending=Spending(budgets),
            notices=notices,
            repeats=repeats,
            hub=hub,
            budgets=budgets,
            standing=standing_of(configuration, store, metrics),
            checks=_checks(store, knowledge.index, stopping, queue.alive),
            models=agents.models,
            keys=keys,
            new_keys=new_keys,
            ingested=reports,
            warnings=(*models.warnings, *_warnings(reports), *unheld(agents.loop.policy, configuration.users)),
            _stopping=stopping,
        )


def open_budgets(settings: Settings, records: Records) -> Budgets:
    """What may be spent and what was; its `serve` writes it down."""
    limits = [
        BudgetLimit(**{**limit.model_dump(), "downgrade_to": by_role(settings.models, limit.downgrade_to)})
        for limit in settings.budgets
    ]
    return Budgets(records, prices(settings.models), limits, departments=settings.departments)


def _policy_watched(settings: Settings, agents: Agents, governance: Governance) -> list[Task]:
    """What reads a changed policy while runs go on."""
    every_s = settings.policy.reload_s
    if every_s is None:
        return []
    return [Watching(agents.policy, agents.loop, every_s=every_s, tell=governance.tell_policy).serve]


def _beside(
    configuration: Configuration, store: Store, watch: Watch, services: Sequence[Task], *, advances: bool
) -> list[Task]:
    """What goes on beside the advancing of runs; `services` only where runs are advanced."""
    keeping = configuration.settings.store
    tasks: list[Task] = [watch.serve] if shared(configuration) else []
    if advances:
        tasks += services
    if advances and keeping.keep_days is not None:
        retention = Retention(
            store.journal, store.records, keep_days=keeping.keep_days, operations_days=keeping.keep_operations_days
        )
        tasks.append(retention.serve)
    return tasks


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
