"""An HTTP application over a memory store and a worker that answers at once; no network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from fastapi import FastAPI

from quarterdeck.core.answers import Answer, Citation, Confidence, Passage
from quarterdeck.core.errors import NotFound, Unavailable
from quarterdeck.core.events import Delta, FinalAnswer, ModelReply, Retrieved, RunFailed, RunStarted
from quarterdeck.core.labels import PUBLIC, Integrity, Label
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.core.runs import AgentSpec, Limits, RunStatus, StopReason
from quarterdeck.core.usage import Usage
from quarterdeck.knowledge.base import Document, Lookup
from quarterdeck.knowledge.search import Searcher
from quarterdeck.models.prices import Prices
from quarterdeck.net import GuardedClient
from quarterdeck.service.access import Access, User
from quarterdeck.service.api_keys import ApiKeys
from quarterdeck.service.auditing import AuditLog
from quarterdeck.service.budgets import Budgets
from quarterdeck.service.catalogue import Catalogue
from quarterdeck.service.controls import Controls
from quarterdeck.service.desk import Desk
from quarterdeck.service.documents import Documents
from quarterdeck.service.export import Exports
from quarterdeck.service.ingestion_sources import OrderSources
from quarterdeck.service.outbox import Outbox
from quarterdeck.service.privacy import Privacy
from quarterdeck.service.repeats import Repeats
from quarterdeck.service.search import Search
from quarterdeck.service.sessions import Sessions
from quarterdeck.service.specs import BlobSpecs
from quarterdeck.service.spending import Spending
from quarterdeck.service.standing import Standing
from quarterdeck.service.stream_tokens import StreamTokens
from quarterdeck.service.streams import Hub
from quarterdeck.service.webhook_sink import WebhookSink
from quarterdeck.service.webhooks import Webhooks
from quarterdeck.store.base import Entry, Record
from quarterdeck.store.memory import MemoryStore
from quarterdeck.store.snapshots import Snapshots
from quarterdeck.store.sqlite_store import SqliteStore, open_sqlite
from quarterdeck.telemetry.metrics import Metrics
from quarterdeck.telemetry.tags import TagRule, TagRules
from quarterdeck.tools.decorator import tool
from quarterdeck.tools.registry import Registry
from quarterdeck.transports.http.app import Backing, HttpLimits, http_app
from quarterdeck.transports.http.routes import keys, webhooks
from quarterdeck.transports.http.routes.audit import router as audit_router
from quarterdeck.transports.http.routes.privacy import router as privacy_router
from quarterdeck.transports.http.routes.undoing import router as undoing_router
from quarterdeck.transports.websocket import tokens as stream_tokens
from quarterdeck.workflow.approvals import Approvals
from quarterdeck.workflow.effects import Effects
from quarterdeck.workflow.undoing import Undoing


@tool(effect="write", risk=2)
def ticket(title: str) -> str:
    """Open a ticket."""
    return title


OPEN = Label(integrity=Integrity.TRUSTED, readers=PUBLIC)
PASSAGE = Passage(id="vpn-1", doc_id="vpn", title="VPN", text="A session lasts 12 hours.", label=OPEN, end=25, score=0.9)
KEYS = {"emma": "qd_" + "a" * 64, "omar": "qd_" + "b" * 64, "gil": "qd_" + "c" * 64, "kim": "qd_" + "8" * 64}
BOOTS = "qd_" + "d" * 64


def _user(name: str, tenant: str, *scopes: str, roles: tuple[str, ...] = (), default: bool = False) -> User:
    digest = hashlib.sha256(KEYS[name].encode()).hexdigest()
    return User(id=name, tenant=tenant, scopes=scopes, roles=roles, key=f"sha256:{digest}", default=default)


USERS = (
    _user("emma", "acme", "chat", default=True),
    _user("omar", "acme", "approvals", "operate", "webhooks", roles=("approver",)),
    _user("kim", "acme", "chat", "keys.write"),
    _user("gil", "globex", "chat", "approvals", "operate", "webhooks", roles=("approver",)),
)


class NothingKept:
    """Databases and belongings of people who left nothing behind."""

    async def records_of(self, tenant: str, owner: str | None, kept: Collection[str]) -> list[Record]:
        return []

    async def erase_runs(self, tenant: str, run_ids: Sequence[str], blobs: Sequence[str]) -> int:
        return len(run_ids)

    async def erase_records(self, tenant: str, owner: str | None, kept: Collection[str]) -> int:
        return 0

    async def told(self, tenant: str, user: str | None) -> Sequence[Mapping[str, Any]]:
        return []

    async def erase(self, tenant: str, user: str | None, run_ids: Sequence[str]) -> int:
        return 0

    async def scrub(self) -> None:
        return None


class Echo:
    """A worker: each run is answered with its own question and one source, while `gate` is set.

    Attributes:
        label: Of what it finds and answers.
        priorities: Of the wake-ups, as they came.
        failure: What its runs end with, in place of an answer.
    """

    def __init__(self, store: MemoryStore | SqliteStore, hub: Hub) -> None:
        self.store = store
        self.hub = hub
        self.gate = anyio.Event()
        self.gate.set()
        self.label = OPEN
        self.priorities: list[int] = []
        self.failure: RunFailed | None = None

    async def wake(self, tenant: str, run_id: str, *, priority: int = 0) -> None:
        self.priorities.append(priority)
        self.tasks.start_soon(self.advance, tenant, run_id)

    async def advance(self, tenant: str, run_id: str) -> None:
        await self.gate.wait()
        claim = await self.store.journal.claim(tenant, run_id)
        if claim is None:
            return
        started = claim.entries[0].event
        assert isinstance(started, RunStarted)
        if self.failure is not None:
            ends = [Entry(event=self.failure)]
            failed = await self.store.journal.append(claim, ends, folded=claim.head, status=RunStatus.FAILED)
            await self.hub.stored(tenant, run_id, failed.entries)
            self.hub.rested(tenant, run_id)
            return
        text = f"You asked: {started.input.text}"
        await self.hub.delta(tenant, run_id, Delta(kind="text", text=text))
        found = Retrieved(turn=0, query=started.input.text, passages=(PASSAGE,), mode="keyword", label=self.label)
        message = Message(role=Role.ASSISTANT, parts=(Text(text=text, label=self.label),))
        usage = Usage(prompt_tokens=7, completion_tokens=3, cost_usd=0.0)
        reply = ModelReply(turn=1, message=message, model="simulated", usage=usage)
        citation = Citation(passage=PASSAGE, sentence="A session lasts 12 hours.", support=1.0)
        answer = Answer(text=text, confidence=Confidence.HIGH, sources=(PASSAGE.id,), citations=(citation,))
        final = FinalAnswer(answer=answer, stop_reason=StopReason.COMPLETED, label=self.label)
        appended = await self.store.journal.append(
            claim, [Entry(event=found), Entry(event=reply), Entry(event=final)], folded=claim.head, status=RunStatus.DONE
        )
        await self.hub.stored(tenant, run_id, appended.entries)
        self.hub.rested(tenant, run_id)

    tasks: Any = None


class OneDocument:
    """An index with one document, which only acme's readers see."""

    async def document(self, tenant: str, doc_id: str, groups: frozenset[str]) -> Document | None:
        if (tenant, doc_id) != ("acme", "vpn"):
            return None
        return Document(id="vpn", tenant="acme", title="VPN", text=PASSAGE.text, groups=frozenset({"everyone"}))

    async def keyword(self, lookup: Lookup, k: int) -> list[Passage]:
        return [PASSAGE] if lookup.tenant == "acme" else []


@dataclass(slots=True)
class Served:
    """The application and the parts a test looks at."""

    app: FastAPI
    store: MemoryStore | SqliteStore
    worker: Echo
    broken: list[str] = field(default_factory=list)

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        client: str = "127.0.0.1",
        also: Sequence[tuple[str, str]] = (),
    ) -> Reply:
        """One request through the ASGI application; `also` are headers that may be repeated or empty."""
        content = raw if raw is not None else (json.dumps(body).encode() if body is not None else b"")
        sent = {"host": "127.0.0.1:8080", **({"content-type": "application/json"} if content else {})}
        sent |= {"authorization": f"Bearer {key}"} if key else {}
        sent |= dict(headers or {})
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [
                *((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in sent.items() if value),
                *((name.encode(), value.encode()) for name, value in also),
            ],
            "client": (client, 50_000),
            "server": ("127.0.0.1", 8080),
            "state": {},
        }
        return await exchange(self.app, scope, content)


@dataclass(slots=True)
class Reply:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])


async def exchange(app: Any, scope: dict[str, Any], content: bytes) -> Reply:
    """Run one ASGI exchange to its end."""
    reply = Reply()
    given = False

    async def receive() -> dict[str, Any]:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": content, "more_body": False}
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            reply.status = message["status"]
            reply.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        else:
            reply.body += message.get("body", b"")

    with anyio.fail_after(10):
        await app(scope, receive, send)
    return reply


@pytest.fixture
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MemoryStore | SqliteStore]:
    """In memory, which never makes anybody wait, unless a test asks for one on disk."""
    store = open_sqlite(tmp_path) if getattr(request, "param", "memory") == "sqlite" else MemoryStore()
    yield store
    await store.journal.close()


async def _nobody() -> GuardedClient:
    raise Unavailable("there is no network here")


@pytest.fixture
async def served(store: MemoryStore | SqliteStore) -> AsyncIterator[Served]:
    hub = Hub()
    worker = Echo(store, hub)
    specs = BlobSpecs(store.journal)
    broken: list[str] = []

    async def check() -> None:
        if broken:
            raise NotFound(broken[0])

    desk = Desk(
        journal=store.journal,
        sessions=Sessions(store.journal, store.records),
        specs=specs,
        hub=hub,
        dispatcher=worker,  # type: ignore[arg-type]  # wakes are all a desk needs of it
        agents={"support": AgentSpec(name="support", model="simulated", limits=Limits(context_window=20_000))},
        controls=Controls(
            journal=store.journal,
            records=store.records,
            specs=specs,
            dispatcher=worker,  # type: ignore[arg-type]
            directory=Access(USERS, {}, keyless=True),
            interrupt=lambda tenant, run_id: None,
        ),
        default_agent="support",
        exports=Exports(journal=store.journal, records=store.records, snapshots=Snapshots(store.keyvalue)),
    )
    access = Access(USERS, {}, keyless=True)
    app = http_app(
        Backing(
            desk=desk,
            approvals=Approvals(
                journal=store.journal,
                records=store.records,
                dispatcher=worker,  # type: ignore[arg-type]
                toolbox=Registry(),
            ),
            effects=Effects(journal=store.journal, records=store.records, dispatcher=worker),  # type: ignore[arg-type]
            access=access,
            documents=Documents(
                index=OneDocument(),  # type: ignore[arg-type]
                journal=store.journal,
                records=store.records,
                dispatcher=worker,  # type: ignore[arg-type]
                sources=OrderSources(),
            ),
            search=Search(Searcher(OneDocument())),  # type: ignore[arg-type]
            catalogue=Catalogue(store.records, desk.agents, desk.default_agent, Registry([ticket]).catalogue()),
            spending=Spending(Budgets(store.records, Prices({}))),
            checks={"journal": check},
            repeats=Repeats(store.records),
            standing=Standing(Metrics(), store.journal, store.records, ("acme", "globex")),
        ),
        version="0",
        tags=TagRules([TagRule(name="experiment", header="x-tag-experiment")]),
        limits=HttpLimits(hosts=("127.0.0.1", "localhost"), answer_timeout_s=5.0),
    )
    hooks = Webhooks(store.records, access, secret=b"own", check_url=lambda url: None)
    app.state.webhooks, app.state.outbox = hooks, Outbox(store.records, {})
    app.state.webhook_sink = WebhookSink(hooks, trusted=_nobody, public=_nobody)
    app.include_router(webhooks.router)
    app.include_router(stream_tokens.router)
    app.state.audit = AuditLog(store.records)
    app.include_router(audit_router)
    app.state.api_keys = ApiKeys(store.records, access)
    app.include_router(keys.router)
    app.state.privacy = Privacy(store.journal, store.records, NothingKept(), NothingKept(), worker.wake)
    app.include_router(privacy_router)
    app.state.undoing = Undoing(
        journal=store.journal,
        records=store.records,
        dispatcher=worker,  # type: ignore[arg-type]
        toolbox=Registry(),
        approvals=app.state.approvals,
        keep=specs.keep,
    )
    app.include_router(undoing_router)
    app.state.stream_tokens = StreamTokens(store.records, access)
    async with anyio.create_task_group() as tasks:
        worker.tasks = tasks
        yield Served(app=app, store=store, worker=worker, broken=broken)
        tasks.cancel_scope.cancel()
