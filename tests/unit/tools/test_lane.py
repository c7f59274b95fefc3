"""Tools that only compute are quick or given up, and wait behind no other tool."""

from __future__ import annotations

import threading
import time

import anyio
import anyio.lowlevel
import pytest

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Misconfigured
from quarterdeck.core.labels import Integrity, Label, Readers
from quarterdeck.core.messages import ResultStatus, ToolCall, ToolResult
from quarterdeck.core.tools import Tool, ToolContext
from quarterdeck.tools import Executor, Registry, tool
from quarterdeck.tools.lane import DeterministicLane
from quarterdeck.tools.threads import PLACES

LABEL = Label(integrity=Integrity.TRUSTED, readers=Readers.of("user:anna"))


@tool(effect="read")
def double(number: int) -> int:
    """Twice as much."""
    return 2 * number


@tool(effect="read", retries=3)
async def endless() -> str:
    """Waits for ever."""
    await anyio.sleep_forever()
    raise AssertionError


@tool(effect="write", risk=1)
def note(text: str) -> str:
    """Write a note."""
    return text


async def execute(made: Tool, **args: object) -> ToolResult:
    ctx = ToolContext(
        principal=Principal(user="anna", tenant="acme"),
        run_id="r",
        call_id="t1c1",
        idempotency_key="r:t1c1",
        deadline=time.monotonic() + 60,
    )
    with anyio.fail_after(20):
        return await Executor(Registry([made])).run(ToolCall(id="t1c1", name=made.name, args=args), made, ctx, label=LABEL)


def laned(made: Tool, *, places: int = 2, deadline_s: float = 0.05) -> Tool:
    (quick,) = DeterministicLane(places=places, deadline_s=deadline_s).over([made], [made.name])
    return quick


@pytest.mark.row("L5", part="deterministic tools")
async def test_a_call_that_is_not_quick_ends_as_a_time_out_and_is_not_tried_again() -> None:
    result = await execute(laned(endless))

    assert (result.status, result.error, result.attempt) == (ResultStatus.ERROR, "timeout", 1)
    assert "0.05 s" in result.text
    assert 50 <= result.duration_ms < 5_000


async def test_a_tool_that_did_not_let_itself_be_stopped_is_late_all_the_same() -> None:
    now = [100.0]

    @tool(effect="read")
    async def busy() -> int:
        """Computes without a pause."""
        now[0] += 0.06
        return 1

    lane = DeterministicLane(places=2, deadline_s=0.05, clock=lambda: now[0])

    result = await execute(lane.over([busy], ["busy"])[0])

    assert (result.status, result.error) == (ResultStatus.ERROR, "timeout")


@pytest.mark.row("L5", part="deterministic tools")
async def test_tools_that_fill_all_threads_do_not_keep_a_deterministic_one_waiting() -> None:
    end, begun = threading.Event(), threading.Semaphore(0)

    @tool(effect="read")
    def slow() -> None:
        """Waits for something outside."""
        begun.release()
        end.wait(20)

    quick = laned(double, deadline_s=5.0)
    async with anyio.create_task_group() as tasks:
        for _ in range(PLACES):
            tasks.start_soon(execute, slow)
        for _ in range(PLACES):
            await anyio.to_thread.run_sync(begun.acquire, limiter=anyio.CapacityLimiter(1))
        results = [await execute(quick, number=number) for number in range(3)]
        end.set()

    assert [result.text for result in results] == ["0", "2", "4"]


async def test_waiting_for_a_place_of_the_lane_is_part_of_the_time() -> None:
    end, begun = threading.Event(), threading.Event()

    @tool(effect="read")
    def stuck(first: bool) -> int:
        """Hangs in its thread."""
        if first:
            begun.set()
            end.wait(20)
        return 1

    quick = laned(stuck, places=1)
    first = await execute(quick, first=True)
    second = await execute(quick, first=False)
    end.set()

    assert (first.error, second.error, begun.is_set()) == ("timeout", "timeout", True)


def test_tools_that_are_not_named_stay_as_they_are() -> None:
    tools = DeterministicLane(places=2, deadline_s=0.05).over([double, endless], ["double"])

    assert (tools[0].timeout_s, tools[0].retries, tools[1]) == (0.05, 0, endless)


@pytest.mark.parametrize(("name", "said"), [("duoble", "closest are: double"), ("note", "is a write")])
def test_name_of_no_tool_or_of_a_write_is_a_mistake_of_the_configuration(name: str, said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        DeterministicLane(places=2, deadline_s=0.05).over([double, note], [name])
