"""The public fakes: a scripted model that fails loudly, a clock that moves when told."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from quarterdeck.core.context import Context, Principal
from quarterdeck.core.errors import DeadlineExceeded, ModelUnavailable
from quarterdeck.core.events import Delta
from quarterdeck.core.labels import PUBLIC, Integrity, Label
from quarterdeck.core.messages import Message, Role, Text, ToolCall
from quarterdeck.devtools.fakes import FakeClock, FakeModel
from quarterdeck.models.base import Completion, Model, ModelRequest

TRUSTED = Label(integrity=Integrity.TRUSTED, readers=PUBLIC)


def context(left_s: float = 60.0) -> Context:
    return Context(principal=Principal(user="anna", tenant="acme"), run_id="r1", deadline=time.monotonic() + left_s)


def request(text: str) -> ModelRequest:
    return ModelRequest(messages=(Message(role=Role.USER, parts=(Text(text=text, label=TRUSTED),)),))


async def test_a_script_is_played_step_by_step_and_every_request_is_kept() -> None:
    model: Model = FakeModel(Completion(text="one"), lambda asked: Completion(text=asked.messages[-1].text.upper()))

    first = await model.complete(request("a"), context())
    second = await model.complete(request("b"), context())

    assert (first.text, second.text) == ("one", "B")
    assert isinstance(model, FakeModel)
    assert [asked.messages[-1].text for asked in model.requests] == ["a", "b"]


async def test_an_error_in_the_script_is_raised_and_the_script_goes_on() -> None:
    model = FakeModel(ModelUnavailable("busy", status=503), Completion(text="ok"))

    with pytest.raises(ModelUnavailable, match="busy"):
        await model.complete(request("a"), context())

    assert (await model.complete(request("a"), context())).text == "ok"


async def test_a_request_beyond_the_script_fails_and_says_what_was_asked() -> None:
    model = FakeModel(Completion(text="one"), name="fake:short")
    await model.complete(request("a"), context())

    with pytest.raises(AssertionError, match=r"request 2 to fake:short, whose script has 1 steps.*'where is it'"):
        await model.complete(request("where is it"), context())


async def test_steps_left_over_fail_at_the_end_of_the_block() -> None:
    with pytest.raises(AssertionError, match="1 steps of its script are left over"), FakeModel(Completion()):
        pass


async def test_left_over_steps_do_not_hide_the_error_of_the_block() -> None:
    with pytest.raises(KeyError), FakeModel(Completion()):
        raise KeyError("the real cause")


async def test_a_watched_reply_is_emitted() -> None:
    seen: list[Delta] = []
    model = FakeModel(Completion(text="hello", tool_calls=(ToolCall(id="c1", name="look"),), finish_reason="tool_calls"))

    async def emit(delta: Delta) -> None:
        seen.append(delta)

    await model.complete(request("a"), context(), emit)

    assert [(d.kind, d.text, d.n) for d in seen] == [("text", "hello", 0), ("tool_start", "look", 1)]


async def test_the_deadline_counts_for_a_script_too() -> None:
    model = FakeModel(Completion(text="late"))

    with pytest.raises(DeadlineExceeded):
        await model.complete(request("a"), context(left_s=-1.0))

    assert model.left == 1


async def test_a_clock_stands_until_it_is_moved_and_sleeping_moves_it() -> None:
    clock = FakeClock(datetime(2026, 3, 1, 9, 0, tzinfo=UTC), monotonic_s=10.0)

    clock.advance(1.5)
    await clock.sleep(2.5)

    assert clock() == clock.monotonic() == 14.0
    assert clock.now() == datetime(2026, 3, 1, 9, 0, 4, tzinfo=UTC)
    assert clock.slept == [2.5]


def test_a_clock_refuses_to_go_back_and_to_start_without_a_zone() -> None:
    with pytest.raises(ValueError, match="does not go back"):
        FakeClock().advance(-1)
    with pytest.raises(ValueError, match="time zone"):
        FakeClock(datetime(2026, 1, 1))  # noqa: DTZ001 - the refused case
