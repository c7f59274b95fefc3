"""How runs get on: the agents of a folder, who wakes and advances them, who hears of it, and what goes on beside."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from quarterdeck.app.agents import Agents, assembled
from quarterdeck.app.classifiers import opened_classifiers
from quarterdeck.app.documents import Intake, WebClient
from quarterdeck.app.folder import ingest
from quarterdeck.app.ground import Ground
from quarterdeck.app.limits import admission
from quarterdeck.app.people import watched_people
from quarterdeck.app.policy import Watching
from quarterdeck.app.privacy import FolderBelongings
from quarterdeck.app.stores import in_turn, shared
from quarterdeck.app.workers import Dispatching, Task, dispatching, relaying, working
from quarterdeck.knowledge.ingest import IngestReport, Progress
from quarterdeck.policy.guards.base import Guard
from quarterdeck.service.admission import Admission
from quarterdeck.service.advance import Announced
from quarterdeck.service.privacy import Privacy
from quarterdeck.service.relay import Relay
from quarterdeck.service.repeats import Repeats
from quarterdeck.service.retention import Retention
from quarterdeck.service.streams import Hub
from quarterdeck.service.watch import Watch
from quarterdeck.settings import Configuration
from quarterdeck.telemetry.event_loop import LoopLag

__all__ = ["Running", "opened_running"]

_LAST_TURNS_S = 3.0  # what running turns get once no request waits for them; then they stay checkpointed


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The objects by which runs get on.

    Attributes:
        places: Which runs this process accepts.
        ingested: What became of each folder of documents.
    """

    queue: Dispatching
    hub: Hub
    agents: Agents
    intake: Intake
    places: Admission
    watch: Watch
    privacy: Privacy
    repeats: Repeats
    ingested: Mapping[Path, IngestReport]


@contextlib.asynccontextmanager
async def opened_running(
    configuration: Configuration, ground: Ground, *, serving: bool, progress: Progress | None
) -> AsyncIterator[Running]:
    """Advance runs while the block lasts unless others do; the arguments are those of `app.runtime.opened`.

    In the end running turns get a while before what they need is closed.

    Raises Misconfigured as that does.
    """
    async with contextlib.AsyncExitStack() as stack:
        queue = await stack.enter_async_context(dispatching(configuration, ground.store))
        hub = Hub()
        relay = await stack.enter_async_context(relaying(configuration, hub, ground.metrics))
        stage = relay or hub
        classifiers = await stack.enter_async_context(opened_classifiers(configuration.settings.guards, ground.models))
        agents = _agents(configuration, ground, stage, classifiers)
        async with in_turn(configuration):
            ingested = await ingest(configuration, ground.knowledge, progress)
        web = await stack.enter_async_context(WebClient(configuration.settings.knowledge.fetch_origins))
        intake = _intake(configuration, ground, stage, queue, web)
        running = Running(
            queue=queue,
            hub=hub,
            agents=agents,
            intake=intake,
            places=admission(configuration),
            watch=Watch(ground.store.journal, hub, agents.loop.interrupt, relay),
            privacy=_privacy(configuration, ground, queue),
            repeats=Repeats(ground.store.records),
            ingested=ingested,
        )
        await stack.enter_async_context(_advancing(configuration, ground, running, stage, serving=serving))
        stack.callback(intake.ingestion.drain)  # before the workers are told to stop, as the stack is left in reverse
        yield running


def _agents(configuration: Configuration, ground: Ground, stage: Relay | Hub, classifiers: Mapping[str, Guard]) -> Agents:
    return assembled(
        configuration,
        ground.store,
        ground.models,
        ground.knowledge,
        directory=ground.identity.access,
        audience=stage,
        rates=ground.rates,
        classifiers=classifiers,
    )


def _intake(configuration: Configuration, ground: Ground, stage: Relay | Hub, queue: Dispatching, web: WebClient) -> Intake:
    return Intake(
        configuration,
        ground.store,
        ground.knowledge,
        web=web,
        directory=ground.identity.access,
        audience=stage,
        dispatcher=queue.dispatcher,
    )


def _privacy(configuration: Configuration, ground: Ground, queue: Dispatching) -> Privacy:
    belongings = FolderBelongings(ground.knowledge, ground.states, configuration.data)
    return Privacy(ground.store.journal, ground.store.records, ground.erasing, belongings, queue.dispatcher.wake)


def _advancing(
    configuration: Configuration, ground: Ground, running: Running, stage: Relay | Hub, *, serving: bool
) -> contextlib.AbstractAsyncContextManager[None]:
    """The work of this process: runs it advances, unless others do, and what goes on beside."""
    worker = configuration.settings.worker
    advances = not serving or worker.in_server
    loop, others = running.agents.loop, {"ingest": running.intake.ingestion.advance}
    advance = Announced(loop.advance, ground.store.journal, stage, others)
    return working(
        loop,
        running.queue.dispatcher,
        running.places.around(advance) if advances else None,
        concurrency=worker.concurrency,
        grace_s=_LAST_TURNS_S if serving else worker.stop_s,
        budgets=ground.budgets,
        beside=_beside(configuration, ground, running, advances=advances),
    )


def _beside(configuration: Configuration, ground: Ground, running: Running, *, advances: bool) -> list[Task]:
    """What goes on beside the advancing of runs, and some of it only where runs are advanced."""
    tasks: list[Task] = [running.watch.serve] if shared(configuration) else []
    if advances:
        tasks += [ground.notices.outbox.serve, running.repeats.serve, *_retention(configuration, ground)]
    return [
        *tasks,
        *ground.governance.tasks,
        ground.identity.refused.serve,
        running.privacy.serve,
        LoopLag(ground.metrics).serve,
        *_policy_watched(configuration, ground, running.agents),
        *watched_people(configuration, ground),
    ]


def _retention(configuration: Configuration, ground: Ground) -> list[Task]:
    """What forgets old runs, where they are not kept for good."""
    keeping, store = configuration.settings.store, ground.store
    if keeping.keep_days is None:
        return []
    retention = Retention(
        store.journal, store.records, keep_days=keeping.keep_days, operations_days=keeping.keep_operations_days
    )
    return [retention.serve]


def _policy_watched(configuration: Configuration, ground: Ground, agents: Agents) -> list[Task]:
    """What reads a changed policy while runs go on."""
    every_s = configuration.settings.policy.reload_s
    if every_s is None:
        return []
    count = partial(ground.metrics.configuration_changed, "policy")
    return [Watching(agents.policy, agents.loop, every_s=every_s, tell=ground.governance.tell_policy, count=count).serve]
