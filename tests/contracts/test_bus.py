"""What every bus between processes promises."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

import anyio
import pytest

from quarterdeck.store.bus import Bus, MemoryBus
from quarterdeck.store.bus_redis import RedisBus

Opener = Callable[[], Bus]


@pytest.fixture(params=["memory", "redis"])
async def opened(request: pytest.FixtureRequest) -> AsyncIterator[Opener]:
    """Opens another bus on the same line, and closes it in the end."""
    line: list[MemoryBus] = []
    url = request.getfixturevalue("redis_url") if request.param == "redis" else ""
    buses: list[Bus] = []

    def open_one() -> Bus:
        # A machine shared by several test processes may take its time.
        buses.append(RedisBus(url, timeout_s=5, answer_s=5) if url else MemoryBus(line))
        return buses[-1]

    yield open_one
    for bus in buses:
        await bus.close()


class Ear:
    """What one bus has heard."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.heard: list[tuple[str, bytes]] = []
        self.joined: list[str] = []

    async def serve(self) -> None:
        await self.bus.serve(lambda channel, message: self.heard.append((channel, message)), self.joined.append)


@contextlib.asynccontextmanager
async def served(*ears: Ear) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        for ear in ears:
            tasks.start_soon(ear.serve)
        await until(lambda: all(ear.bus.up for ear in ears))
        yield
        tasks.cancel_scope.cancel()


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not holds():
            await anyio.sleep(0.002)


async def test_messages_reach_those_who_listen_in_order_and_the_speaker_too(opened: Opener) -> None:
    one, other, deaf = Ear(opened()), Ear(opened()), Ear(opened())
    one.bus.listen("a")
    other.bus.listen("a")
    deaf.bus.listen("b")

    async with served(one, other, deaf):
        await until(lambda: all(ear.joined for ear in (one, other, deaf)))
        await one.bus.publish([("a", b"1"), ("b", b"\xff\x00"), ("a", b"2")])
        await one.bus.publish([("a", b"3")])
        await until(lambda: len(other.heard) == len(one.heard) == 3 and len(deaf.heard) == 1)

    assert one.heard == other.heard == [("a", b"1"), ("a", b"2"), ("a", b"3")]
    assert deaf.heard == [("b", b"\xff\x00")]


async def test_whoever_begins_to_listen_is_told_from_when_on(opened: Opener) -> None:
    ear = Ear(opened())
    ear.bus.listen("early")

    async with served(ear):
        await until(lambda: ear.joined == ["early"])
        ear.bus.listen("late")
        await until(lambda: ear.joined == ["early", "late"])
        await ear.bus.publish([("late", b"x")])
        await until(lambda: ear.heard == [("late", b"x")])

    assert ear.joined == ["early", "late"]


async def test_whoever_has_left_hears_nothing_more(opened: Opener) -> None:
    ear, other = Ear(opened()), Ear(opened())
    ear.bus.listen("a")
    ear.bus.listen("b")

    async with served(ear, other):
        await until(lambda: len(ear.joined) == 2)
        ear.bus.leave("a")
        while await other.bus.listened("a"):
            await anyio.sleep(0.002)
        await other.bus.publish([("a", b"1"), ("b", b"2")])
        await until(lambda: bool(ear.heard))

    assert ear.heard == [("b", b"2")]


async def test_bus_knows_whether_somebody_listens_anywhere(opened: Opener) -> None:
    ear, other = Ear(opened()), Ear(opened())
    ear.bus.listen("a")

    async with served(ear, other):
        await until(lambda: bool(ear.joined))

        assert [await bus.listened(channel) for bus in (ear.bus, other.bus) for channel in "ab"] == [True, False] * 2


async def test_bus_that_nobody_serves_loses_what_is_said_and_does_not_fail(opened: Opener) -> None:
    bus = opened()
    bus.listen("a")

    await bus.publish([("a", b"x")])

    assert not bus.up
    assert not await bus.listened("a")
