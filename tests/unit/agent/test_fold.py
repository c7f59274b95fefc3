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
from quarterdeck.core.events import StateFolded, Unknown
from quarterdeck.store.base import Entry
from quarterdeck.store.codec import to_json
from quarterdeck.tools.decorator import tool
from tests.unit.agent.scene import LEE, Scene, calls, says


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
