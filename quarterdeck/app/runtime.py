"""A configured folder as running objects: opened in order, closed in reverse."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio

from quarterdeck.agent.answer import unfenced
from quarterdeck.agent.loop import Loop
from quarterdeck.app.chains import by_role, circuits, prices
from quarterdeck.app.folder import build_tools, ingest
from quarterdeck.app.implementations import INDEXES, STORES, resolve
from quarterdeck.app.models import ModelShelf
from quarterdeck.core.errors import Misconfigured, Unavailable
from quarterdeck.core.runs import AgentSpec
from quarterdeck.knowledge.base import KnowledgeIndex
from quarterdeck.knowledge.ingest import IngestReport, Progress
from quarterdeck.knowledge.search import Searcher
from quarterdeck.knowledge.tool import search_tool
from quarterdeck.policy.load import load_policy
from quarterdeck.service.access import Access, Keys
from quarterdeck.service.advance import Announced
from quarterdeck.service.budgets import BudgetLimit, Budgets
from quarterdeck.service.desk import Desk
from quarterdeck.service.sessions import Sessions
from quarterdeck.service.specs import BlobSpecs
from quarterdeck.service.streams import Hub
from quarterdeck.settings import Configuration, Settings
from quarterdeck.store.base import Records
from quarterdeck.store.lock import FolderLock
from quarterdeck.tools.registry import Registry
from quarterdeck.workflow.approvals import Approvals
from quarterdeck.workflow.dispatch import LocalDispatcher
from quarterdeck.workflow.effects import Effects

__all__ = ["Runtime", "open_budgets", "open_index", "open_store", "opened"]

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_LAST_TURNS_S = 3.0  # what running turns get once no request waits for them; then they stay checkpointed


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """The objects a transport needs.

    Attributes:
        checks: For readiness: each raises what is wrong with its part.
        models: Name of the model that really answers, by the name agents give.
        new_keys: API keys made just now, by user; nobody will be shown them again.
        ingested: What became of each folder of documents.
        warnings: What a person should know.
    """

    configuration: Configuration
    desk: Desk
    approvals: Approvals
    effects: Effects
    access: Access
    hub: Hub
    budgets: Budgets
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
    configuration: Configuration, *, keyless: bool = False, progress: Progress | None = None
) -> AsyncIterator[Runtime]:
    """Open everything, advance runs while the block lasts, close everything.

    Args:
        keyless: True if callers without a key may be let in at all; see `service.access.Access`.
        progress: Told while documents are brought in.

    Raises:
        Misconfigured: Something in the folder is wrong, or another server holds its data.
    """
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(FolderLock(configuration.data))
        store = open_store(configuration)
        stack.push_async_callback(store.close)
        budgets = open_budgets(configuration.settings, store.records)
        breakers = await stack.enter_async_context(circuits(configuration.settings))
        models = ModelShelf(configuration.settings, folder=configuration.folder, budget=budgets, breakers=breakers)
        stack.push_async_callback(models.close)
        # A missing key is a mistake now, not at the first question.
        named = dict(_of_each_agent(configuration, lambda agent: (agent.model, models.get(agent.model).name)))
        index = await open_index(configuration)
        stack.push_async_callback(index.close)
        reports = await ingest(configuration, index, progress)
        searcher = Searcher(index)
        tools = (search_tool(searcher), *build_tools(configuration.folder, configuration.data))
        registry = Registry(tools)
        _of_each_agent(configuration, lambda agent: registry.only(agent.tools))
        keys = Keys(configuration.data)
        new_keys = keys.ensure(user.id for user in configuration.users if user.key == "generated")
        access = Access(configuration.users, keys.hashes(), keyless=keyless)
        hub, specs = Hub(), BlobSpecs(store.journal)
        dispatcher = LocalDispatcher(store.journal, on_error=_log_failure)
        loop = Loop(
            journal=store.journal,
            records=store.records,
            specs=specs,
            models=models,
            toolbox=registry,
            policy=load_policy(configuration.policy or "policy: v1", str(configuration.folder / "policy.yaml"), tools),
            directory=access,
            audience=hub,
            retriever=searcher,
            read_output=_read_json,
        )
        stopping = anyio.Event()
        advance = Announced(loop.advance, store.journal, hub)
        concurrency = configuration.settings.worker.concurrency
        await stack.enter_async_context(_working(loop, dispatcher, advance, concurrency, budgets))
        yield Runtime(
            configuration=configuration,
            desk=Desk(
                journal=store.journal,
                sessions=Sessions(store.journal, store.records),
                specs=specs,
                hub=hub,
                dispatcher=dispatcher,
                agents=configuration.agents,
                default_agent=configuration.default_agent,
                index=index,
                interrupt=loop.interrupt,
            ),
            approvals=Approvals(journal=store.journal, records=store.records, dispatcher=dispatcher, toolbox=registry),
            effects=Effects(journal=store.journal, dispatcher=dispatcher),
            access=access,
            hub=hub,
            budgets=budgets,
            checks=_checks(store, index, stopping),
            models=named,
            keys=keys,
            new_keys=new_keys,
            ingested=reports,
            warnings=(*models.warnings, *_warnings(reports)),
            _stopping=stopping,
        )


@contextlib.asynccontextmanager
async def _working(
    loop: Loop, dispatcher: LocalDispatcher, advance: Announced, concurrency: int, budgets: Budgets
) -> AsyncIterator[None]:
    """Advance runs and write down what they spend while the block lasts. An error comes out as it is, in no group."""
    failure: Exception | None = None
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(budgets.serve)
            tasks.start_soon(partial(dispatcher.serve, advance, concurrency=concurrency))
            try:
                yield
            except Exception as error:  # noqa: BLE001 - raised again below, outside the group
                failure = error
            await dispatcher.stop(_LAST_TURNS_S)
            loop.let_go()
            budgets.stop()
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise
    if failure is not None:
        raise failure


def _of_each_agent(configuration: Configuration, look: Callable[[AgentSpec], _T]) -> list[_T]:
    """What `look` finds for each agent. Raises Misconfigured with a line for each agent of which it did."""
    found: list[_T] = []
    problems: list[str] = []
    for agent in configuration.agents.values():
        try:
            found.append(look(agent))
        except Misconfigured as error:
            problems.append(f"{configuration.folder / 'agents' / agent.name}.yaml: {error}")
    if problems:
        raise Misconfigured("\n".join(problems))
    return found


async def open_index(configuration: Configuration) -> KnowledgeIndex:
    """The knowledge index of a folder; to be closed by the caller."""
    url = configuration.settings.knowledge.index_url
    given = url.get_secret_value() if url else f"sqlite:///{configuration.data / 'knowledge.db'}"
    scheme, path = _url(given, configuration.folder)
    kind = resolve(INDEXES, scheme, "knowledge index")
    configuration.data.mkdir(mode=0o700, parents=True, exist_ok=True)  # documents of every group will lie in it
    index: KnowledgeIndex = await kind.open(path)
    return index


def open_store(configuration: Configuration) -> Any:
    """Journal, records and state of a folder, brought to this version; to be closed by the caller."""
    url = configuration.settings.store.database_url
    scheme, path = _url(url.get_secret_value() if url else f"sqlite:///{configuration.data}", configuration.folder)
    return resolve(STORES, scheme, "store")(path)


def open_budgets(settings: Settings, records: Records) -> Budgets:
    """What may be spent and what was; its `serve` writes it down."""
    limits = [
        BudgetLimit(**{**limit.model_dump(), "downgrade_to": by_role(settings.models, limit.downgrade_to)})
        for limit in settings.budgets
    ]
    return Budgets(records, prices(settings.models), limits)


def _url(url: str, folder: Path) -> tuple[str, Path]:
    """Scheme and path. The rest of the URL may hold a password, so it stays out of messages."""
    scheme, separator, path = url.partition("://")
    if not separator:
        raise Misconfigured("a store is named by a URL such as sqlite:///path")
    return scheme, folder / path.removeprefix("/")  # three slashes: relative to the folder; four: absolute


def _checks(store: Any, index: KnowledgeIndex, stopping: anyio.Event) -> Mapping[str, Callable[[], Awaitable[None]]]:
    async def journal() -> None:
        await store.journal.find("health", "health")
        await store.journal.probe()

    async def knowledge() -> None:
        await index.stats("health")

    async def worker() -> None:
        if stopping.is_set():
            raise Unavailable("stopping")

    return {"journal": journal, "knowledge": knowledge, "worker": worker}


def _warnings(reports: Mapping[Path, IngestReport]) -> list[str]:
    return [
        f"{path}: {name}: {text}" for path, report in reports.items() for name, text in (*report.refused, *report.warnings)
    ]


def _read_json(text: str) -> Any:
    """The value of a typed answer. Raises ValueError if the text is no JSON."""
    return json.loads(unfenced(text))


async def _log_failure(run_id: str, error: Exception) -> None:
    log.error("a run could not be advanced; it stays due", extra={"run_id": run_id}, exc_info=error)
