"""Runs advanced in one process and read in others: one journal, with a real Redis between them and without one."""

from __future__ import annotations

import contextlib
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from quarterdeck.core.context import Context
from quarterdeck.core.events import CancelRequested, Delta
from quarterdeck.core.runs import RunStatus
from quarterdeck.models.base import Completion, Emit, ModelRequest
from quarterdeck.service.advance import Announced
from quarterdeck.service.desk import Followed
from quarterdeck.service.follow import Follow
from quarterdeck.service.relay import Relay
from quarterdeck.service.streams import Hub, Rested
from quarterdeck.service.watch import Watch
from quarterdeck.store.base import Entry
from quarterdeck.store.bus_redis import RedisBus
from quarterdeck.store.sqlite_store import SqliteStore, open_sqlite
from quarterdeck.tools.decorator import tool
from quarterdeck.transports.http.sse import DONE, EventStream, full_frames
from tests.redis_server import RedisServer
from tests.unit.agent.scene import ANNA, LEE, Scene, Scripted, calls, says

# On a busy machine Redis may be late, and its client then drops a connection for the garbage collector to close.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <StreamWriter:ResourceWarning")

TENANT = ANNA.tenant
CUT_POINTS = 1_000


@tool(effect="read")
async def look(what: str) -> str:
    """Look something up."""
    return f"Nothing is known of {what}."


@tool(effect="write", needs_approval=True)
async def book(room: str) -> str:
    """Book a room."""
    return room


class Typing(Scripted):
    """A model that types its replies, a word at a time."""

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        reply = await super().complete(request, ctx)
        for word in reply.text.split(" ") if emit is not None else ():
            await emit(Delta(kind="text", text=f"{word} "))
            await anyio.lowlevel.checkpoint()
        return reply


class Patient(Typing):
    """One whose every reply takes until its last piece was read: no look at the journal can be quicker than that."""

    def __init__(self, model: Scripted, frames: Sequence[bytes]) -> None:
        super().__init__(*model.replies)
        self._frames = frames

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        reply = await super().complete(request, ctx, emit)
        last = len(self.requests), len(reply.text.split(" ")) - 1
        await until(lambda: emit is None or last in ((piece["turn"], piece["n"]) for piece in pieces_of(self._frames)))
        return reply


class Endless(Scripted):
    """A model that never answers."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = anyio.Event()

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        self.asked.set()
        await anyio.sleep_forever()
        raise AssertionError


class Process:
    """What streams and control are made of in one process, as it is put together there."""

    def __init__(self, store: SqliteStore, bus: RedisBus | None, *, size: int = 512, **seconds: float) -> None:
        self.journal = store.journal
        self.bus = bus
        self.hub = Hub(size=size)
        self.relay = Relay(self.hub, bus) if bus else None
        self.stage = self.relay or self.hub
        self.interrupt: Callable[[str], None] = lambda run_id: None
        self.watch = Watch(self.journal, self.hub, lambda run_id: self.interrupt(run_id), self.relay, **seconds)

    def advancing(self, scene: Scene) -> Announced:
        """This process's worker for the scene's run."""
        scene.loop.audience = self.stage
        self.interrupt = scene.loop.interrupt
        return Announced(scene.loop.advance, self.journal, self.stage)

    @contextlib.asynccontextmanager
    async def following(self, run_id: str, after: int = 0, *, deltas: bool = True) -> AsyncIterator[Follow]:
        with self.hub.reader(TENANT, run_id, deltas=deltas) as reader:
            row = await self.journal.find(TENANT, run_id)
            over = row is not None and row.status.ended and row.head == after
            yield Follow(self.journal, TENANT, run_id, reader, seen=after, over=over)

    async def stream(
        self, run_id: str, after: int = 0, cut: int | None = None, into: list[bytes] | None = None
    ) -> list[bytes]:
        """Frames of a run, as they go over the wire, also put `into`; at most `cut` of them, then the client is gone."""
        frames = [] if into is None else into
        gone = anyio.Event()

        async def receive() -> MutableMapping[str, Any]:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            if body := message.get("body"):
                frames.append(body)
            if len(frames) == cut:
                gone.set()
                await anyio.sleep_forever()

        async with self.following(run_id, after) as follow:
            followed = Followed(run_id=run_id, session_id=None, signals=follow)
            stream = EventStream(followed, contextlib.AsyncExitStack(), full_frames, heartbeat_s=60)
            await stream({"type": "http"}, receive, send)
        return frames


Opened = Callable[..., Awaitable[Process]]


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return open_sqlite(tmp_path)


@pytest.fixture
async def opened(store: SqliteStore) -> AsyncIterator[Opened]:
    """Opens another process; with the URL of a Redis, one that is connected to it."""
    buses: list[RedisBus] = []
    async with anyio.create_task_group() as tasks:

        async def open_one(url: str | None = None, **options: Any) -> Process:
            # A machine shared by several test processes may take its time.
            bus = RedisBus(url, timeout_s=5, answer_s=5, away_s=0.01) if url else None
            buses.extend([bus] if bus else [])
            process = Process(store, bus, **options)
            tasks.start_soon(process.watch.serve)
            await until(lambda: bus is None or bus.up)
            return process

        with anyio.fail_after(120):
            yield open_one
        tasks.cancel_scope.cancel()
    for bus in buses:
        await bus.close()
    await store.close()


async def until(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    with anyio.fail_after(within_s):
        while not holds():
            await anyio.sleep(0.002)


def a_scene(store: SqliteStore) -> Scene:
    """A run of several turns with reads, a write that waits for approval, and some thirty events."""
    words = "I will look at that before I say anything about it"
    scene = Scene(
        *(calls(("look", {"what": f"{turn} ✓"}), text=words) for turn in range(7)),
        calls(("book", {"room": "R1"}), text="So I book the room"),
        says("The room is booked, " + "and that is all there is to say " * 3),
        tools=[look, book],
        store=store,
    )
    scene.model = scene.loop.models = Typing(*scene.model.replies)
    return scene


async def go_through(scene: Scene, worker: Process) -> None:
    """The run from its beginning to its end, with an approval between."""
    advance = worker.advancing(scene)
    await scene.begin()
    await advance(TENANT, scene.run_id)
    (draft,) = [found for found in await scene.approvals.list(LEE) if found.run_id == scene.run_id]
    await scene.approvals.decide(LEE, draft.id, approved=True)
    await advance(TENANT, scene.run_id)


async def written(scene: Scene) -> bytes:
    return b"".join(piece for entry in await scene.entries() for piece in full_frames(entry))


def with_id(frames: Sequence[bytes]) -> list[bytes]:
    return [frame for frame in frames if frame.startswith(b"id: ")]


def last_id(frames: Sequence[bytes]) -> int:
    found = with_id(frames)
    return int(found[-1].partition(b"\n")[0].removeprefix(b"id: ")) if found else 0


def said(frame: bytes) -> Any:
    return json.loads(frame.partition(b"data: ")[2])


def pieces_of(frames: Sequence[bytes]) -> list[Any]:
    return [said(frame) for frame in frames if frame.startswith(b"event: delta\n")]


def check_pieces(frames: Sequence[bytes], replies: dict[int, str]) -> dict[int, dict[int, str]]:
    """Pieces come in order, before the reply they belong to, and are what the reply holds there. By turn and number."""
    pieces: dict[int, dict[int, str]] = defaultdict(dict)
    replied = 0
    for frame in frames:
        if frame.startswith(b"event: delta\n"):
            delta = said(frame)
            turn, n = delta["turn"], delta["n"]
            assert turn > replied
            assert n > max(pieces[turn], default=-1)
            assert replies[turn].split(" ")[n] + " " == delta["text"]
            pieces[turn][n] = delta["text"]
        elif b"\nevent: model_reply\n" in frame:
            replied = said(frame)["turn"]
    return pieces


async def cut_everywhere(scene: Scene, worker: Process, one: Process, other: Process, cuts: Sequence[int]) -> int:
    """One run with a reader for each cut: so many frames from one replica, the rest from the other. How many there were."""
    replies = {turn: reply.text for turn, reply in enumerate(scene.model.replies, 1)}  # type: ignore[union-attr]
    read: dict[int, tuple[list[bytes], list[bytes]]] = {}
    whole: list[bytes] = []

    async def read_uncut() -> None:
        whole.extend(await one.stream(scene.run_id))

    async def read_cut(cut: int) -> None:
        before = await one.stream(scene.run_id, cut=cut)
        read[cut] = before, await other.stream(scene.run_id, last_id(before))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read_uncut)
        for cut in cuts:
            tasks.start_soon(read_cut, cut)
        await until(lambda: bool(one.hub.wanted((TENANT, scene.run_id))[1]))
        tasks.start_soon(go_through, scene, worker)

    stored = await written(scene)
    assert b"".join(with_id(whole)) == stored
    assert whole[-1] == DONE
    check_pieces(whole, replies)
    for before, after in read.values():
        assert b"".join(with_id(before) + with_id(after)) == stored
        assert after[-1] == DONE
        check_pieces(before, replies)
        check_pieces(after, replies)
    return len(whole)


@pytest.mark.row("S3", part="any replica")
@pytest.mark.parametrize("redis", [True, False], ids=["redis", "journal alone"])
async def test_stream_cut_anywhere_goes_on_at_another_replica_byte_for_byte(
    redis: bool, request: pytest.FixtureRequest, store: SqliteStore, opened: Opened
) -> None:
    url = request.getfixturevalue("redis_url") if redis else None
    worker, one, other = [await opened(url, alone_s=0.02, size=1000) for _ in range(3)]
    frames = await cut_everywhere(a_scene(store), worker, one, other, [])
    done = 0

    while done < CUT_POINTS:
        cuts = range(1, frames + 1)
        await cut_everywhere(a_scene(store), worker, one, other, cuts)
        done += len(cuts)

    # With a Redis most of the frames are pieces of replies, without one there are none.
    assert frames > 80 if redis else 20 < frames < 50


@pytest.mark.row("S3", part="any replica")
async def test_pieces_reach_another_replica_whole_and_in_their_place(
    redis_url: str, store: SqliteStore, opened: Opened
) -> None:
    worker, replica = await opened(redis_url), await opened(redis_url, relayed_s=60.0)
    scene = a_scene(store)
    replies = {turn: reply.text for turn, reply in enumerate(scene.model.replies, 1)}  # type: ignore[union-attr]
    frames: list[bytes] = []
    scene.model = scene.loop.models = Patient(scene.model, frames)

    async def read() -> None:
        await replica.stream(scene.run_id, into=frames)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        while not await worker.stage.watched(TENANT, scene.run_id):
            await anyio.sleep(0.01)
        await go_through(scene, worker)

    pieces = check_pieces(frames, replies)
    assert {turn: "".join(pieces[turn].values()) for turn in replies} == {turn: f"{text} " for turn, text in replies.items()}


@pytest.mark.row("S3", part="without redis")
async def test_streams_go_on_while_redis_is_away_and_are_live_again_when_it_is_back(
    own_redis: RedisServer, store: SqliteStore, opened: Opened
) -> None:
    worker, replica = await opened(own_redis.url, alone_s=0.02), await opened(own_redis.url, alone_s=0.02)
    scene = a_scene(store)
    frames: list[bytes] = []

    async def read() -> None:
        await replica.stream(scene.run_id, into=frames)

    async def watched() -> None:
        while not await worker.stage.watched(TENANT, scene.run_id):
            await anyio.sleep(0.01)

    class Moody(Patient):
        async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
            turn = len(self.requests) + 1
            if turn == 3:
                own_redis.stop()
                await until(lambda: not worker.stage.up and not replica.stage.up)  # type: ignore[union-attr]
                emit = None  # nobody can hear it any more
            if turn == 6:
                own_redis.start()
                await watched()
            return await super().complete(request, ctx, emit)

    scene.model = scene.loop.models = Moody(scene.model, frames)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await watched()
        await go_through(scene, worker)

    assert b"".join(with_id(frames)) == await written(scene)
    assert frames[-1] == DONE
    assert {piece["turn"] for piece in pieces_of(frames)} == {1, 2, 7, 8, 9}


@pytest.mark.row("S3", part="slow reader")
async def test_slow_reader_at_another_replica_is_cut_while_the_run_and_others_go_on(
    redis_url: str, store: SqliteStore, opened: Opened
) -> None:
    worker, replica, other = await opened(redis_url), await opened(redis_url, size=32), await opened(redis_url)
    scene = a_scene(store)
    frames: list[bytes] = []

    async def read() -> None:
        frames.extend(await other.stream(scene.run_id))

    with replica.hub.reader(TENANT, scene.run_id, deltas=True) as slow:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            while not await worker.stage.watched(TENANT, scene.run_id):
                await anyio.sleep(0.01)
            await go_through(scene, worker)

        held = 0
        while await slow.receive() is not None:
            held += 1

    assert slow.cut
    assert held == 32
    assert b"".join(with_id(frames)) == await written(scene)
    assert frames[-1] == DONE


@pytest.mark.row("S11", part="cancel between processes")
@pytest.mark.parametrize("redis", [True, False], ids=["redis", "journal alone"])
async def test_cancel_at_one_process_cuts_the_model_call_in_another(
    redis: bool, request: pytest.FixtureRequest, store: SqliteStore, opened: Opened
) -> None:
    url = request.getfixturevalue("redis_url") if redis else None
    # With a Redis it has to be the message that arrives: looks are too rare.
    worker, replica = [await opened(url, relayed_s=60.0) for _ in range(2)]
    scene = Scene(store=store)
    scene.model = scene.loop.models = model = Endless()
    await scene.begin()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(worker.advancing(scene), TENANT, scene.run_id)
        await model.asked.wait()
        began = time.monotonic()
        await scene.post(CancelRequested(by="anna"))
        replica.watch.interrupt(TENANT, scene.run_id)
    took_s = time.monotonic() - began

    row = await store.journal.find(TENANT, scene.run_id)
    assert row is not None
    assert row.status is RunStatus.CANCELLED
    assert took_s < 5


@pytest.mark.row("R10", part="waiting callers")
@pytest.mark.parametrize("redis", [True, False], ids=["redis", "journal alone"])
async def test_caller_who_waits_at_another_process_hears_that_the_run_rests(
    redis: bool, request: pytest.FixtureRequest, store: SqliteStore, opened: Opened
) -> None:
    url = request.getfixturevalue("redis_url") if redis else None
    worker, replica = [await opened(url) for _ in range(2)]
    scene = Scene(calls(("book", {"room": "R1"})), tools=[book], store=store)
    signals: list[object] = []

    async with replica.following(scene.run_id, deltas=False) as follow, anyio.create_task_group() as tasks:
        await scene.begin()
        tasks.start_soon(worker.advancing(scene), TENANT, scene.run_id)
        while not isinstance(signal := await follow.receive(), Rested):
            signals.append(signal)

    assert [signal for signal in signals if isinstance(signal, Entry)] == await scene.entries()
    assert len(scene.model.requests) == 1
