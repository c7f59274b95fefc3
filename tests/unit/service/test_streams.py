from __future__ import annotations

import contextlib
from collections.abc import Sequence

import anyio
import pytest

from quarterdeck.core.answers import Answer
from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Forbidden
from quarterdeck.core.events import CancelRequested, Delta, FinalAnswer, ModelReply, RunStarted
from quarterdeck.core.labels import PUBLIC, Label
from quarterdeck.core.messages import Message, Role
from quarterdeck.core.runs import RunStatus, StopReason
from quarterdeck.core.usage import Usage
from quarterdeck.service.follow import Follow, Permitted
from quarterdeck.service.streams import Hub, Moved, Rested, Signal
from quarterdeck.store.base import Entry
from quarterdeck.store.memory import MemoryStore

RUN = "run"
STARTED = RunStarted(
    input=Message(role=Role.USER),
    agent="a",
    config_hash="",
    tenant="acme",
    principal=Principal(user="emma", tenant="acme"),
)
FINAL = FinalAnswer(answer=Answer(text="yes"), stop_reason=StopReason.COMPLETED, label=Label(readers=PUBLIC))
DELTA = Delta(kind="text", text="y")


async def _all(follow: Follow) -> list[Signal]:
    found: list[Signal] = []
    with anyio.fail_after(5):
        while (signal := await follow.receive()) is not None:
            found.append(signal)
    return found


def _seqs(signals: Sequence[Signal]) -> list[int | str]:
    return [signal.seq if isinstance(signal, Entry) else type(signal).__name__ for signal in signals]


async def test_run_is_watched_only_while_somebody_wants_the_pieces_of_replies() -> None:
    hub = Hub()

    with hub.reader("acme", RUN, deltas=False):
        waiting = await hub.watched("acme", RUN)
        with hub.reader("acme", RUN, deltas=True):
            watching = await hub.watched("acme", RUN)

    assert (waiting, watching, await hub.watched("acme", RUN)) == (False, True, False)


async def test_reader_that_lies_behind_is_cut_and_the_others_are_not() -> None:
    hub = Hub(size=2)

    with hub.reader("acme", RUN, deltas=True) as slow, hub.reader("acme", RUN, deltas=True) as quick:
        for _ in range(3):
            await hub.delta("acme", RUN, DELTA)
            assert await quick.receive() == DELTA

        assert (slow.cut, quick.cut) == (True, False)
        assert [await slow.receive() for _ in range(3)] == [DELTA, DELTA, None]


async def test_what_others_posted_is_read_from_the_journal_in_its_place() -> None:
    store, hub = MemoryStore(), Hub()
    await store.journal.create("acme", RUN, Entry(event=STARTED))
    with hub.reader("acme", RUN, deltas=True) as reader:
        follow = Follow(store.journal, "acme", RUN, reader)
        await store.journal.post("acme", RUN, Entry(event=CancelRequested(by="emma")))  # nobody announces this one
        claim = await store.journal.claim("acme", RUN)
        assert claim is not None
        appended = await store.journal.append(claim, [Entry(event=FINAL)], folded=claim.head, status=RunStatus.DONE)
        await hub.stored("acme", RUN, appended.entries)

        signals = await _all(follow)

    assert _seqs(signals) == [1, 2, 3]


async def test_events_that_were_announced_and_read_come_once() -> None:
    store, hub = MemoryStore(), Hub()
    with hub.reader("acme", RUN, deltas=True) as reader:
        await store.journal.create("acme", RUN, Entry(event=STARTED))
        await hub.stored("acme", RUN, [Entry(event=STARTED, seq=1)])
        await hub.delta("acme", RUN, DELTA)
        claim = await store.journal.claim("acme", RUN)
        assert claim is not None
        appended = await store.journal.append(claim, [Entry(event=FINAL)], folded=1, status=RunStatus.DONE)
        await hub.stored("acme", RUN, appended.entries)

        signals = await _all(Follow(store.journal, "acme", RUN, reader))

    assert _seqs(signals) == [1, 2]


@pytest.mark.row("K7", part="open streams")
async def test_a_stream_ends_before_the_first_event_its_reader_may_not_read_any_more() -> None:
    store, hub = MemoryStore(), Hub()
    rights = [True, False]
    clock = 0.0

    async def confirm() -> None:
        await anyio.lowlevel.checkpoint()
        if not rights.pop(0):
            raise Forbidden("closed")

    with hub.reader("acme", RUN, deltas=True) as reader:
        await store.journal.create("acme", RUN, Entry(event=STARTED))
        permitted = Permitted(Follow(store.journal, "acme", RUN, reader), confirm, every_s=5.0, now=lambda: clock)
        first = await permitted.receive()
        clock = 6.0
        await hub.delta("acme", RUN, DELTA)
        with anyio.CancelScope() as impatient:
            impatient.cancel()
            await permitted.receive()  # loses nothing
        allowed = await permitted.receive()
        clock = 12.0
        claim = await store.journal.claim("acme", RUN)
        assert claim is not None
        appended = await store.journal.append(claim, [Entry(event=FINAL)], folded=1, status=RunStatus.DONE)
        await hub.stored("acme", RUN, appended.entries)
        with pytest.raises(Forbidden):
            await permitted.receive()

    assert (_seqs([first] if first else []), allowed) == ([1], DELTA)
    assert permitted.complete is False


async def test_reader_of_a_long_run_holds_no_more_than_a_page_of_it() -> None:
    store, hub = MemoryStore(), Hub()
    await store.journal.create("acme", RUN, Entry(event=STARTED))
    for number in range(350):
        await store.journal.post("acme", RUN, Entry(event=CancelRequested(by=f"u{number}"), key=f"k{number}"))

    with hub.reader("acme", RUN, deltas=True) as reader:
        follow = Follow(store.journal, "acme", RUN, reader)
        hub.rested("acme", RUN)
        found, held = [], 0
        for _ in range(352):
            found.append(await follow.receive())
            held = max(held, len(follow._pending))

    assert _seqs([signal for signal in found if signal is not None]) == [*range(1, 352), "Rested"]
    assert held <= 100


async def test_word_that_the_journal_grew_makes_the_follower_look_and_only_if_it_has_less() -> None:
    store, hub = MemoryStore(), Hub()
    await store.journal.create("acme", RUN, Entry(event=STARTED))
    with hub.reader("acme", RUN, deltas=True) as reader:
        follow = Follow(store.journal, "acme", RUN, reader)
        hub.offer(("acme", RUN), Moved(1))
        await store.journal.post("acme", RUN, Entry(event=CancelRequested(by="emma")))
        hub.offer(("acme", RUN), Moved(2))
        hub.offer(("acme", RUN), Moved(1))
        hub.rested("acme", RUN)

        signals = [await follow.receive() for _ in range(3)]

    assert _seqs([signal for signal in signals if signal is not None]) == [1, 2, "Rested"]


async def test_pieces_that_come_after_the_reply_they_are_of_are_left_out() -> None:
    store, hub = MemoryStore(), Hub()
    progress, late, next_one = (
        Delta(kind="progress", text="half", turn=1),
        Delta(kind="text", text="y", turn=1),
        Delta(kind="text", text="z", turn=2),
    )
    reply = ModelReply(turn=1, message=Message(role=Role.ASSISTANT), model="m", usage=Usage())
    with hub.reader("acme", RUN, deltas=True) as reader:
        follow = Follow(store.journal, "acme", RUN, reader, first=Entry(event=STARTED, seq=1))
        await hub.stored("acme", RUN, [Entry(event=reply, seq=2)])
        for delta in (late, progress, next_one):
            await hub.delta("acme", RUN, delta)

        signals = [await follow.receive() for _ in range(4)]

    assert _seqs([signal for signal in signals[:2] if signal is not None]) == [1, 2]
    assert signals[2:] == [progress, next_one]


async def test_runs_of_two_tenants_are_two_though_their_ids_are_one() -> None:
    hub = Hub()

    with hub.reader("acme", RUN, deltas=True) as reader, hub.reader("globex", RUN, deltas=False) as other:
        await hub.delta("acme", RUN, DELTA)
        hub.rested("globex", RUN)
        watched = [await hub.watched(tenant, RUN) for tenant in ("acme", "globex")]
        hub.close()

        assert [await reader.receive() for _ in range(2)] == [DELTA, None]
        assert [await other.receive() for _ in range(2)] == [Rested(), None]
    assert watched == [True, False]


async def test_an_advance_that_was_overtaken_here_leaves_the_other_one_known() -> None:
    hub = Hub()

    with contextlib.ExitStack() as first:
        first.enter_context(hub.advancing("acme", RUN))
        with hub.advancing("acme", RUN):
            first.close()
            during = hub.advanced(("acme", RUN))

    assert during is not None
    assert hub.keys() == []


async def test_rest_is_told_after_the_events_that_led_to_it() -> None:
    store, hub = MemoryStore(), Hub()
    await store.journal.create("acme", RUN, Entry(event=STARTED))
    with hub.reader("acme", RUN, deltas=True) as reader:
        follow = Follow(store.journal, "acme", RUN, reader)
        hub.rested("acme", RUN)

        signals = [await follow.receive() for _ in range(2)]

    assert _seqs([signal for signal in signals if signal is not None]) == [1, "Rested"]


async def test_time_out_of_one_wait_loses_nothing() -> None:
    store, hub = MemoryStore(), Hub()
    with hub.reader("acme", RUN, deltas=True) as reader:
        follow = Follow(store.journal, "acme", RUN, reader, first=Entry(event=STARTED, seq=1))
        assert await follow.receive() is not None
        with anyio.move_on_after(0):
            await follow.receive()
        await hub.delta("acme", RUN, DELTA)

        assert await follow.receive() == DELTA


@pytest.mark.row("S13", part="streams at the stop")
async def test_stopping_server_ends_streams_first_and_waiting_callers_last() -> None:
    hub = Hub()

    with hub.reader("acme", RUN, deltas=True) as stream, hub.reader("acme", RUN, deltas=False) as caller:
        hub.cut_streams()
        with hub.reader("acme", RUN, deltas=True) as late:
            cut = (stream.cut, late.cut, caller.cut)
        hub.close()

        assert cut == (True, True, False)
        assert caller.cut
        assert await caller.receive() is None
