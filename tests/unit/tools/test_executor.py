"""Whatever a tool does, the model gets a result; only our own cancellation leaves the executor."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import anyio
import pytest

from quarterdeck.core.answers import Passage
from quarterdeck.core.context import Principal
from quarterdeck.core.labels import Integrity, Label, Readers
from quarterdeck.core.messages import ResultStatus, ToolCall, ToolResult
from quarterdeck.core.tools import Tool, ToolContext
from quarterdeck.tools import Executor, Job, Registry, tool
from quarterdeck.tools.threads import PLACES

LABEL = Label(integrity=Integrity.TRUSTED, readers=Readers.of("user:anna"))


def context(within_s: float = 60.0) -> ToolContext:
    return ToolContext(
        principal=Principal(user="anna", tenant="acme"),
        run_id="r",
        call_id="t1c1",
        idempotency_key="r:t1c1",
        deadline=time.monotonic() + within_s,
    )


async def execute(made: Tool, args: dict[str, Any] | None = None, within_s: float = 60.0) -> ToolResult:
    call = ToolCall(id="t1c1", name=made.name, args=args or {})
    return await Executor(Registry([made])).run(call, made, context(within_s), label=LABEL)


@tool(effect="read")
async def get_ticket(number: int) -> dict[str, Any]:
    """Look up a ticket."""
    return {"number": number, "status": "open"}


@pytest.mark.row("R6", part="ok")
async def test_a_good_call_gives_json_and_a_duration() -> None:
    result = await execute(get_ticket, {"number": 7})

    assert (result.status, result.error, result.attempt) == (ResultStatus.OK, None, 1)
    assert result.text == '{"number": 7, "status": "open"}'
    assert result.label == LABEL
    assert result.duration_ms > 0


@pytest.mark.row("R6", part="unknown tool")
def test_an_unknown_tool_is_answered_with_the_closest_and_the_available() -> None:
    executor = Executor(Registry([get_ticket]))

    result = executor.prepare(ToolCall(id="t1c1", name="get_tickets"), LABEL)

    assert isinstance(result, ToolResult)
    assert (result.status, result.error) == (ResultStatus.ERROR, "unknown_tool")
    assert "closest are: get_ticket" in result.text
    assert "available are: get_ticket" in result.text


@pytest.mark.parametrize(
    ("args", "malformed", "hint"),
    [
        ({}, "Expecting value: line 1", "not valid JSON"),
        ([], None, "JSON object, not list"),
        (None, None, "JSON object, not NoneType"),
        ("x", None, "JSON object, not str"),
        ({}, None, "number: is required"),
        ({"number": "7"}, None, "number: Input should be a valid integer"),
        ({"number": 7, "id": 1}, None, "id: there is no such argument"),
    ],
)
@pytest.mark.row("R6", part="bad arguments")
def test_bad_arguments_are_explained_and_never_executed(args: Any, malformed: str | None, hint: str) -> None:
    executor = Executor(Registry([get_ticket]))

    result = executor.prepare(ToolCall(id="t1c1", name="get_ticket", args=args, malformed=malformed), LABEL)

    assert isinstance(result, ToolResult)
    assert (result.status, result.error) == (ResultStatus.ERROR, "invalid_arguments")
    assert hint in result.text


def test_a_good_call_is_prepared_with_normalised_arguments() -> None:
    executor = Executor(Registry([get_ticket]))

    assert executor.prepare(ToolCall(id="t1c1", name="get_ticket", args={"number": 7.0}), LABEL) == ToolCall(
        id="t1c1", name="get_ticket", args={"number": 7}
    )


@pytest.mark.row("R6", part="timeout")
async def test_a_timeout_stops_async_work() -> None:
    stopped = anyio.Event()

    @tool(effect="read", timeout_s=0.02)
    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    result = await execute(slow)

    assert (result.status, result.error) == (ResultStatus.ERROR, "timeout")
    assert "0.02 s" in result.text
    assert stopped.is_set()
    assert result.label.integrity is Integrity.UNTRUSTED


@pytest.mark.row("R6", part="timeout")
async def test_a_blocking_tool_is_let_go_of_and_never_blocks_the_loop() -> None:
    release, ended = threading.Event(), threading.Event()

    @tool(timeout_s=0.05)
    def blocks() -> None:
        release.wait(10)
        ended.set()

    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.sleep(0)
            ticks += 1

    async with anyio.create_task_group() as group:
        group.start_soon(tick)
        result = await execute(blocks)
        group.cancel_scope.cancel()
    release.set()

    assert result.error == "timeout"
    assert "may have happened all the same" in result.text
    assert ticks > 10
    assert ended.wait(10)


@pytest.mark.row("R6", part="timeout")
async def test_a_read_is_tried_again_after_a_timeout_and_a_write_is_not() -> None:
    began: list[str] = []

    @tool(effect="read", timeout_s=0.02, retries=2)
    async def flaky() -> str:
        began.append("read")
        if len(began) < 3:
            await anyio.sleep_forever()
        return "there"

    @tool(effect="write", timeout_s=0.02)
    async def write() -> None:
        began.append("write")
        await anyio.sleep_forever()

    read = await execute(flaky)
    wrote = await execute(write)

    assert (read.text, read.attempt) == ("there", 3)
    assert (wrote.error, wrote.attempt) == ("timeout", 1)
    assert began == ["read", "read", "read", "write"]


async def test_nothing_is_started_in_the_last_moment_of_a_run() -> None:
    began = False

    @tool
    async def act() -> None:
        nonlocal began
        began = True

    result = await execute(act, within_s=0.19)

    assert result.error == "out_of_time"
    assert "not started" in result.text
    assert not began


async def test_a_tool_gets_the_rest_of_the_run_less_a_reserve() -> None:
    @tool(effect="read", timeout_s=30, retries=5)
    async def slow() -> None:
        await anyio.sleep_forever()

    started = time.monotonic()
    result = await execute(slow, within_s=0.25)

    assert result.error == "out_of_time"
    assert result.attempt == 1
    assert time.monotonic() - started < 5


class Shy(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("no such account"), "ValueError: no such account"),
        (TimeoutError("upstream"), "TimeoutError: upstream"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (asyncio.CancelledError(), "CancelledError"),
        (ExceptionGroup("two", [ValueError("a")]), "ExceptionGroup: two (1 sub-exception)"),
        (Shy(), "Shy"),
        (ValueError("\x00\ud800"), "ValueError: \ufffd"),
    ],
)
@pytest.mark.parametrize("kind", ["async", "sync", "inline"])
@pytest.mark.row("R6", part="exception")
async def test_any_exception_is_a_result_with_type_and_message_only(error: BaseException, said: str, kind: str) -> None:
    async def raise_async() -> None:
        raise error

    def raise_sync() -> None:
        raise error

    made = tool(name="fails", inline=kind == "inline")(raise_async if kind == "async" else raise_sync)

    result = await execute(made)

    assert (result.status, result.error) == (ResultStatus.ERROR, "exception")
    assert result.text == f"fails failed: {said}"
    assert result.label.integrity is Integrity.UNTRUSTED


async def test_stop_iteration_from_a_thread_is_an_error_like_any_other() -> None:
    @tool
    def stops() -> None:
        raise StopIteration

    assert (await execute(stops)).error == "exception"


async def test_a_long_error_text_is_cut() -> None:
    @tool
    async def fails() -> None:
        raise ValueError("x" * 1_000_000)

    assert len((await execute(fails)).text) < 3000


@pytest.mark.parametrize("native", [True, False], ids=["task.cancel", "cancel scope"])
@pytest.mark.parametrize("reaction", ["passes it on", "fails instead"])
@pytest.mark.row("R6", part="cancel")
async def test_our_own_cancellation_is_honoured(native: bool, reaction: str) -> None:
    began = anyio.Event()
    results: list[ToolResult] = []

    @tool
    async def slow() -> None:
        began.set()
        try:
            await anyio.sleep_forever()
        finally:
            if reaction == "fails instead":
                raise ValueError("while being cancelled")

    async def run() -> None:
        results.append(await execute(slow))

    if native:
        task = asyncio.ensure_future(run())
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await began.wait()
            group.cancel_scope.cancel()

    assert results == []


@pytest.mark.row("R6", part="oversize")
async def test_an_oversize_result_is_cut_and_marked() -> None:
    @tool(effect="read", max_output_chars=500)
    async def big() -> list[str]:
        return ["x" * 100] * 100_000

    result = await execute(big)

    assert result.ok
    assert result.truncated
    assert len(result.text) == 500
    assert "cut" in result.text


class Hostile:
    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise SystemError

    def __iter__(self) -> Any:
        raise OSError("disk")


@pytest.mark.parametrize("value", [object(), {"f": len}, Hostile()])
@pytest.mark.row("R6", part="unserialisable")
async def test_an_unserialisable_result_is_a_typed_error(value: Any) -> None:
    @tool(effect="read")
    async def strange() -> Any:
        return value

    result = await execute(strange)

    assert (result.status, result.error) == (ResultStatus.ERROR, "unserialisable")
    assert "strange ran" in result.text


def passage(id: str, text: str, group: str) -> Passage:
    return Passage(
        id=id, doc_id="d", title="T", text=text, label=Label(integrity=Integrity.UNTRUSTED, readers=Readers.of(group))
    )


async def test_passages_can_be_cited_and_bring_their_labels() -> None:
    found = [passage("p1", "a", "group:hr"), passage("p2", "b", "group:it")]

    @tool(effect="read")
    async def search() -> list[Passage]:
        return found

    result = await execute(search)

    assert result.passages == tuple(found)
    assert result.output == ""
    assert '"id": "p1"' in result.text
    assert result.label.integrity is Integrity.UNTRUSTED
    assert result.label.readers.clauses == (("group:hr",), ("group:it",), ("user:anna",))


async def test_passages_beyond_the_cap_are_left_out() -> None:
    @tool(effect="read", max_output_chars=25)
    async def search() -> tuple[Passage, ...]:
        return tuple(passage(f"p{i}", "x" * 10, "group:hr") for i in range(5))

    result = await execute(search)

    assert [each.id for each in result.passages] == ["p0", "p1"]
    assert result.truncated


def jobs(executor: Executor, count: int, name: str = "work") -> list[Job]:
    return [Job(call=ToolCall(id=f"t1c{i}", name=name, args={"i": i}), context=context(), label=LABEL) for i in range(count)]


async def collect(results: list[str], result: ToolResult) -> None:
    results.append(result.call_id)


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.row("R6", part="parallel")
async def test_a_hundred_parallel_tools_finish_in_the_time_of_the_slowest(kind: str) -> None:
    # Each waits until all hundred have begun: run one after the other, the first would never end.
    meeting, everybody, present = threading.Barrier(100), anyio.Event(), 0

    async def work_async(i: int) -> int:
        nonlocal present
        present += 1
        if present == 100:
            everybody.set()
        await everybody.wait()
        return i

    def work_sync(i: int) -> int:
        meeting.wait(30)
        return i

    made = tool(effect="read", name="work")(work_async if kind == "async" else work_sync)
    executor = Executor(Registry([made]))
    seen: list[str] = []

    results = await executor.run_all(jobs(executor, 100), parallel=100, done=lambda result: collect(seen, result))

    assert [result.text for result in results] == [str(i) for i in range(100)]
    assert sorted(seen) == sorted(f"t1c{i}" for i in range(100))


@pytest.mark.row("R6", part="parallel")
async def test_results_are_delivered_as_they_come_and_returned_in_order() -> None:
    turns = [anyio.Event() for _ in range(4)]
    turns[3].set()

    @tool(effect="read")
    async def work(i: int) -> None:
        await turns[i].wait()
        if i:
            turns[i - 1].set()

    executor = Executor(Registry([work]))
    seen: list[str] = []

    results = await executor.run_all(jobs(executor, 4), parallel=4, done=lambda result: collect(seen, result))

    assert seen == ["t1c3", "t1c2", "t1c1", "t1c0"]
    assert [result.call_id for result in results] == ["t1c0", "t1c1", "t1c2", "t1c3"]


@pytest.mark.parametrize("parallel", [1, 3])
@pytest.mark.row("R6", part="bounded")
async def test_no_more_run_at_once_than_allowed(parallel: int) -> None:
    running = most = 0

    @tool(effect="read")
    async def work(i: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.sleep(0)
        running -= 1

    executor = Executor(Registry([work]))
    seen: list[str] = []

    await executor.run_all(jobs(executor, 10), parallel=parallel, done=lambda result: collect(seen, result))

    assert most == parallel
    assert len(seen) == 10


async def test_results_are_delivered_one_at_a_time() -> None:
    @tool(effect="read")
    async def work(i: int) -> None: ...

    inside = 0

    async def done(result: ToolResult) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        await anyio.sleep(0)
        inside -= 1

    executor = Executor(Registry([work]))

    assert len(await executor.run_all(jobs(executor, 8), parallel=8, done=done)) == 8


@pytest.mark.parametrize("count", [1, 3])
async def test_what_the_receiver_raises_ends_the_others_and_is_raised_bare(count: int) -> None:
    @tool(effect="read")
    async def work(i: int) -> None:
        if i:
            await anyio.sleep_forever()

    async def done(result: ToolResult) -> None:
        raise LookupError("fenced")

    executor = Executor(Registry([work]))

    with pytest.raises(LookupError, match="fenced"):
        await executor.run_all(jobs(executor, count), parallel=3, done=done)


async def test_a_tool_that_disappeared_is_an_error() -> None:
    executor = Executor(Registry([get_ticket]))
    seen: list[str] = []

    (result,) = await executor.run_all(jobs(executor, 1, "gone"), parallel=4, done=lambda result: collect(seen, result))

    assert result.error == "unknown_tool"


async def test_tools_that_hang_for_ever_use_up_places_and_not_the_process() -> None:
    release = threading.Event()

    @tool(timeout_s=0.3)
    def hangs() -> None:
        release.wait(30)

    @tool(effect="read")
    def works() -> str:
        return "there"

    executor = Executor(Registry([hangs, works]))
    before = threading.active_count()

    async def ignore(result: ToolResult) -> None: ...

    calls = [Job(call=ToolCall(id=f"t1c{i}", name="hangs"), context=context(), label=LABEL) for i in range(PLACES + 20)]
    results = await executor.run_all(calls, parallel=len(calls), done=ignore)
    threads = threading.active_count() - before
    release.set()
    after = await executor.run(ToolCall(id="t1c9", name="works"), works, context(), label=LABEL)

    assert {result.error for result in results} == {"timeout"}
    assert threads <= PLACES
    assert after.text == "there"
