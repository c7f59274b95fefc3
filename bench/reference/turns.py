"""The events of a run as the loop appends them: each turn 1 kB said by the model and 1 kB returned by a tool."""

from __future__ import annotations

from collections.abc import Iterator

from quarterdeck.core.context import Principal
from quarterdeck.core.decisions import Decision, Verdict
from quarterdeck.core.events import Decided, Event, ModelReply, RunStarted, ToolReturned
from quarterdeck.core.labels import Integrity, Label, Readers
from quarterdeck.core.messages import Message, ResultStatus, Role, Text, ToolCall, ToolResult
from quarterdeck.core.usage import Usage
from quarterdeck.store.base import Audit

TENANT = "acme"
PROSE = "The printer on the third floor reports a paper jam although the tray is empty and the cover is closed. "
KILOBYTE = (PROSE * 11)[:1024]
SEEN = Label(integrity=Integrity.UNTRUSTED, readers=Readers.of("tenant:acme"), sources=("kb-printers",))


def started() -> RunStarted:
    return RunStarted(
        input=Message(role=Role.USER, parts=(Text(text="Why does the printer not print?", label=SEEN),)),
        agent="desk",
        config_hash="0" * 64,
        tenant=TENANT,
        principal=Principal(user="dana", tenant=TENANT, roles=("employee",), groups=("everyone",)),
    )


def turn(number: int) -> Iterator[tuple[list[Event], list[Audit]]]:
    """The two appends of a turn with one read: what was said and decided, then what came of it."""
    call = ToolCall(id=f"t{number}c0", name="look_up", args={"number": number})
    said = Message(role=Role.ASSISTANT, parts=(Text(text=KILOBYTE, label=SEEN),), tool_calls=(call,))
    reply = ModelReply(
        turn=number, message=said, model="bench:scripted", usage=Usage(prompt_tokens=900, completion_tokens=230)
    )
    decision = Decision(call_id=call.id, verdict=Verdict.ALLOW, rule="allow", policy_version="0" * 16, label=SEEN)
    audit = Audit(
        actor="agent:desk", subject="user:dana", action="decision", object=call.id, decision="allow", args_hash="0" * 64
    )
    yield [reply, Decided(turn=number, decisions=(decision,))], [audit]
    result = ToolResult(
        call_id=call.id, name="look_up", status=ResultStatus.OK, label=SEEN, output=KILOBYTE, duration_ms=1.0
    )
    yield [ToolReturned(result=result)], []
