"""A run in memory, for tests: a scripted model, real tools, real policy, a clock that is told the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from quarterdeck.agent.base import Silence
from quarterdeck.agent.fold import fold
from quarterdeck.agent.loop import Loop
from quarterdeck.agent.state import RunState
from quarterdeck.core.answers import Passage
from quarterdeck.core.context import Context, Principal
from quarterdeck.core.events import Event, RunStarted, ToolReturned
from quarterdeck.core.ids import content_hash, new_id
from quarterdeck.core.labels import Integrity, Label, Readers
from quarterdeck.core.messages import Message, Role, Text, ToolCall
from quarterdeck.core.runs import AgentSpec, Limits
from quarterdeck.core.usage import Usage
from quarterdeck.models.base import Completion, Emit, ModelRequest
from quarterdeck.policy.decide import Policy
from quarterdeck.store.base import Appended, Claim, Entry, Journal
from quarterdeck.store.memory import MemoryStore
from quarterdeck.tools.decorator import as_tool
from quarterdeck.tools.registry import Registry
from quarterdeck.workflow.approvals import Approvals
from quarterdeck.workflow.effects import Effects

ANNA = Principal(user="anna", tenant="acme", roles=("employee",), groups=("staff",))
LEE = Principal(user="lee", tenant="acme", roles=("approver",))
START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Scripted:
    """A model that gives one reply after the other; a reply that is an exception is raised."""

    def __init__(self, *replies: Completion | Exception | Callable[[ModelRequest], Completion]) -> None:
        self.replies = list(replies)
        self.requests: list[ModelRequest] = []

    @property
    def name(self) -> str:
        return "test:scripted"

    def get(self, name: str) -> Scripted:
        return self

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        ctx.remaining_s()
        self.requests.append(request)
        if not self.replies:
            raise AssertionError("the model was asked once more than the script has replies")
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply(request) if callable(reply) else reply


class Wakes:
    """A dispatcher that only remembers whom it was asked to wake."""

    def __init__(self) -> None:
        self.woken: list[str] = []

    async def wake(self, tenant: str, run_id: str, *, priority: int = 0) -> None:
        self.woken.append(run_id)

    async def serve(self, advance: object, *, concurrency: int = 50) -> None: ...

    async def stop(self, grace_s: float) -> None: ...


class Staff:
    """A directory of everybody but those who left, or came with what was taken back."""

    def __init__(self) -> None:
        self.gone: set[str] = set()
        self.revoked: set[str] = set()
        self.present: dict[str, Principal] = {}  # with other rights than when they asked

    async def current(self, principal: Principal) -> Principal | None:
        lost = principal.user in self.gone or principal.credential in self.revoked
        return None if lost else self.present.get(principal.user, principal)


class Scene:
    """One agent, its store and its people."""

    def __init__(
        self,
        *replies: Completion | Exception | Callable[[ModelRequest], Completion],
        tools: Sequence[Any] = (),
        limits: Limits | None = None,
        spec: AgentSpec | None = None,
        read_output: Callable[[str], Any] | None = None,
        retriever: Any = None,
        remembered: Any = None,
        store: Any = None,
        clock: Any = None,
    ) -> None:
        self.clock = clock or Clock()
        self.model = Scripted(*replies)
        self.store = store or MemoryStore(clock=self.clock)
        self.registry = Registry([as_tool(tool) for tool in tools])
        base = spec or AgentSpec(name="helper", model="test:scripted", instructions="Help.")
        self.spec = replace(base, tools=tuple(self.registry.names()), limits=limits or base.limits)
        self.dispatcher = Wakes()
        self.staff = Staff()
        self.run_id = new_id()
        self.policy = Policy.default(self.registry.tools)
        self.read_output = read_output
        self.retriever = retriever
        self.remembered = remembered
        self.loop = self.new_loop()
        self.approvals = Approvals(
            journal=self.store.journal,
            records=self.store.records,
            dispatcher=self.dispatcher,
            toolbox=self.registry,
            now=self.clock,
        )
        self.effects = Effects(
            journal=self.store.journal, records=self.store.records, dispatcher=self.dispatcher, now=self.clock
        )

    def new_loop(self, journal: Journal | None = None) -> Loop:
        """Another worker over the same store."""
        return Loop(
            journal=journal or self.store.journal,
            records=self.store.records,
            specs=self,
            models=self.model,
            toolbox=self.registry,
            policy=self.policy,
            directory=self.staff,
            audience=Silence(),
            retriever=self.retriever,
            remembered=self.remembered,
            read_output=self.read_output,
            now=self.clock,
        )

    async def get(self, tenant: str, config_hash: str) -> AgentSpec:
        return self.spec

    async def ask(self, text: str = "Please help.", **started: Any) -> RunState:
        await self.begin(text, **started)
        return await self.go_on()

    async def begin(self, text: str = "Please help.", principal: Principal = ANNA, **started: Any) -> None:
        label = Label(integrity=Integrity.TRUSTED, readers=Readers.of(f"user:{principal.user}"))
        event = RunStarted(
            input=Message(role=Role.USER, parts=(Text(text=text, label=label),)),
            agent=self.spec.name,
            config_hash=content_hash(asdict(self.spec)),
            tenant=ANNA.tenant,
            principal=principal,
            **started,
        )
        await self.store.journal.create(ANNA.tenant, self.run_id, Entry(event=event))

    async def go_on(self) -> RunState:
        await self.loop.advance(ANNA.tenant, self.run_id)
        return await self.state()

    async def post(self, event: Event) -> bool:
        return await self.store.journal.post(ANNA.tenant, self.run_id, Entry(event=event))

    async def state(self) -> RunState:
        return fold(await self.entries())

    async def entries(self) -> list[Entry]:
        return [entry async for entry in self.store.journal.read(ANNA.tenant, self.run_id)]

    async def kinds(self) -> list[str]:
        return [entry.event.kind for entry in await self.entries()]


class Killed(BaseException):
    """Stands for the death of the process: no handler of the product catches it."""


class _Around:
    """A journal around another."""

    def __init__(self, inner: Journal) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class DiesBeforeResults(_Around):
    """The process dies when a tool's result would become durable: its effect has happened, and nobody knows."""

    async def append(self, claim: Claim, entries: Sequence[Entry], **fields: Any) -> Appended:
        if any(isinstance(entry.event, ToolReturned) for entry in entries):
            raise Killed
        return await self.inner.append(claim, entries, **fields)


class OvertakenBeforeAppending(_Around):
    """Another worker claims the run just before this one appends."""

    async def append(self, claim: Claim, entries: Sequence[Entry], **fields: Any) -> Appended:
        await self.inner.claim(claim.tenant, claim.run_id)
        return await self.inner.append(claim, entries, **fields)


def says(text: str, **fields: Any) -> Completion:
    """A reply in words."""
    return Completion(text=text, model="test:scripted", usage=Usage(prompt_tokens=10, completion_tokens=5), **fields)


def calls(*wanted: tuple[str, dict[str, Any]] | ToolCall, text: str = "") -> Completion:
    """A reply that asks for tools."""
    found = tuple(w if isinstance(w, ToolCall) else ToolCall(id="same", name=w[0], args=w[1]) for w in wanted)
    usage = Usage(prompt_tokens=10, completion_tokens=5)
    return Completion(text=text, tool_calls=found, finish_reason="tool_calls", model="test:scripted", usage=usage)


def passage(passage_id: str, text: str, **fields: Any) -> Passage:
    """A passage everybody in the tenant may read."""
    label = Label(integrity=Integrity.TRUSTED, readers=Readers.of("tenant:acme"), sources=(passage_id,))
    doc_id = passage_id.rsplit("-", 1)[0]
    return Passage(id=passage_id, doc_id=doc_id, title=fields.pop("title", doc_id), text=text, label=label, **fields)
