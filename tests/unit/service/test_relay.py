from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence

import anyio
import pytest

from quarterdeck.core.events import Delta, Steer
from quarterdeck.core.messages import Message, Role
from quarterdeck.service.relay import Relay
from quarterdeck.service.streams import Hub, Key, Live, Moved, Reader, Rested
from quarterdeck.store.base import Entry
from quarterdeck.store.bus import MemoryBus

RUN = "run"
HERE, THERE = "acme", "globex"


class Process:
    """A hub with a relay, and what the relay has said of others."""

    def __init__(self, line: list[MemoryBus], **options: float) -> None:
        self.hub = Hub()
        self.bus = Counted(line)
        self.relay = Relay(self.hub, self.bus, **options)  # type: ignore[arg-type]
        self.interrupted: list[Key] = []
        self.joined: list[Key] = []

    async def serve(self) -> None:
        await self.relay.serve(interrupted=self.interrupted.append, joined=self.joined.append)


class Counted(MemoryBus):
    """A bus that keeps what was said and asked."""

    def __init__(self, line: list[MemoryBus]) -> None:
        super().__init__(line)
        self.said: list[list[tuple[str, bytes]]] = []
        self.asked = 0

    async def publish(self, messages: Sequence[tuple[str, bytes]]) -> None:
        self.said.append(list(messages))
        await super().publish(messages)

    async def listened(self, channel: str) -> bool:
        self.asked += 1
        return await super().listened(channel)


@contextlib.asynccontextmanager
async def served(*processes: Process) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        for process in processes:
            tasks.start_soon(process.serve)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(5):
            yield
        tasks.cancel_scope.cancel()


def piece(n: int, text: str = "x") -> Delta:
    return Delta(kind="text", text=text, turn=1, n=n)


def stored(seq: int) -> Entry:
    return Entry(event=Steer(by="emma", message=Message(role=Role.USER)), seq=seq)


async def heard(reader: Reader, until: Callable[[Live], bool]) -> list[Live]:
    """What the reader gets, up to the first that `until` picks."""
    found: list[Live] = []
    while not found or not until(found[-1]):
        signal = await reader.receive()
        assert signal is not None
        found.append(signal)
    return found


def rested(signal: Live) -> bool:
    return isinstance(signal, Rested)


@pytest.mark.row("S3", part="any replica")
async def test_readers_elsewhere_hear_what_happens_in_its_order() -> None:
    line: list[MemoryBus] = []
    worker, replica = Process(line), Process(line)

    async with served(worker, replica):
        with replica.hub.reader(HERE, RUN, deltas=True) as reader:
            with worker.relay.advancing(HERE, RUN):
                await worker.relay.delta(HERE, RUN, piece(0))
                await worker.relay.stored(HERE, RUN, [stored(2), stored(3)])
                await worker.relay.delta(HERE, RUN, piece(1))
            signals = await heard(reader, rested)

    assert signals == [piece(0), Moved(3), piece(1), Rested()]


async def test_readers_beside_the_worker_hear_everything_once() -> None:
    worker = Process([])

    async with served(worker):
        with worker.hub.reader(HERE, RUN, deltas=True) as reader:
            with worker.relay.advancing(HERE, RUN):
                await worker.relay.delta(HERE, RUN, piece(0))
                await worker.relay.stored(HERE, RUN, [stored(2)])
            await anyio.wait_all_tasks_blocked()
            signals = await heard(reader, rested)
            worker.hub.close()
            rest = await reader.receive()

    assert signals == [piece(0), stored(2), Rested()]
    assert rest is None


@pytest.mark.row("L2", part="signals of tenants")
async def test_signals_of_one_tenants_run_never_reach_another_with_the_same_id() -> None:
    line: list[MemoryBus] = []
    worker, replica = Process(line), Process(line)

    async with served(worker, replica):
        with (
            replica.hub.reader(HERE, RUN, deltas=True) as reader,
            replica.hub.reader(THERE, RUN, deltas=True) as other,
            worker.hub.reader(THERE, RUN, deltas=True) as beside,
        ):
            with worker.relay.advancing(HERE, RUN):
                await worker.relay.delta(HERE, RUN, piece(0))
                await worker.relay.stored(HERE, RUN, [stored(2)])
            await heard(reader, rested)
            for hub in (worker.hub, replica.hub):
                hub.close()

            assert await other.receive() is None
            assert await beside.receive() is None


async def test_a_model_streams_only_to_those_who_want_pieces_wherever_they_are() -> None:
    line: list[MemoryBus] = []
    worker, replica = Process(line, remembered_s=0.0), Process(line)

    async with served(worker, replica):
        with replica.hub.reader(HERE, RUN, deltas=False):
            waiting = await worker.relay.watched(HERE, RUN)
            with replica.hub.reader(HERE, RUN, deltas=True):
                watching = await worker.relay.watched(HERE, RUN)
                elsewhere = await worker.relay.watched(THERE, RUN)
        left = await worker.relay.watched(HERE, RUN)

    assert (waiting, watching, elsewhere, left) == (False, True, False, False)


async def test_whether_somebody_watches_is_asked_once_in_a_while() -> None:
    now = 0.0
    line: list[MemoryBus] = []
    worker = Process(line)
    relay = Relay(worker.hub, worker.bus, remembered_s=1.0, clock=lambda: now)

    async with served(worker):
        for _ in range(3):
            await relay.watched(HERE, RUN)
        asked = worker.bus.asked
        now = 1.0
        await relay.watched(HERE, RUN)

    assert (asked, worker.bus.asked) == (1, 2)


async def test_pieces_that_come_close_together_go_together() -> None:
    line: list[MemoryBus] = []
    worker, replica = Process(line), Process(line)

    async with served(worker, replica):
        with replica.hub.reader(HERE, RUN, deltas=True) as reader:
            for n in range(50):
                await worker.relay.delta(HERE, RUN, piece(n))
            signals = await heard(reader, lambda signal: signal == piece(49))

    assert signals == [piece(n) for n in range(50)]
    assert len(worker.bus.said) == 1
    assert len(worker.bus.said[0]) == 1


async def test_what_waits_to_be_said_is_bounded_and_heads_are_the_last_to_go() -> None:
    line: list[MemoryBus] = []
    worker, replica = Process(line), Process(line)

    async with served(worker, replica):
        with replica.hub.reader(HERE, RUN, deltas=True) as reader:
            for n in range(10_000):
                await worker.relay.delta(HERE, RUN, piece(n, "x" * 1_000))
                await worker.relay.stored(HERE, RUN, [stored(n + 1)])
            signals = await heard(reader, lambda signal: signal == Moved(10_000))

    pieces = [signal for signal in signals if isinstance(signal, Delta)]
    assert sum(len(delta.text) for delta in pieces) <= 65_536
    assert [delta.n for delta in pieces] == list(range(len(pieces)))
    assert len(signals) <= 2 * len(pieces) + 1


async def test_nothing_is_kept_while_nobody_hears_it() -> None:
    line: list[MemoryBus] = []
    worker, replica = Process(line), Process(line)

    for n in range(100):
        await worker.relay.delta(HERE, RUN, piece(n))
    worker.relay.interrupt(HERE, RUN)
    async with served(worker, replica):
        with replica.hub.reader(HERE, RUN, deltas=True) as reader:
            with worker.relay.advancing(HERE, RUN):
                pass
            signals = await heard(reader, rested)

    assert signals == [Rested()]
    assert replica.interrupted == []


@pytest.mark.row("S11", part="cancel between processes")
async def test_interruptions_reach_every_other_process() -> None:
    line: list[MemoryBus] = []
    processes = [Process(line) for _ in range(3)]

    async with served(*processes):
        processes[0].relay.interrupt(HERE, RUN)
        await anyio.wait_all_tasks_blocked()

    assert [process.interrupted for process in processes] == [[], [(HERE, RUN)], [(HERE, RUN)]]


async def test_process_listens_to_the_runs_that_are_read_there_and_to_no_others() -> None:
    replica = Process([])
    interruptions = {"interrupt"}

    async with served(replica):
        with replica.hub.reader(HERE, "a:b", deltas=False):
            waiting = set(replica.bus.wanted)
            with replica.hub.reader(HERE, "a:b", deltas=True), replica.hub.reader("acme:a", "b", deltas=False):
                watching = set(replica.bus.wanted)
        left = set(replica.bus.wanted)

    assert waiting == interruptions | {"run:acme:a%3Ab"}
    assert watching == waiting | {"live:acme:a%3Ab", "run:acme%3Aa:b"}
    assert left == interruptions
    assert replica.joined == [(HERE, "a:b"), (HERE, "a:b"), ("acme:a", "b")]


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'["x"]',
        b'["x", 5]',
        b'["x", [5, null, "head", {"head": "9"}, {"later": 1}]]',
        b'["x", [{"delta": {"text": "no kind"}}]]',
        b'["x", [{"delta": []}]]',
    ],
)
async def test_messages_of_a_version_that_speaks_otherwise_are_passed_over(message: bytes) -> None:
    line: list[MemoryBus] = []
    stranger, replica = MemoryBus(line), Process(line)
    newer = {"delta": {"kind": "text", "text": "y", "turn": 1, "n": 0, "mood": "cheerful"}}

    async with served(replica), anyio.create_task_group() as tasks:
        tasks.start_soon(stranger.serve, lambda channel, said: None, lambda channel: None)
        await anyio.wait_all_tasks_blocked()
        with replica.hub.reader(HERE, RUN, deltas=True) as reader:
            for said in (message, json.dumps(["x", [newer, {"rested": True}]]).encode()):
                await stranger.publish([("run:acme:run", said), ("interrupt", said)])
            signals = await heard(reader, rested)
        tasks.cancel_scope.cancel()

    assert signals == [piece(0, "y"), Rested()]
    assert replica.interrupted == []
