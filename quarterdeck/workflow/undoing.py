"""Taking back what an approved draft did, by the tool its author named for that: a run of its own, with one call.

The run begins with the call that is to be taken back and what it gave, so that the label of the one holds for the other.
From there on it is a run like any: policy decides, people are asked if it says so, and all of it is audited.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from quarterdeck.agent.fold import fold
from quarterdeck.agent.state import RunState
from quarterdeck.core.context import Principal
from quarterdeck.core.decisions import Draft, DraftStatus
from quarterdeck.core.errors import Conflict, InvalidArguments
from quarterdeck.core.events import ModelReply, RunStarted, ToolReturned
from quarterdeck.core.ids import content_hash, hashed_id
from quarterdeck.core.labels import Integrity, Label, Readers
from quarterdeck.core.messages import Message, Role, Text, ToolCall, ToolResult
from quarterdeck.core.runs import AgentSpec
from quarterdeck.core.tools import Tool
from quarterdeck.core.usage import Usage
from quarterdeck.store.base import Audit, Entry, Journal, Put, Record, Records
from quarterdeck.tools.base import Toolbox
from quarterdeck.workflow.approvals import Approvals
from quarterdeck.workflow.base import Dispatcher

__all__ = ["KIND", "Undoing", "attempts"]

KIND = "undo"
_NOBODY = "none"  # in place of a model's name
_DONE, _UNDOES = "t1c0", "t2c0"  # ids of the two calls in the run


@dataclass(frozen=True, slots=True, kw_only=True)
class Undoing:
    """Begins runs that take back what drafts did, one for each call.

    Attributes:
        keep: Keeps a declaration; returns its hash.
    """

    journal: Journal
    records: Records
    dispatcher: Dispatcher
    toolbox: Toolbox
    approvals: Approvals
    keep: Callable[[str, AgentSpec], Awaitable[str]]

    async def undo(self, principal: Principal, draft_id: str, *, reason: str = "") -> str:
        """Begin to take back what a draft did, on behalf of the principal; returns the id of the run that does.

        The same by the same person again is answered with the same run. Another one begins only if the last came to
        nothing: it was refused, or its tool said that it failed.

        Raises:
            NotFound: There is no such draft, or the principal has no part in it.
            Conflict: It was not done, nothing takes it back, or somebody is at it already; the message says which.
        """
        draft = await self.approvals.get(principal, draft_id)
        call, result = await self._done(principal.tenant, draft)
        undo = self._bound(draft, call, result)
        record_id = hashed_id(KIND, draft.run_id, draft.call_id)
        standing = await self.records.get(principal.tenant, KIND, record_id)
        if standing is not None and not await self._came_to_nothing(principal.tenant, standing):
            return _same(standing, principal)
        version = 0 if standing is None else standing.version
        run_id = _attempt(record_id, version)
        row = Record(
            kind=KIND,
            id=record_id,
            data={"run": run_id, "by": principal.user, "of": draft.id},
            owner=draft.requested_by,
            ref=run_id,
        )
        beside = (Put(record=row, expect=version), _audit(principal, draft, undo, run_id))
        started = replace(await self._started(principal, draft, undo, reason), undoes=record_id)
        then = [Entry(event=event) for event in _events(call, result, undo)]
        try:
            created = await self.journal.create(principal.tenant, run_id, Entry(event=started), then=then, beside=beside)
        except Conflict:
            created = False
        if not created:  # somebody was faster, or the same person was by another request
            now = await self.records.get(principal.tenant, KIND, record_id)
            if now is None:
                raise Conflict(f"draft {draft.id} is being erased")
            return _same(now, principal)
        await self.dispatcher.wake(principal.tenant, run_id)
        return run_id

    async def _done(self, tenant: str, draft: Draft) -> tuple[ToolCall, ToolResult]:
        """The call of a draft as it was executed, and what it gave. Raises Conflict if it was not."""
        state = RunState()
        async for entry in self.journal.read(tenant, draft.run_id):
            event = entry.event
            if isinstance(event, ToolReturned) and event.result.call_id == draft.call_id:
                call = next((each.call for each in state.calls if each.call.id == draft.call_id), None)
                if call is not None and event.result.ok and not event.result.cached:
                    return call, event.result
                break
            state = fold([entry], state)
        how = "has not been done yet" if draft.status is DraftStatus.APPROVED else f"is {draft.status}"
        raise Conflict(f"there is nothing to undo: draft {draft.id} {how}, or another call did it")

    def _bound(self, draft: Draft, call: ToolCall, result: ToolResult) -> ToolCall:
        """The call that takes it back. Raises Conflict if there is none, or what it needs to know was not told."""
        done = self.toolbox.get(draft.tool)
        tool = None if done is None else self.toolbox.get(done.undo)
        if tool is None:
            raise Conflict(f"nothing takes back what {draft.tool} did: it declares no undo")
        try:
            args = tool.bind(_arguments(tool, call.args, result.output))
        except InvalidArguments as error:
            raise Conflict(f"{tool.name} cannot take back draft {draft.id}: {error}") from error
        return ToolCall(id=_UNDOES, name=tool.name, args=args)

    async def _came_to_nothing(self, tenant: str, record: Record) -> bool:
        """True if the run of an earlier attempt has ended, and what it was to do was not begun, or failed."""
        state = fold([entry async for entry in self.journal.read(tenant, record.data["run"])])
        if state.ended is None:
            return False
        if state.calls:
            return all(call.started is None for call in state.calls)
        return not state.made[-1].success

    async def _started(self, principal: Principal, draft: Draft, undo: ToolCall, reason: str) -> RunStarted:
        spec = AgentSpec(name=draft.agent, model="", tools=(undo.name,), retrieve="never")
        typed = Label(integrity=Integrity.TRUSTED, readers=Readers.of(f"user:{principal.user}"))
        asked = f"Undo {draft.tool}: {undo.name}. {reason}".strip()
        return RunStarted(
            input=Message(role=Role.USER, parts=(Text(text=asked, label=typed),)),
            agent=draft.agent,
            config_hash=await self.keep(principal.tenant, spec),
            tenant=principal.tenant,
            principal=principal,
        )


def attempts(record: Record) -> list[str]:
    """Ids of all runs that were begun to take back what the record is about: it names the last one only."""
    return [_attempt(record.id, version) for version in range(record.version)]


def _attempt(record_id: str, version: int) -> str:
    """Id of the run that is begun while the record has this version."""
    return hashed_id(record_id, str(version))


async def claimed_again(records: Records, tenant: str, run_id: str, started: RunStarted | None) -> list[Put]:
    """The row of what a run takes back that is to be tried again, so that nobody begins another; none for another run.

    Raises Conflict if another has taken its place.
    """
    if started is None or not started.undoes:
        return []
    record = await records.get(tenant, KIND, started.undoes)
    if record is None or record.data["run"] != run_id:
        raise Conflict(f"run {run_id} is not tried again: another one has been begun that takes back the same")
    return [Put(record=record, expect=record.version)]


def _same(record: Record, principal: Principal) -> str:
    if record.data["by"] != principal.user:
        raise Conflict(f"{record.data['by']} has undone this, or is at it: run {record.data['run']}")
    return str(record.data["run"])


def _arguments(tool: Tool, args: Mapping[str, Any], output: str) -> dict[str, Any]:
    """The parameters of a tool, by name: what the target said itself goes before what it was told."""
    try:
        told = json.loads(output)
    except ValueError:
        told = None
    known = {**args, **told} if isinstance(told, dict) else args
    return {name: known[name] for name in tool.input_schema.get("properties", {}) if name in known}


def _events(call: ToolCall, result: ToolResult, undo: ToolCall) -> tuple[ModelReply | ToolReturned, ...]:
    done = replace(call, id=_DONE)
    return (
        _wants(1, done),
        ToolReturned(result=replace(result, call_id=_DONE)),
        _wants(2, undo),
    )


def _wants(turn: int, call: ToolCall) -> ModelReply:
    message = Message(role=Role.ASSISTANT, parts=(), tool_calls=(call,))
    return ModelReply(turn=turn, message=message, model=_NOBODY, usage=Usage(), finish_reason="tool_calls")


def _audit(principal: Principal, draft: Draft, undo: ToolCall, run_id: str) -> Audit:
    return Audit(
        actor=f"user:{principal.user}",
        subject=f"user:{draft.requested_by}",
        action="run",
        object=f"{draft.run_id}:{draft.call_id}:{draft.tool}:{run_id}",
        decision="undo",
        args_hash=content_hash(undo.args),
    )
