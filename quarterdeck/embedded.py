"""Quarterdeck inside the caller's process: an agent is an object, a run is an awaited call, nothing is stored.

The loop, policy, tools and models are the server's; only the journal is in memory. A run that proposes a write waits in its
`Agent` until somebody decides its draft.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar, cast

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from quarterdeck.agent.answer import ReadOutput, unfenced
from quarterdeck.agent.base import Audience, Models, Retriever, Silence
from quarterdeck.agent.guarding import fired
from quarterdeck.agent.loop import Loop
from quarterdeck.agent.state import MadeCall, RunState
from quarterdeck.core.answers import Answer, Confidence
from quarterdeck.core.context import Context, Principal
from quarterdeck.core.decisions import Draft, DraftStatus
from quarterdeck.core.errors import InvalidInput, Misconfigured, NotFound, error_of
from quarterdeck.core.events import Delta, Event, FinalAnswer, RunFailed, RunStarted
from quarterdeck.core.ids import content_hash, new_id
from quarterdeck.core.labels import Integrity, Label, Readers
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.core.runs import AgentSpec, Limits, StopReason
from quarterdeck.core.tools import Tool
from quarterdeck.core.usage import Usage
from quarterdeck.models.base import Model
from quarterdeck.policy.base import Decider
from quarterdeck.policy.decide import Policy
from quarterdeck.policy.guards import About, Guards, Ruling
from quarterdeck.store.base import Entry
from quarterdeck.store.memory import MemoryStore
from quarterdeck.tools.decorator import as_tool
from quarterdeck.tools.registry import Registry
from quarterdeck.workflow.approvals import Approvals
from quarterdeck.workflow.endorsing import endorse

__all__ = ["Agent", "RunResult"]

T = TypeVar("T")

_NOBODY_IN_PARTICULAR = Principal(user="local", tenant="local", roles=("approver",))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult(Generic[T]):
    """What a run gave.

    Attributes:
        output: A string, or a value of the agent's `output_type`; None while the run waits for a person, and for a typed
            agent whose run stopped early.
        answer: The settled answer, whatever the output type.
        messages: The whole conversation, the earlier one included: hand it to the next `run` as `history`.
        drafts: Writes that wait for a decision; see `Agent.decide`.
    """

    output: T
    answer: Answer
    usage: Usage
    messages: tuple[Message, ...]
    run_id: str
    stop_reason: StopReason
    tool_calls_made: tuple[MadeCall, ...] = ()
    drafts: tuple[Draft, ...] = ()


class Agent(Generic[T]):
    """An agent in this process.

    Args:
        model: ``provider:name``, such as ``openai:gpt-5`` (its key from the environment; in development without a key the
            simulated model answers, with a warning), or a model object.
        tools: Functions, bare or decorated with ``@tool``. A bare function counts as a write of risk 2.
        output_type: What the answer must be: ``str``, or anything pydantic can validate.
        retriever: Searched before the first model call when given.
        policy: Decides over tool calls; by default what the tools declare.
        guards: What looks at prompts, passages, what tools take and return, and answers; nothing unless given.
    """

    def __init__(
        self,
        model: str | Model,
        *,
        tools: Iterable[Callable[..., Any] | Tool] = (),
        instructions: str = "",
        output_type: type[T] | None = None,
        name: str = "agent",
        limits: Limits | None = None,
        retriever: Retriever | None = None,
        policy: Decider | None = None,
        guards: Guards | None = None,
    ) -> None:
        registry = Registry([as_tool(tool) for tool in tools])
        self._registry = registry
        self._policy = policy or Policy.default(registry.tools)
        self._retriever = retriever
        self._guards = guards or Guards()
        self._model = model
        self._schema, self._read, self._make = _typed(output_type)
        self.spec = AgentSpec(
            name=name,
            model=model if isinstance(model, str) else model.name,
            instructions=instructions,
            tools=tuple(registry.names()),
            retrieve="always" if retriever is not None else "never",
            limits=limits or Limits(),
            output_schema=self._schema,
        )
        self._config_hash = content_hash(asdict(self.spec))
        self._models: Models | None = None
        self._waiting: dict[str, _Run] = {}

    async def run(
        self, prompt: str, *, history: Sequence[Message] = (), principal: Principal = _NOBODY_IN_PARTICULAR
    ) -> RunResult[T]:
        """Ask and wait for the answer, or for the drafts that need a decision.

        Raises:
            InvalidInput: A guard refuses the prompt.
            QuarterdeckError: The run failed, with the class of what made it fail (ModelUnavailable, ...).
        """
        run = self._open(Silence())
        await run.start(prompt, tuple(history), principal)
        return await self._settle(run)

    def run_sync(
        self, prompt: str, *, history: Sequence[Message] = (), principal: Principal = _NOBODY_IN_PARTICULAR
    ) -> RunResult[T]:
        """`run` for callers without an event loop; inside one, await `run`."""

        async def once() -> RunResult[T]:
            try:
                return await self.run(prompt, history=history, principal=principal)
            finally:
                await self.close()

        return anyio.run(once)

    @asynccontextmanager
    async def run_stream(
        self, prompt: str, *, history: Sequence[Message] = (), principal: Principal = _NOBODY_IN_PARTICULAR
    ) -> AsyncIterator[AsyncIterator[Event | Delta]]:
        """Ask and watch: an iterator of the run's events and of the pieces of replies, to the end of the run.

        Leaving the block early cancels the run.
        """
        send, receive = anyio.create_memory_object_stream[Event | Delta](256)
        run = self._open(_Watcher(send))

        async def follow() -> None:
            async with send:
                await run.start(prompt, tuple(history), principal)
            if run.state.ended is None:
                self._waiting[run.run_id] = run

        failure: Exception | None = None
        async with anyio.create_task_group() as tasks, receive:
            tasks.start_soon(follow)
            try:
                yield receive
            except Exception as error:  # noqa: BLE001 - raised below, without the group around it
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def decide(
        self,
        draft_id: str,
        *,
        approved: bool,
        reason: str | None = None,
        edited_args: dict[str, Any] | None = None,
        principal: Principal = _NOBODY_IN_PARTICULAR,
    ) -> RunResult[T]:
        """Approve or reject a draft of a waiting run, and take the run on. Raises NotFound, Conflict, InvalidArguments."""
        run = await self._waits_for(draft_id, principal)
        await run.approvals.decide(principal, draft_id, approved=approved, reason=reason, edited_args=edited_args)
        await run.go_on()
        return await self._settle(run)

    async def endorse(
        self,
        draft_id: str,
        *,
        argument: str,
        value: str | float,
        reason: str = "",
        principal: Principal = _NOBODY_IN_PARTICULAR,
    ) -> RunResult[T]:
        """Say of one value in a draft of a waiting run that it is right, and take the run on.

        Raises NotFound, Forbidden, Conflict; InvalidInput if no such value stands in the argument.
        """
        run = await self._waits_for(draft_id, principal)
        await endorse(run.approvals, principal, draft_id, argument=argument, value=value, reason=reason)
        await run.go_on()
        return await self._settle(run)

    async def _waits_for(self, draft_id: str, principal: Principal) -> _Run:
        for run in list(self._waiting.values()):
            if any(draft.id == draft_id for draft in await run.drafts(principal)):
                return run
        raise NotFound(f"no run of this agent waits for draft {draft_id!r}")

    async def close(self) -> None:
        """Let go of the model's connections. The agent can be used again afterwards."""
        models, self._models = self._models, None
        closing = getattr(models, "close", None)
        if closing is not None:
            await closing()

    async def __aenter__(self) -> Agent[T]:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _open(self, audience: Audience) -> _Run:
        if self._models is None:
            self._models = _models_for(self._model)
        return _Run(
            spec=self.spec,
            config_hash=self._config_hash,
            registry=self._registry,
            policy=self._policy,
            models=self._models,
            retriever=self._retriever,
            read_output=self._read,
            audience=audience,
            guards=self._guards,
        )

    async def _settle(self, run: _Run) -> RunResult[T]:
        state = run.state
        started = state.started
        assert started is not None  # a run that was awaited has begun
        drafts: tuple[Draft, ...] = ()
        output: object = None
        match state.ended:
            case RunFailed(code=code, error=error):
                self._waiting.pop(run.run_id, None)
                raise error_of(code, error)
            case FinalAnswer(answer=answer, output=value):
                self._waiting.pop(run.run_id, None)
                settled = state.ended.stop_reason is StopReason.COMPLETED
                output = answer.text if self._schema is None else self._make(value) if settled else None
            case _:
                self._waiting[run.run_id] = run
                drafts = await run.drafts(started.principal)
                answer = _waiting_answer(state, drafts)
        return RunResult(
            output=cast("T", output),
            answer=answer,
            usage=state.usage,
            messages=state.messages[:-1] if state.calls else state.messages,  # an open call would make no history
            run_id=run.run_id,
            stop_reason=state.stop_reason,
            tool_calls_made=state.made,
            drafts=drafts,
        )


class _Run:
    """One run with a store of its own: what ends is forgotten with it."""

    def __init__(
        self,
        *,
        spec: AgentSpec,
        config_hash: str,
        registry: Registry,
        policy: Decider,
        models: Models,
        retriever: Retriever | None,
        read_output: ReadOutput | None,
        audience: Audience,
        guards: Guards,
    ) -> None:
        self.run_id = new_id()
        self._spec = spec
        self._config_hash = config_hash
        self._guards = guards
        self._store = MemoryStore()
        self._audience = audience
        self._tenant = ""
        self.state = RunState()
        self._advancing = anyio.Lock(fast_acquire=True)
        self.approvals = Approvals(
            journal=self._store.journal, records=self._store.records, dispatcher=_Unattended(), toolbox=registry
        )
        self._loop = Loop(
            journal=self._store.journal,
            records=self._store.records,
            specs=_OneSpec(spec),
            models=models,
            toolbox=registry,
            policy=policy,
            directory=_Unchanged(),
            audience=audience,
            retriever=retriever,
            read_output=read_output,
            guards=lambda agent: guards,
        )

    async def start(self, prompt: str, history: tuple[Message, ...], principal: Principal) -> None:
        deadline = time.monotonic() + self._spec.limits.max_total_time
        context = Context(principal=principal, run_id=self.run_id, deadline=deadline, agent=self._spec.name)
        checked = await self._guards.input.check(prompt, About(context=context))
        if checked.ruling is Ruling.BLOCK:
            raise InvalidInput(f"the prompt was refused by a guard: {', '.join(rule for rule, _ in checked.rules)}")
        label = Label(integrity=Integrity.TRUSTED, readers=Readers.of(f"user:{principal.user}"))
        event = RunStarted(
            input=Message(role=Role.USER, parts=(Text(text=checked.text, label=label),)),
            agent=self._spec.name,
            config_hash=self._config_hash,
            tenant=principal.tenant,
            principal=principal,
            history=history,
        )
        self._tenant = principal.tenant
        found = [Entry(event=each) for each in fired("input", checked)]
        await self._store.journal.create(principal.tenant, self.run_id, Entry(event=event), then=found)
        await self.go_on()

    async def go_on(self) -> None:
        async with self._advancing:  # two decisions at once must not overtake each other
            self.state = await self._loop.advance(self._tenant, self.run_id) or self.state

    async def drafts(self, principal: Principal) -> tuple[Draft, ...]:
        return tuple(await self.approvals.list(principal, status=DraftStatus.WAITING))


class _Watcher:
    """An audience of one stream."""

    def __init__(self, send: MemoryObjectSendStream[Event | Delta]) -> None:
        self._send = send

    async def watched(self, tenant: str, run_id: str) -> bool:
        return True

    async def stored(self, tenant: str, run_id: str, entries: Sequence[Entry]) -> None:
        for entry in entries:
            await self._tell(entry.event)

    async def delta(self, tenant: str, run_id: str, delta: Delta) -> None:
        await self._tell(delta)

    async def _tell(self, news: Event | Delta) -> None:
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):  # nobody watches any more; the run goes on
            await self._send.send(news)


class _Unattended:
    """A dispatcher for runs that their caller advances."""

    async def wake(self, tenant: str, run_id: str, *, priority: int = 0) -> None: ...

    async def serve(self, advance: object, *, concurrency: int = 50) -> None: ...

    async def stop(self, grace_s: float) -> None: ...


class _OneSpec:
    def __init__(self, spec: AgentSpec) -> None:
        self._spec = spec

    async def get(self, tenant: str, config_hash: str) -> AgentSpec:
        return self._spec


class _Unchanged:
    """A directory without people of its own: whoever calls may act."""

    async def current(self, principal: Principal) -> Principal | None:
        return principal


class _OneModel:
    def __init__(self, model: Model) -> None:
        self._model = model

    def get(self, name: str) -> Model:
        return self._model


def _models_for(model: str | Model) -> Models:
    if not isinstance(model, str):
        return _OneModel(model)
    from quarterdeck.app import library_models  # aiohttp and settings are loaded with the first model, not with the import

    models, warning = library_models(model)
    if warning:
        warnings.warn(warning, stacklevel=4)
    return models


def _typed(output_type: type | None) -> tuple[dict[str, Any] | None, ReadOutput | None, Callable[[Any], Any]]:
    """Schema, reader and maker of an output type; nothing for plain text."""
    if output_type is None or output_type is str:
        return None, None, lambda value: value
    from pydantic import PydanticUserError, TypeAdapter  # only typed agents pay for it

    try:
        adapter: TypeAdapter[Any] = TypeAdapter(output_type)
        schema = adapter.json_schema()
    except PydanticUserError as error:
        raise Misconfigured(f"output_type {output_type!r} has no JSON Schema: {error}") from error

    def read(text: str) -> Any:
        body = unfenced(text)
        adapter.validate_json(body)
        return json.loads(body)  # as the model wrote it: what a type dumps, it need not accept again

    return schema, read, lambda value: adapter.validate_json(json.dumps(value))


def _waiting_answer(state: RunState, drafts: Sequence[Draft]) -> Answer:
    said = next((m.text.strip() for m in reversed(state.messages) if m.role is Role.ASSISTANT), "")
    waiting = "Waiting for approval: " + ", ".join(draft.tool for draft in drafts)
    return Answer(
        text=said or waiting,
        confidence=Confidence.LOW,
        tool_calls=tuple(call.name for call in state.made),
        needs_human_review=True,
        drafts=tuple(draft.id for draft in drafts),
        notes=(waiting,),
    )
