"""The fold is pure: any prefix plus the rest gives the whole, and nothing but the events goes into it."""

from __future__ import annotations

import builtins
import datetime as datetime_module
import json
import os
import random
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quarterdeck.agent.fold import fold
from quarterdeck.agent.state import CallState, RunState
from quarterdeck.core.decisions import Consent, Decision, Endorsement, Value, Verdict
from quarterdeck.core.events import (
    AnswerRejected,
    ApprovalDecided,
    ApprovalRequested,
    CancelRequested,
    CitationsChecked,
    ContextCompacted,
    Decided,
    DoubtResolved,
    Endorsed,
    Event,
    Extracted,
    GuardrailFired,
    InDoubt,
    ModelReply,
    PauseRequested,
    ResumeRequested,
    Retrieved,
    RetryRequested,
    RunCancelled,
    RunFailed,
    RunStarted,
    StateFolded,
    Steer,
    ToolReturned,
    ToolStarted,
    Unknown,
)
from quarterdeck.core.labels import Integrity, Label, Readers
from quarterdeck.core.messages import Image, Message, Opaque, ResultStatus, Role, Text, ToolCall, ToolResult
from quarterdeck.core.usage import Usage
from quarterdeck.store.base import Entry
from quarterdeck.store.codec import decode, encode, from_json, to_json
from quarterdeck.tools.decorator import tool
from tests.unit.agent.scene import ANNA, LEE, START, Scene, calls, passage, says


@tool(effect="read")
async def look(what: str) -> str:
    """Look something up."""
    return what


@tool(effect="write", needs_approval=True)
async def book(room: str) -> str:
    """Book a room."""
    return room


async def a_whole_run() -> list[Entry]:
    scene = Scene(
        calls(("look", {"what": "a"}), ("book", {"room": "R1"})),
        calls(("nothing", {})),
        says(""),
        says("Booked R1."),
        tools=[look, book],
    )
    await scene.ask()
    draft = (await scene.approvals.list(LEE))[0]
    await scene.approvals.decide(LEE, draft.id, approved=True, edited_args={"room": "R2"})
    await scene.go_on()
    return await scene.entries()


@pytest.mark.row("L2", part="fold")
async def test_the_fold_of_any_prefix_and_the_rest_is_the_fold_of_the_whole() -> None:
    entries = await a_whole_run()
    whole = fold(entries)

    for cut in range(len(entries) + 1):
        assert fold(entries[cut:], fold(entries[:cut])) == whole


async def test_unknown_kinds_are_passed_over() -> None:
    entries = await a_whole_run()
    later = Entry(event=Unknown(kind="sung", data={"song": 1}), seq=entries[-1].seq + 1, at=entries[-1].at)

    with_unknown = fold([*entries, later])

    assert with_unknown.messages == fold(entries).messages
    assert with_unknown.seq == later.seq


async def test_the_fold_uses_no_clock_chance_environment_or_files(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = await a_whole_run()

    def denied(*args: Any, **fields: Any) -> Any:
        raise AssertionError("the fold reached outside")

    class NoTime(datetime_module.datetime):
        now = utcnow = today = denied

    for module, name in ((time, "time"), (time, "time_ns"), (time, "monotonic"), (random, "random"), (os, "urandom")):
        monkeypatch.setattr(module, name, denied)
    monkeypatch.setattr(builtins, "open", denied)
    monkeypatch.setattr(os, "getenv", denied)
    monkeypatch.setattr(datetime_module, "datetime", NoTime)
    state = fold(entries)
    monkeypatch.undo()

    assert state.ended is not None


@settings(max_examples=20)
@given(st.data())
def test_the_fold_never_fails_whatever_order_outside_events_come_in(data: st.DataObject) -> None:
    import anyio

    entries = anyio.run(a_whole_run)
    inner = data.draw(st.permutations(entries[1:]))
    renumbered = [Entry(event=e.event, seq=n, at=e.at) for n, e in enumerate([entries[0], *inner], 1)]

    assert fold(renumbered).seq == len(entries)


@pytest.mark.row("L2", part="long runs")
async def test_a_folded_state_and_the_rest_give_the_fold_of_the_whole() -> None:
    entries = await a_whole_run()
    whole = fold(entries)

    for cut in range(1, len(entries)):
        state = json.loads(json.dumps(to_json(fold(entries[:cut]))))
        left = Entry(event=StateFolded(upto=cut, state=state), seq=len(entries) + 1, at=entries[-1].at)

        again = fold([left, *entries[cut:]])

        assert again == whole.changed({"seq": left.seq})


async def test_a_folded_state_in_the_middle_changes_nothing() -> None:
    entries = await a_whole_run()
    left = Entry(event=StateFolded(upto=3, state={}), seq=entries[-1].seq + 1, at=entries[-1].at)

    assert fold([*entries, left]) == fold(entries).changed({"seq": left.seq})


OURS = Label(integrity=Integrity.TRUSTED, readers=Readers.of("user:anna"))
THEIRS = Label(readers=Readers.of("group:hr", "user:bo"), sources=("mail:1",))
ids = st.sampled_from(["t1c0", "t1c1"])
turns = st.integers(1, 3)
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
labels = st.sampled_from([OURS, THEIRS])
endorsed = st.builds(Value, tool=words, argument=words, value=words | st.integers())
arguments = st.dictionaries(words, st.none() | st.booleans() | st.integers() | st.floats(-9, 9) | words, max_size=2)
parts = st.one_of(
    st.builds(Text, text=words, label=labels),
    st.builds(Image, media_type=st.just("image/png"), url=st.just("https://example.com/a.png"), label=labels),
    st.builds(Opaque, provider=words, item=arguments, label=labels, place=st.integers(0, 2)),
)
messages = st.builds(Message, role=st.sampled_from([Role.USER, Role.ASSISTANT]), parts=st.tuples(parts))
asked = st.lists(ids, max_size=2, unique=True).flatmap(
    lambda found: st.tuples(*(st.builds(ToolCall, id=st.just(one), name=words, args=arguments) for one in found))
)
decisions = st.builds(
    Decision,
    call_id=ids,
    verdict=st.sampled_from(Verdict),
    rule=words,
    policy_version=words,
    label=labels,
    reasons=st.tuples(words),
)
results = st.builds(
    ToolResult,
    call_id=ids,
    name=words,
    status=st.sampled_from(ResultStatus),
    label=labels,
    output=words,
    error=st.none() | words,
    passages=st.sampled_from([(), (passage("leave-1", "Thirty days."),)]),
    duration_ms=st.floats(0, 9),
)
started_seqs = st.integers(1, 9)
# What may follow the first event, in any order: also in those no worker would write.
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        ModelReply,
        turn=turns,
        message=st.builds(Message, role=st.just(Role.ASSISTANT), parts=st.tuples(parts), tool_calls=asked),
        model=words,
        usage=st.builds(
            Usage, prompt_tokens=st.integers(0, 9), cost_usd=st.none() | st.floats(0, 1), seconds=st.floats(0, 9)
        ),
        seen=st.none() | started_seqs,
    ),
    st.builds(Decided, turn=turns, decisions=st.tuples(decisions)),
    st.builds(
        ToolStarted,
        id=ids,
        name=words,
        args_hash=words,
        idem_key=words,
        attempt=turns,
        timeout_s=st.floats(0, 9),
        operation=st.none() | words,
    ),
    st.builds(ToolReturned, result=results),
    st.builds(ApprovalRequested, id=ids, draft=words, args_hash=words, expires_at=st.just(START)),
    st.builds(ApprovalDecided, id=ids, approved=st.booleans(), by=words, args_hash=words, edited_args=st.none() | arguments),
    st.builds(InDoubt, id=ids, started_seq=started_seqs, not_before=st.just(START)),
    st.builds(DoubtResolved, id=ids, started_seq=started_seqs, outcome=st.sampled_from(["done", "repeat"]), by=words),
    st.builds(Steer, by=words, message=messages),
    st.builds(Retrieved, turn=turns, query=words, passages=st.just((passage("a-1", "A."),)), mode=words, label=labels),
    st.builds(CitationsChecked, turn=turns, verdicts=st.dictionaries(words, st.booleans(), max_size=2), problem=words),
    st.builds(Endorsed, id=ids, endorsement=st.builds(Endorsement, value=endorsed, by=words)),
    st.builds(Extracted, id=ids, bits=st.floats(0, 64), problem=words),
    st.builds(AnswerRejected, turn=turns, reasons=st.tuples(words)),
    st.builds(ContextCompacted, turn=turns, dropped=st.integers(0, 2), replaced=st.tuples(messages), strategy=words),
    st.builds(GuardrailFired, layer=st.just("limits"), verdict=words, rule=st.just("turn_limit"), action=st.just("close")),
    st.builds(CancelRequested, by=words),
    st.builds(PauseRequested, by=words),
    st.builds(ResumeRequested, by=words),
    st.builds(RetryRequested, by=words),
    st.builds(RunFailed, code=words, error=words),
    st.builds(RunCancelled, by=words),
)


def journal_of(inner: list[Event]) -> list[Entry]:
    first = RunStarted(
        input=Message(role=Role.USER, parts=(Text(text="Please help.", label=OURS),)),
        agent="helper",
        config_hash="0" * 64,
        tenant=ANNA.tenant,
        principal=ANNA,
        history=(Message(role=Role.USER, parts=(Text(text="Earlier.", label=THEIRS),)),),
        tags={"flag": "on"},
    )
    return [Entry(event=event, seq=seq, at=START) for seq, event in enumerate([first, *inner], 1)]


@settings(max_examples=150, deadline=None)
@given(st.lists(events, max_size=14), st.data())
def test_the_state_of_any_journal_comes_back_from_json_and_goes_on_as_it_would_have(
    inner: list[Event], data: st.DataObject
) -> None:
    entries = journal_of(inner)
    cut = data.draw(st.integers(1, len(entries)))
    state = fold(entries[:cut])
    stored = decode(*encode(StateFolded(upto=cut, state=to_json(state))))
    assert isinstance(stored, StateFolded)

    back = from_json(RunState, stored.state)
    left = Entry(event=stored, seq=len(entries) + 1, at=START)

    assert back == state
    assert fold([left, *entries[cut:]]) == fold([*entries, left])


def reply_with(turn: int, *found: str, **fields: Any) -> ModelReply:
    wanted = tuple(ToolCall(id=one, name="look", args={"n": 1.5}) for one in found)
    message = Message(role=Role.ASSISTANT, parts=(Text(text="", label=THEIRS),), tool_calls=wanted)
    return ModelReply(turn=turn, message=message, model="m", usage=Usage(prompt_tokens=1, seconds=2.5), **fields)


def returned(call_id: str, **fields: Any) -> ToolReturned:
    return ToolReturned(result=ToolResult(call_id=call_id, name="look", label=THEIRS, output="1", **fields))


def a_journal_that_sets_every_field() -> list[Entry]:
    said = Message(role=Role.USER, parts=(Text(text="Soon.", label=OURS),))
    decision = Decision(call_id="t3c0", verdict=Verdict.APPROVE, rule="writes", policy_version="1", label=THEIRS)
    start = ToolStarted(id="t3c0", name="look", args_hash="h", idem_key="k", attempt=1, timeout_s=1.0)
    consent = Consent(by="lee", at=START, good_until=START, args_hash="h", context="c", roles=("approver",))
    return journal_of(
        [
            Retrieved(turn=0, query="q", passages=(passage("a-1", "A."),), mode="late", label=THEIRS),
            Steer(by="anna", message=said),
            reply_with(1, "t1c0", seen=2),  # it had not seen what stands at 3, which follows the results
            Extracted(id="t1c0", bits=14.5),
            returned("t1c0", status=ResultStatus.OK),
            reply_with(2, "t2c0"),
            returned("t2c0", status=ResultStatus.ERROR, error="unknown_tool"),
            AnswerRejected(turn=2, reasons=("no source",)),
            reply_with(3, "t3c0", "t3c1"),
            Decided(turn=3, decisions=(decision,)),
            ApprovalRequested(id="t3c0", draft="d", args_hash="h", expires_at=START),
            ApprovalDecided(id="t3c0", approved=True, by="lee", args_hash="h", consents=(consent,)),
            Endorsed(id="t3c1", endorsement=Endorsement(value=Value(tool="f", argument="a", value=1), by="lee")),
            Decided(turn=3, decisions=(decision,), revision=1),
            start,  # at 16
            InDoubt(id="t3c0", started_seq=16, not_before=START),
            DoubtResolved(id="t3c0", started_seq=16, outcome="repeat", by="lee"),
            returned("t3c1", status=ResultStatus.ERROR, error="out_of_time"),
            Steer(by="anna", message=said),
            CitationsChecked(turn=3, verdicts={"So it is.": True}, model="m", usage=Usage(seconds=1.0)),
            GuardrailFired(layer="limits", verdict="stop", rule="turn_limit", action="close"),
            GuardrailFired(layer="output", verdict="ask", rule="card", action="review"),
            CancelRequested(by="anna"),
            PauseRequested(by="anna"),
            RunFailed(code="internal", error="x"),
        ]
    )


def test_every_field_of_the_state_comes_back_from_json() -> None:
    entries = a_journal_that_sets_every_field()
    states = [fold(entries[:cut]) for cut in range(1, len(entries) + 1)]

    stored = [to_json(state) for state in states]

    assert [from_json(RunState, json.loads(json.dumps(data))) for data in stored] == states
    # What has its default is left out, so this says that each field was set once.
    assert {name for data in stored for name in data} == set(RunState.__dataclass_fields__)
    of_calls = {name for data in stored for call in data.get("calls", ()) for name in call}
    assert of_calls == set(CallState.__dataclass_fields__)
