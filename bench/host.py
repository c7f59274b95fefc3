"""The parts of Quarterdeck that run an agent durably, put together as the server does, without a server around them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from quarterdeck.agent.base import Silence, ToolRates
from quarterdeck.agent.loop import Loop
from quarterdeck.core.context import Principal
from quarterdeck.core.events import RunStarted
from quarterdeck.core.ids import new_id
from quarterdeck.core.labels import Integrity, Label, Readers
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.core.runs import AgentSpec, RunStatus
from quarterdeck.core.tools import Tool
from quarterdeck.models.base import Model
from quarterdeck.models.meter import Metered
from quarterdeck.models.openai import OpenAIModel
from quarterdeck.models.prices import Prices
from quarterdeck.models.retry import Retrying
from quarterdeck.net.client import GuardedClient
from quarterdeck.policy.decide import Policy
from quarterdeck.policy.guards.layers import Guards
from quarterdeck.service.specs import BlobSpecs
from quarterdeck.store.around import JournalAround
from quarterdeck.store.base import Appended, Audit, Beside, Claim, Entry
from quarterdeck.store.sqlite_store import SqliteStore
from quarterdeck.tools.registry import Registry

PERSON = Principal(user="dana", tenant="acme", roles=("employee",), groups=("everyone",), scopes=())


@asynccontextmanager
async def wire_model(url: str) -> AsyncIterator[Model]:
    """A model behind chat completions at `url`, in the wrappers every model has."""
    origin = url.removesuffix("/v1")
    async with GuardedClient(allowed_origins=[origin]) as client:
        yield Metered(Retrying(OpenAIModel("openai:bench", base_url=url, api_key="none", client=client)), Prices.bundled())


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Runs one agent on a SQLite store.

    Attributes:
        tags: Traffic tags of each request.
    """

    store: SqliteStore
    loop: Loop
    spec: AgentSpec
    config_hash: str
    tags: Mapping[str, str] = field(default_factory=dict)

    async def ask(self, question: str, *, deadline: datetime | None = None) -> str:
        """Begin a run and take it as far as it goes; returns its id."""
        run_id = new_id()
        label = Label(integrity=Integrity.TRUSTED, readers=Readers.of(f"user:{PERSON.user}"))
        started = RunStarted(
            input=Message(role=Role.USER, parts=(Text(text=question, label=label),)),
            agent=self.spec.name,
            config_hash=self.config_hash,
            tenant=PERSON.tenant,
            principal=PERSON,
            tags=self.tags,
            deadline=deadline,
        )
        await self.store.journal.create(PERSON.tenant, run_id, Entry(event=started))
        await self.loop.advance(PERSON.tenant, run_id)
        return run_id

    async def status(self, run_id: str) -> RunStatus:
        row = await self.store.journal.find(PERSON.tenant, run_id)
        assert row is not None
        return row.status


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What governs the runs of a host; nothing of it unless somebody says so.

    Attributes:
        policy: None for what the tools declare of themselves.
        guards: None where texts are not looked at.
        rates: How often tools may be called; None for as often as policy allows.
        tags: Traffic tags of each request.
        audited: False where nothing is written into the audit log.
    """

    policy: Policy | None = None
    guards: Guards | None = None
    rates: ToolRates | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    audited: bool = True


async def host(
    store: SqliteStore, model: Model, tools: Iterable[Tool], *, instructions: str, rule: Rule | None = None
) -> Host:
    """An agent with these tools, ready to run on `store`."""
    rule = rule or Rule()
    registry = Registry(tools)
    specs = BlobSpecs(store.journal)
    spec = AgentSpec(
        name="bench", model=model.name, instructions=instructions, tools=tuple(registry.names()), retrieve="never"
    )
    loop = Loop(
        journal=store.journal if rule.audited else _Unaudited(store.journal),
        records=store.records,
        specs=specs,
        models=_One(model),
        toolbox=registry,
        policy=rule.policy or Policy.default(registry.tools),
        directory=_Everybody(),
        audience=Silence(),
        rates=rule.rates,
        guards=lambda agent: rule.guards or Guards(),
    )
    config_hash = await specs.keep(PERSON.tenant, spec)
    return Host(store=store, loop=loop, spec=spec, config_hash=config_hash, tags=rule.tags)


class _Unaudited(JournalAround):
    """A journal that leaves out the rows of the audit log."""

    async def append(
        self,
        claim: Claim,
        entries: Sequence[Entry],
        *,
        folded: int,
        status: RunStatus | None = None,
        wake_at: datetime | None = None,
        beside: Sequence[Beside] = (),
    ) -> Appended:
        kept = [row for row in beside if not isinstance(row, Audit)]
        return await super().append(claim, entries, folded=folded, status=status, wake_at=wake_at, beside=kept)


@dataclass(frozen=True, slots=True)
class _One:
    model: Model

    def get(self, name: str) -> Model:
        return self.model


class _Everybody:
    async def current(self, principal: Principal) -> Principal | None:
        return principal
