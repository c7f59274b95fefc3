"""A run may be forked wherever nothing of it is open to the outside."""

from __future__ import annotations

import pytest

from quarterdeck.agent.fold import fold
from quarterdeck.agent.forking import fork_of, fork_problem
from quarterdeck.core.errors import InvalidInput
from quarterdeck.core.events import ModelReply, PauseRequested, ResumeRequested, RunStarted, Steer
from quarterdeck.core.messages import Message, Role
from quarterdeck.core.usage import Usage
from quarterdeck.store.base import Entry
from quarterdeck.tools.decorator import tool
from tests.unit.agent.scene import LEE, Scene, calls, says


@tool(effect="read")
async def look(what: str) -> str:
    """Look something up."""
    return what


@tool(effect="write", idempotent=True)
async def note(text: str) -> str:
    """Write a note."""
    return text


@tool(effect="write", needs_approval=True)
async def book(room: str) -> str:
    """Book a room."""
    return room


async def a_run() -> tuple[Scene, list[Entry]]:
    scene = Scene(
        calls(("look", {"what": "a"})),
        calls(("book", {"room": "R1"})),
        says("Booked."),
        says("Booked another way."),
        tools=[look, note, book],
    )
    await scene.ask("Book R1.")
    (draft,) = await scene.approvals.list(LEE)
    await scene.approvals.decide(LEE, draft.id, approved=True)
    await scene.go_on()
    return scene, await scene.entries()


@pytest.mark.row("L2", part="fork")
async def test_a_fork_goes_on_from_where_it_left_the_original() -> None:
    scene, entries = await a_run()
    last_result = max(entry.seq for entry in entries if entry.event.kind == "tool_result")

    first, then = fork_of(entries, last_result, scene.run_id, trace_id="t" * 32)
    made = await scene.store.journal.create("acme", "fork-1", first, then=then)
    original, scene.run_id = scene.run_id, "fork-1"
    state = await scene.go_on()

    assert made
    assert isinstance(state.started, RunStarted)
    assert (state.started.forked_from, state.started.forked_at) == (original, last_result)
    assert state.ended is not None
    assert [message.text for message in state.messages[:3]] == [message.text for message in fold(entries).messages[:3]]
    assert state.messages[-1].text == "Booked another way."
    assert [call.name for call in state.made] == ["look", "book"]  # nothing was done again


async def test_no_fork_takes_over_what_is_with_a_person_or_under_way() -> None:
    _, entries = await a_run()
    kinds = {entry.event.kind: entry.seq for entry in entries}

    waiting = fork_problem(entries, kinds["approval_requested"])
    started = fork_problem(entries, kinds["tool_started"])

    assert waiting is not None
    assert "with a person for approval" in waiting
    assert started is not None
    assert "started and has no result yet" in started
    assert f"fork at {kinds['approval_requested'] - 1} or" in started


async def test_every_place_a_problem_names_would_do() -> None:
    _, entries = await a_run()

    for at in range(1, len(entries) + 1):
        problem = fork_problem(entries, at)
        if problem is not None:
            for named in problem.rpartition("fork at ")[2].split(" or "):
                assert fork_problem(entries, int(named)) is None


@pytest.mark.parametrize("at", [0, -1, 999])
async def test_a_run_is_forked_only_at_an_event_it_has(at: int) -> None:
    scene, entries = await a_run()

    with pytest.raises(InvalidInput, match=f"{at} is not one of them"):
        fork_of(entries, at, scene.run_id)


async def test_a_message_the_model_had_not_seen_is_unseen_in_the_fork_too() -> None:
    _, entries = await a_run()
    said = fold(entries[:1]).messages[0]
    reply = Message(role=Role.ASSISTANT, parts=said.parts)
    events = [
        entries[0].event,
        PauseRequested(by="anna"),
        ResumeRequested(by="anna"),  # neither is taken over, so what follows stands two places further to the front
        Steer(by="anna", message=said),
        ModelReply(turn=1, message=reply, model="m", usage=Usage(), seen=3),
    ]
    original = [Entry(event=event, key=event.key, seq=seq) for seq, event in enumerate(events, 1)]

    first, then = fork_of(original, 5, "r1")

    fork = fold([Entry(event=entry.event, seq=seq) for seq, entry in enumerate([first, *then], 1)])
    assert fork.messages == fold(original).messages
    assert fork.tail == (2,)
    assert fork.messages[-1].role is Role.USER  # it is still to be answered


async def test_the_end_and_the_deadline_of_the_original_are_not_the_forks() -> None:
    scene, entries = await a_run()

    first, then = fork_of(entries, entries[-1].seq, scene.run_id)

    assert "final_answer" not in {entry.event.kind for entry in then}
    assert isinstance(first.event, RunStarted)
    assert first.event.deadline is None
