"""What every journal promises."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from itertools import pairwise

import anyio
import pytest

from quarterdeck.core.errors import Conflict, Fenced, InvalidInput, NotFound
from quarterdeck.core.events import (
    CancelRequested,
    ModelReply,
    PauseRequested,
    ResumeRequested,
    RetryRequested,
    RunCancelled,
    RunFailed,
    RunStarted,
    StateFolded,
    Steer,
    Unknown,
)
from quarterdeck.core.runs import RunStatus
from quarterdeck.store.base import Entry, Put
from tests.contracts.stores import Clock, Store, audit, begin, history, message, record, reply, started

END = Entry(event=RunCancelled(by="anna"))


def steer(text: str = "stop that", key: str | None = None) -> Entry:
    return Entry(event=Steer(by="anna", message=message(text)), key=key)


async def status_of(store: Store, run_id: str = "r1") -> RunStatus:
    row = await store.journal.find("acme", run_id)
    assert row is not None
    return row.status


async def test_new_run_is_ready_and_holds_its_first_event(store: Store, clock: Clock) -> None:
    made = await store.journal.create("acme", "r1", started(user="bo", session="s1"))

    row = await store.journal.find("acme", "r1")
    assert made
    assert row is not None
    assert (row.status, row.head, row.attempts, row.wake_at) == (RunStatus.READY, 1, 0, None)
    assert (row.tenant, row.agent, row.user, row.session_id) == ("acme", "helper", "bo", "s1")
    assert row.created_at == row.updated_at == clock.now
    (first,) = await history(store.journal)
    assert (first.seq, first.at, first.key) == (1, clock.now, None)
    assert first.event == started(user="bo", session="s1").event


async def test_creating_a_run_twice_changes_nothing(store: Store) -> None:
    await store.journal.create("acme", "r1", started("first"))

    again = await store.journal.create("acme", "r1", started("second"), beside=[Put(record=record("x"))])

    (only,) = await history(store.journal)
    assert not again
    assert only.event == started("first").event
    assert await store.records.get("acme", "approval", "x") is None


async def test_run_begins_with_nothing_but_run_started(store: Store) -> None:
    with pytest.raises(InvalidInput, match="model_reply"):
        await store.journal.create("acme", "r1", reply(1))

    assert await store.journal.find("acme", "r1") is None


async def test_claim_gives_all_events_and_counts_attempts(store: Store) -> None:
    first = await begin(store.journal)
    await store.journal.append(first, [reply(1), reply(2)], folded=1)

    second = await store.journal.claim("acme", "r1")
    third = await store.journal.claim("acme", "r1")

    assert second is not None
    assert third is not None
    assert (first.attempts, second.attempts, third.attempts) == (1, 1, 2)
    assert first.epoch < second.epoch < third.epoch
    assert third.head == 3
    assert [entry.seq for entry in third.entries] == [1, 2, 3]
    assert [type(entry.event) for entry in third.entries] == [RunStarted, ModelReply, ModelReply]
    assert await status_of(store) is RunStatus.RUNNING


async def test_append_answers_with_seq_and_time(store: Store, clock: Clock) -> None:
    claim = await begin(store.journal)

    appended = await store.journal.append(claim, [reply(1), reply(2)], folded=1)

    assert (appended.head, appended.foreign) == (3, False)
    assert [(entry.seq, entry.key, entry.at) for entry in appended.entries] == [(2, "m:1", clock.now), (3, "m:2", clock.now)]
    assert list(appended.entries) == (await history(store.journal))[1:]


@pytest.mark.row("L2", part="fencing")
async def test_older_claim_can_write_nothing_more(store: Store) -> None:
    old = await begin(store.journal)
    new = await store.journal.claim("acme", "r1")
    assert new is not None

    with pytest.raises(Fenced):
        await store.journal.append(old, [reply(1)], folded=1, beside=[Put(record=record("x")), audit()])

    assert len(await history(store.journal)) == 1
    assert await store.records.get("acme", "approval", "x") is None
    assert await store.records.audit_rows("acme") == []
    assert (await store.journal.append(new, [reply(1)], folded=1)).head == 2


async def test_event_whose_key_exists_is_left_out_without_a_gap(store: Store) -> None:
    claim = await begin(store.journal)
    await store.journal.append(claim, [reply(1, "first")], folded=1)

    appended = await store.journal.append(claim, [reply(1, "again"), reply(2), reply(2), reply(3)], folded=2)

    assert [entry.key for entry in appended.entries] == ["m:2", "m:3"]
    assert [entry.seq for entry in appended.entries] == [3, 4]
    assert appended.head == 4
    assert [entry.seq for entry in await history(store.journal)] == [1, 2, 3, 4]
    assert (await history(store.journal))[1].event == reply(1, "first").event


async def test_events_without_key_may_repeat(store: Store) -> None:
    claim = await begin(store.journal)

    assert await store.journal.post("acme", "r1", steer())
    assert await store.journal.post("acme", "r1", steer())

    assert (await store.journal.append(claim, [], folded=1)).head == 3


async def test_key_from_outside_makes_a_post_single(store: Store) -> None:
    await begin(store.journal)

    first = await store.journal.post("acme", "r1", steer(key="mine"))
    second = await store.journal.post("acme", "r1", steer("other", key="mine"), beside=[audit()])

    assert (first, second) == (True, False)
    assert [entry.key for entry in await history(store.journal)] == [None, "mine"]
    assert await store.records.audit_rows("acme") == []


@pytest.mark.row("L2", part="lost wake-up")
@pytest.mark.parametrize("resting", [RunStatus.WAITING, RunStatus.PAUSED])
async def test_run_that_would_rest_over_unseen_events_is_ready(store: Store, clock: Clock, resting: RunStatus) -> None:
    claim = await begin(store.journal)
    await store.journal.append(claim, [reply(1)], folded=1)
    await store.journal.post("acme", "r1", steer())

    appended = await store.journal.append(claim, [reply(2)], folded=2, status=resting, wake_at=clock.now + timedelta(days=1))

    row = await store.journal.find("acme", "r1")
    assert appended.foreign
    assert row is not None
    assert (row.status, row.wake_at) == (RunStatus.READY, None)
    assert await store.journal.due() == [("acme", "r1")]


async def test_run_rests_when_everything_was_seen(store: Store, clock: Clock) -> None:
    claim = await begin(store.journal)
    wake_at = clock.now + timedelta(hours=1)

    appended = await store.journal.append(claim, [reply(1)], folded=1, status=RunStatus.WAITING, wake_at=wake_at)

    row = await store.journal.find("acme", "r1")
    assert not appended.foreign
    assert row is not None
    assert (row.status, row.wake_at) == (RunStatus.WAITING, wake_at)
    assert await store.journal.due() == []


async def test_post_wakes_a_waiting_run(store: Store, clock: Clock) -> None:
    claim = await begin(store.journal)
    later = clock.now + timedelta(days=7)
    await store.journal.append(claim, [], folded=1, status=RunStatus.WAITING, wake_at=later)

    posted = await store.journal.post("acme", "r1", steer())

    row = await store.journal.find("acme", "r1")
    assert posted
    assert row is not None
    assert (row.status, row.head, row.wake_at) == (RunStatus.READY, 2, None)


async def test_paused_run_rests_until_it_is_resumed_or_cancelled(store: Store) -> None:
    for run_id in ("r1", "r2"):
        claim = await begin(store.journal, run_id)
        await store.journal.append(claim, [], folded=1, status=RunStatus.PAUSED)

    await store.journal.post("acme", "r1", steer())
    claimed = await store.journal.claim("acme", "r1")
    still = await status_of(store)
    await store.journal.post("acme", "r1", Entry(event=ResumeRequested(by="anna")))
    await store.journal.post("acme", "r2", Entry(event=CancelRequested(by="anna")))

    assert claimed is None
    assert still is RunStatus.PAUSED
    assert await store.journal.due() == [("acme", "r1"), ("acme", "r2")]


async def test_request_to_pause_wakes_a_waiting_run(store: Store) -> None:
    claim = await begin(store.journal)
    await store.journal.append(claim, [], folded=1, status=RunStatus.WAITING)

    await store.journal.post("acme", "r1", Entry(event=PauseRequested(by="anna")))

    assert await status_of(store) is RunStatus.READY


async def test_ended_run_takes_nothing_from_outside_and_stays_ended(store: Store) -> None:
    claim = await begin(store.journal)
    await store.journal.append(claim, [END], folded=1, status=RunStatus.CANCELLED)

    posted = await store.journal.post("acme", "r1", steer(), beside=[audit()])
    await store.journal.append(claim, [END], folded=2, status=RunStatus.READY)

    assert not posted
    assert await store.journal.claim("acme", "r1") is None
    assert await status_of(store) is RunStatus.CANCELLED
    assert len(await history(store.journal)) == 2
    assert await store.records.audit_rows("acme") == []


async def test_append_resets_the_count_of_attempts(store: Store) -> None:
    await begin(store.journal)
    claim = await store.journal.claim("acme", "r1")
    assert claim is not None

    await store.journal.append(claim, [reply(1)], folded=1)

    row = await store.journal.find("acme", "r1")
    assert claim.attempts == 2
    assert row is not None
    assert row.attempts == 0


async def test_a_claim_may_be_left_to_whoever_wants_runs_that_were_claimed_often(store: Store) -> None:
    await begin(store.journal)
    second = await store.journal.claim("acme", "r1", below=2)

    refused = await store.journal.claim("acme", "r1", below=2)
    third = await store.journal.claim("acme", "r1")

    assert second is not None
    assert refused is None
    assert third is not None
    assert (second.attempts, third.attempts, third.epoch) == (2, 3, second.epoch + 1)


async def test_due_lists_ready_then_woken_then_stalled_runs(store: Store, clock: Clock) -> None:
    stalled = await begin(store.journal, "stalled")
    await store.journal.append(stalled, [reply(1)], folded=1)
    for run_id, minutes in (("late", 2), ("soon", 1), ("far", 90)):
        claim = await begin(store.journal, run_id)
        wake_at = clock.now + timedelta(minutes=minutes)
        await store.journal.append(claim, [], folded=1, status=RunStatus.WAITING, wake_at=wake_at)
    clock.pass_by(minutes=10)
    await begin(store.journal, "busy")
    await store.journal.create("acme", "new", started())

    quiet = await store.journal.due()
    everything = await store.journal.due(stalled_s=60)

    assert [run_id for _, run_id in quiet] == ["new", "soon", "late"]
    assert [run_id for _, run_id in everything] == ["new", "soon", "late", "stalled"]


async def test_messages_from_outside_do_not_make_a_dead_worker_look_alive(store: Store, clock: Clock) -> None:
    await begin(store.journal)
    clock.pass_by(minutes=5)

    await store.journal.post("acme", "r1", steer())

    assert await store.journal.due(stalled_s=60) == [("acme", "r1")]


@pytest.mark.row("G8", part="journal")
async def test_another_tenants_id_finds_nothing(store: Store) -> None:
    claim = await begin(store.journal, tenant="acme")
    sha = await store.journal.put_blob("acme", b"secret")

    assert await store.journal.find("evil", "r1") is None
    assert await store.journal.claim("evil", "r1") is None
    assert await history(store.journal, tenant="evil") == []
    assert await store.journal.post("evil", "r1", steer()) is False
    assert await store.journal.runs("evil") == []
    assert await store.journal.runs("evil", user="anna") == []
    with pytest.raises(NotFound):
        await store.journal.get_blob("evil", sha)
    assert (await store.journal.append(claim, [reply(1)], folded=1)).foreign is False


async def test_two_tenants_may_use_the_same_run_id(store: Store) -> None:
    await begin(store.journal, tenant="acme")
    other = await begin(store.journal, tenant="beta")

    await store.journal.append(other, [reply(1)], folded=1)

    assert len(await history(store.journal, tenant="acme")) == 1
    assert len(await history(store.journal, tenant="beta")) == 2


async def test_append_writes_event_record_and_audit_row_together(store: Store) -> None:
    claim = await begin(store.journal)

    await store.journal.append(claim, [reply(1)], folded=1, beside=[Put(record=record("x"), expect=0), audit()])

    found = await store.records.get("acme", "approval", "x")
    assert found is not None
    assert found.version == 1
    assert len(await store.records.audit_rows("acme")) == 1


async def test_conflict_undoes_everything_of_its_append_and_nothing_else(store: Store) -> None:
    claim, other = await begin(store.journal), await begin(store.journal, "r2")
    await store.records.write("acme", [Put(record=record("x"))])
    outcomes: list[str] = []

    async def conflicting() -> None:
        beside = [Put(record=record("new")), audit("bad"), Put(record=record("x"), expect=7)]
        try:
            await store.journal.append(claim, [reply(1)], folded=1, status=RunStatus.WAITING, beside=beside)
        except Conflict:
            outcomes.append("conflict")

    async def fine(turn: int) -> None:
        await store.journal.append(other, [reply(turn)], folded=1, beside=[audit("good")])
        outcomes.append("fine")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fine, 1)
        tasks.start_soon(conflicting)
        tasks.start_soon(fine, 2)

    assert sorted(outcomes) == ["conflict", "fine", "fine"]
    assert len(await history(store.journal)) == 1
    assert await status_of(store) is RunStatus.RUNNING
    assert await store.records.get("acme", "approval", "new") is None
    assert [row["object"] for row in await store.records.audit_rows("acme")] == ["good", "good"]
    assert [entry.seq for entry in await history(store.journal, "r2")] == [1, 2, 3]


async def test_conflict_undoes_a_post_and_a_create(store: Store) -> None:
    await begin(store.journal)
    beside = [Put(record=record("x"), expect=3)]

    with pytest.raises(Conflict):
        await store.journal.post("acme", "r1", steer(key="k"), beside=beside)
    with pytest.raises(Conflict):
        await store.journal.create("acme", "r2", started(), beside=beside)

    assert await store.journal.find("acme", "r2") is None
    assert await store.journal.post("acme", "r1", steer(key="k"))


async def test_what_a_run_is_to_do_is_kept_with_the_run_or_not_at_all(store: Store) -> None:
    orders = {name: f"what {name} sent".encode() for name in ("anna", "bo", "eve")}
    begun = {name: started(config=hashlib.sha256(order).hexdigest()) for name, order in orders.items()}

    made = await store.journal.create("acme", "r1", begun["anna"], order=orders["anna"])
    again = await store.journal.create("acme", "r1", begun["bo"], order=orders["bo"], beside=[audit("x")])
    with pytest.raises(Conflict):
        await store.journal.create(
            "acme", "r2", begun["eve"], order=orders["eve"], beside=[Put(record=record("x"), expect=3)]
        )

    assert (made, again) == (True, False)
    assert await store.journal.get_blob("acme", hashlib.sha256(orders["anna"]).hexdigest()) == orders["anna"]
    for name in ("bo", "eve"):
        with pytest.raises(NotFound):
            await store.journal.get_blob("acme", hashlib.sha256(orders[name]).hexdigest())


async def test_posts_and_appends_at_the_same_time_leave_no_gap(store: Store) -> None:
    claim = await begin(store.journal)

    async def outside(n: int) -> None:
        for i in range(10):
            await store.journal.post("acme", "r1", steer(key=f"{n}-{i}"))

    async def worker() -> None:
        for turn in range(1, 21):
            await store.journal.append(claim, [reply(turn)], folded=1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(worker)
        for n in range(5):
            tasks.start_soon(outside, n)

    entries = await history(store.journal)
    turns = [entry.event.turn for entry in entries if isinstance(entry.event, ModelReply)]
    assert [entry.seq for entry in entries] == list(range(1, 72))
    assert turns == list(range(1, 21))


async def test_one_of_many_equal_posts_is_taken(store: Store) -> None:
    await begin(store.journal)
    taken: list[bool] = []

    async def decide() -> None:
        taken.append(await store.journal.post("acme", "r1", steer(key="once")))

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(decide)

    assert sorted(taken) == [False] * 19 + [True]


async def test_only_one_of_many_claims_can_write(store: Store) -> None:
    await store.journal.create("acme", "r1", started())
    written: list[int] = []

    async def work() -> None:
        claim = await store.journal.claim("acme", "r1")
        assert claim is not None
        await anyio.lowlevel.checkpoint()
        try:
            await store.journal.append(claim, [reply(claim.epoch)], folded=claim.head)
        except Fenced:
            return
        written.append(claim.epoch)

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(work)

    assert written
    assert written == sorted(written)
    assert [entry.key for entry in await history(store.journal)][1:] == [f"m:{epoch}" for epoch in written]


async def test_events_are_read_after_a_seq(store: Store) -> None:
    claim = await begin(store.journal)
    await store.journal.append(claim, [reply(turn) for turn in range(1, 1301)], folded=1)

    assert [entry.seq for entry in await history(store.journal, after=1299)] == [1300, 1301]
    assert [entry.seq for entry in await history(store.journal)] == list(range(1, 1302))
    assert await history(store.journal, after=5000) == []
    assert await history(store.journal, "unknown") == []


async def test_ten_thousand_appends_keep_their_order(store: Store) -> None:
    claims = {f"r{n}": await begin(store.journal, f"r{n}") for n in range(100)}

    async def work(run_id: str) -> None:
        for turn in range(1, 101):
            await store.journal.append(claims[run_id], [reply(turn)], folded=turn)

    async with anyio.create_task_group() as tasks:
        for run_id in claims:
            tasks.start_soon(work, run_id)

    for run_id in claims:
        keys = [entry.key for entry in await history(store.journal, run_id)]
        assert keys == [None, *(f"m:{turn}" for turn in range(1, 101))]


async def test_runs_are_found_by_status_user_and_session_newest_first(store: Store) -> None:
    for n, (user, session) in enumerate([("anna", "s1"), ("bo", None), ("anna", "s2"), ("anna", "s1")], 1):
        await store.journal.create("acme", f"r{n}", started(user=user, session=session))
    await store.journal.claim("acme", "r3")

    async def ids(**filters: object) -> list[str]:
        return [row.run_id for row in await store.journal.runs("acme", **filters)]  # type: ignore[arg-type]  # filters of the signature

    assert await ids() == ["r4", "r3", "r2", "r1"]
    assert await ids(user="anna") == ["r4", "r3", "r1"]
    assert await ids(session_id="s1") == ["r4", "r1"]
    assert await ids(session_id="s1", user="bo") == []
    assert await ids(status=RunStatus.RUNNING) == ["r3"]
    assert await ids(user="anna", status=RunStatus.READY, before="r4") == ["r1"]
    assert await ids(limit=2) == ["r4", "r3"]
    assert await ids(limit=2, before="r3") == ["r2", "r1"]


async def test_runs_are_found_by_the_request_that_began_them_within_their_tenant(store: Store) -> None:
    await store.journal.create("acme", "r1", started(request="q1"))
    await store.journal.create("acme", "r2", started(request="q1", user="bo"))
    await store.journal.create("acme", "r3", started(request="q2"))
    await store.journal.create("acme", "r4", started())
    await store.journal.create("other", "r5", started(request="q1", tenant="other"))

    found = [row.run_id for row in await store.journal.runs("acme", request_id="q1")]
    own = [row.run_id for row in await store.journal.runs("acme", request_id="q1", user="anna")]
    unknown = await store.journal.runs("acme", request_id="q9")

    assert found == ["r2", "r1"]
    assert own == ["r1"]
    assert unknown == []


async def test_blob_is_kept_under_its_hash_and_found_again(store: Store) -> None:
    data = bytes(range(256)) * 100

    sha = await store.journal.put_blob("acme", data)
    again = await store.journal.put_blob("acme", data)

    assert sha == again == hashlib.sha256(data).hexdigest()
    assert await store.journal.get_blob("acme", sha) == data
    for wrong in ("0" * 64, "no hash", "../../x", ""):
        with pytest.raises(NotFound):
            await store.journal.get_blob("acme", wrong)


@pytest.mark.parametrize("size", [8_000, 100_000, 3_000_000])
async def test_large_event_comes_back_whole(store: Store, size: int) -> None:
    claim = await begin(store.journal)
    large = reply(1, "日a" * (size // 2))

    await store.journal.append(claim, [large], folded=1)

    again = await store.journal.claim("acme", "r1")
    assert again is not None
    assert again.entries[1].event == large.event
    assert (await history(store.journal))[1].event == large.event


async def test_purge_removes_old_ended_runs_and_what_only_they_referred_to(store: Store, clock: Clock) -> None:
    shared = await store.journal.put_blob("acme", b"the agent both were begun with")
    lonely = await store.journal.put_blob("acme", b"the agent of the old run")
    loose = await store.journal.put_blob("acme", b"nobody's")
    await store.journal.create("acme", "old", started(config=lonely))
    await store.journal.create("acme", "waiting", started(config=shared))
    old, waiting = await store.journal.claim("acme", "old"), await store.journal.claim("acme", "waiting")
    assert old is not None
    assert waiting is not None
    await store.journal.append(old, [reply(1, "x" * 20_000), END], folded=1, status=RunStatus.CANCELLED)
    await store.journal.append(waiting, [reply(1, "y" * 20_000)], folded=1, status=RunStatus.WAITING)
    clock.pass_by(days=2)
    recent = await begin(store.journal, "recent")
    await store.journal.append(recent, [END], folded=1, status=RunStatus.CANCELLED)

    purged = await store.journal.purge(clock.now - timedelta(days=1))

    assert purged == 1
    assert await store.journal.find("acme", "old") is None
    assert await history(store.journal, "old") == []
    assert [row.run_id for row in await store.journal.runs("acme")] == ["recent", "waiting"]
    assert await store.journal.get_blob("acme", shared) == b"the agent both were begun with"
    for gone in (lonely, loose):
        with pytest.raises(NotFound):
            await store.journal.get_blob("acme", gone)
    assert (await history(store.journal, "waiting"))[1].event == reply(1, "y" * 20_000).event


async def test_purge_spares_a_blob_kept_a_moment_ago(store: Store, clock: Clock) -> None:
    sha = await store.journal.put_blob("acme", b"for the run that begins next")
    clock.pass_by(hours=3)
    await store.journal.put_blob("acme", b"for the run that begins next")

    await store.journal.purge(clock.now + timedelta(days=1))

    assert await store.journal.get_blob("acme", sha)


async def test_purge_goes_through_hundreds_of_runs(store: Store, clock: Clock) -> None:
    for n in range(250):
        claim = await begin(store.journal, f"r{n}")
        if n % 5:
            await store.journal.append(claim, [END], folded=1, status=RunStatus.CANCELLED)
    clock.pass_by(days=1)

    purged = await store.journal.purge(clock.now)

    left = await store.journal.runs("acme", limit=1000)
    assert purged == 200
    assert len(left) == 50
    assert len(await history(store.journal, left[0].run_id)) == 1


async def test_event_of_an_unknown_kind_is_kept(store: Store) -> None:
    claim = await begin(store.journal)
    strange = Unknown(kind="from_the_future", data='{"b": 1,  "a":null}')

    await store.journal.append(claim, [Entry(event=strange)], folded=1)

    assert (await history(store.journal))[1].event == strange


async def test_hostile_text_does_not_break_storing(store: Store) -> None:
    claim = await begin(store.journal)
    hostile = "nul \0 surrogate \ud800 tag \U000e0041 quote ' \" \\u0000"

    await store.journal.append(claim, [reply(1, hostile)], folded=1, beside=[audit(hostile)])
    await store.records.write("acme", [Put(record=record("x", owner="anna"))])

    event = (await history(store.journal))[1].event
    assert isinstance(event, ModelReply)
    assert event.message.text.startswith("nul ")
    assert len(await store.records.audit_rows("acme")) == 1


async def test_time_of_events_is_the_stores_and_never_orders_them(store: Store, clock: Clock) -> None:
    claim = await begin(store.journal)
    clock.pass_by(hours=-5)

    await store.journal.append(claim, [reply(1)], folded=1)

    entries = await history(store.journal)
    assert [entry.seq for entry in entries] == [1, 2]
    assert all(later.at < earlier.at for earlier, later in pairwise(entries) if earlier.at and later.at)


async def test_a_run_is_not_done_over_events_its_worker_has_not_seen(store: Store) -> None:
    journal = store.journal
    await journal.create("acme", "run-1", started())
    claim = await journal.claim("acme", "run-1")
    assert claim is not None
    await journal.post("acme", "run-1", Entry(event=PauseRequested(by="anna")))

    with pytest.raises(Conflict):
        await journal.append(claim, [Entry(event=CancelRequested(by="x"))], folded=claim.head, status=RunStatus.DONE)

    kinds = [entry.event.kind async for entry in journal.read("acme", "run-1")]
    assert kinds == ["run_started", "pause_requested"]


async def failed(store: Store, run_id: str, code: str = "poison") -> None:
    claim = await begin(store.journal, run_id)
    end = Entry(event=RunFailed(code=code, error="x", poison=code == "poison"))
    await store.journal.append(claim, [end], folded=1, status=RunStatus.FAILED)


@pytest.mark.row("L2", part="dead letters")
async def test_failed_runs_are_found_by_the_code_of_their_error(store: Store) -> None:
    await failed(store, "r1")
    await failed(store, "r2", "model_unavailable")
    await begin(store.journal, "r3")

    dead = await store.journal.runs("acme", code="poison")

    assert [(row.run_id, row.code) for row in dead] == [("r1", "poison")]
    assert [row.code for row in await store.journal.runs("acme")] == [None, "model_unavailable", "poison"]
    assert await store.journal.runs("acme", code="poison", user="bo") == []


@pytest.mark.row("L2", part="retry")
async def test_a_failed_run_that_is_retried_is_ready_and_counts_its_attempts_anew(store: Store) -> None:
    await failed(store, "r1")

    posted = await store.journal.post("acme", "r1", Entry(event=RetryRequested(by="olga")))

    row = await store.journal.find("acme", "r1")
    claim = await store.journal.claim("acme", "r1")
    assert posted
    assert row is not None
    assert (row.status, row.attempts, row.code, row.head) == (RunStatus.READY, 0, None, 3)
    assert ("acme", "r1") not in await store.journal.due()  # claimed by now
    assert claim is not None
    assert claim.attempts == 1


async def test_only_a_failed_run_is_retried(store: Store) -> None:
    claim = await begin(store.journal)
    while_running = await store.journal.post("acme", "r1", Entry(event=RetryRequested(by="olga")))
    await store.journal.append(claim, [END], folded=1, status=RunStatus.CANCELLED)
    when_cancelled = await store.journal.post("acme", "r1", Entry(event=RetryRequested(by="olga")))

    assert not while_running
    assert not when_cancelled
    assert await status_of(store) is RunStatus.CANCELLED


async def test_a_run_that_ended_otherwise_has_no_code_whatever_is_appended_later(store: Store) -> None:
    claim = await begin(store.journal)
    await store.journal.append(claim, [END], folded=1, status=RunStatus.CANCELLED)

    late = Entry(event=RunFailed(code="internal", error="x"))
    await store.journal.append(claim, [late], folded=2, status=RunStatus.FAILED)

    row = await store.journal.find("acme", "r1")
    assert row is not None
    assert (row.status, row.code) == (RunStatus.CANCELLED, None)
    assert await store.journal.runs("acme", code="internal") == []


async def test_a_run_may_fail_twice_and_be_retried_twice(store: Store) -> None:
    await failed(store, "r1")
    await store.journal.post("acme", "r1", Entry(event=RetryRequested(by="olga")))
    claim = await store.journal.claim("acme", "r1")
    assert claim is not None
    end = Entry(event=RunFailed(code="internal", error="y"))

    appended = await store.journal.append(claim, [end], folded=claim.head, status=RunStatus.FAILED)
    again = await store.journal.post("acme", "r1", Entry(event=RetryRequested(by="olga")))

    assert len(appended.entries) == 1
    assert again
    assert await status_of(store) is RunStatus.READY


async def test_a_fork_begins_with_events_of_its_own(store: Store) -> None:
    made = await store.journal.create("acme", "r1", started(), then=[reply(1), reply(2, "y" * 20_000)])

    row = await store.journal.find("acme", "r1")
    assert made
    assert row is not None
    assert (row.head, row.status) == (3, RunStatus.READY)
    assert [entry.seq for entry in await history(store.journal)] == [1, 2, 3]
    assert (await history(store.journal))[2].event == reply(2, "y" * 20_000).event


@pytest.mark.row("L2", part="retention")
async def test_purging_a_run_leaves_its_fork_whole(store: Store, clock: Clock) -> None:
    long = reply(1, "y" * 20_000)
    claim = await begin(store.journal, "old")
    await store.journal.append(claim, [long, END], folded=1, status=RunStatus.CANCELLED)
    clock.pass_by(days=2)
    await store.journal.create("acme", "fork", started(), then=[long])

    purged = await store.journal.purge(clock.now - timedelta(days=1))

    assert purged == 1
    assert (await history(store.journal, "fork"))[1].event == long.event


async def test_purging_a_run_takes_its_records_along_and_no_others(store: Store, clock: Clock) -> None:
    claim = await begin(store.journal, "old")
    beside = [Put(record=record("a", ref="old")), Put(record=record("b", ref="other")), Put(record=record("c"))]
    await store.journal.append(claim, [END], folded=1, status=RunStatus.CANCELLED, beside=[*beside, audit()])
    await store.records.write("other", [Put(record=record("d", ref="old"))])
    clock.pass_by(days=2)

    await store.journal.purge(clock.now)

    assert {row.id for row in await store.records.find("acme", "approval")} == {"b", "c"}
    assert [row.id for row in await store.records.find("other", "approval")] == ["d"]
    assert len(await store.records.audit_rows("acme")) == 1


@pytest.mark.row("L2", part="long runs")
async def test_a_claim_begins_with_the_newest_folded_state(store: Store) -> None:
    journal = store.journal
    claim = await begin(journal)
    await journal.append(claim, [reply(n) for n in range(1, 9)], folded=1)
    await journal.post("acme", "r1", steer("between"))  # after what is covered, before the state is stored
    folded = Entry(event=StateFolded(upto=9, state={"turn": 8}))
    await journal.append(claim, [folded, reply(9)], folded=9)

    again = await journal.claim("acme", "r1")

    assert again is not None
    assert [(entry.seq, entry.event.kind) for entry in again.entries] == [
        (11, "state_folded"),
        (10, "steer"),
        (12, "model_reply"),
    ]
    assert again.head == 12
    assert len(await history(journal)) == 12


async def test_heads_are_those_of_the_runs_there_are(store: Store) -> None:
    claim = await begin(store.journal, "r1")
    await store.journal.append(claim, [reply(1)], folded=1, status=RunStatus.WAITING)
    await begin(store.journal, "r1", "other")

    heads = await store.journal.heads([("acme", "r1"), ("other", "r1"), ("acme", "none"), ("nobody", "r1")])

    assert heads == {("acme", "r1"): (2, RunStatus.WAITING), ("other", "r1"): (1, RunStatus.RUNNING)}
    assert await store.journal.heads([]) == {}


async def test_a_backlog_of_one_kind_hides_no_other_kind_of_due_run(store: Store, clock: Clock) -> None:
    journal = store.journal
    alarmed = await begin(journal, "alarmed")
    await journal.append(alarmed, [], folded=1, status=RunStatus.WAITING, wake_at=clock.now + timedelta(seconds=1))
    await begin(journal, "stalled")
    for n in range(5):
        await journal.create("acme", f"ready-{n}", started())
    clock.pass_by(seconds=30)

    due = await journal.due(2, stalled_s=10)

    assert due == [("acme", "ready-0"), ("acme", "ready-1"), ("acme", "alarmed"), ("acme", "stalled")]
