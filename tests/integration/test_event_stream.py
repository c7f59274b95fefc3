"""Event streams in a real Redis: at least once, bounded, and later rather than lost while it is away."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from quarterdeck.core.errors import Misconfigured, Unavailable
from quarterdeck.devtools.fakes import FakeClock
from quarterdeck.service.deliveries import DeliveryStatus, Notice, Target, Verdict, posted
from quarterdeck.service.outbox import Outbox
from quarterdeck.service.stream_sink import EventStream, EventStreams
from quarterdeck.store.log_redis import RedisLog
from quarterdeck.store.memory import MemoryStore
from tests.redis_server import RedisServer

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def notice(number: int = 1) -> Notice:
    data = {"run_id": "r1", "status": "done"}
    return Notice(id=f"evt_{number}", type="run_finished", tenant="acme", run_id="r1", at=NOW, data=data)


@pytest.mark.row("S15", part="stream")
async def test_notice_is_an_entry_with_the_event_id_as_a_field(own_redis: RedisServer) -> None:
    log = RedisLog(own_redis.url, "events", max_entries=100)
    streams = EventStreams([EventStream(name="bus", log=log, tenant=None, events=("run_finished",))])
    clock = FakeClock(NOW)
    store = MemoryStore(clock=clock.now)
    outbox = Outbox(store.records, {"stream": streams}, now=clock.now)
    await store.records.write("acme", [posted(notice(), Target(sink="stream", address="bus"), NOW)])

    await outbox.once()
    await log.close()

    with own_redis.client() as client:
        ((_, fields),) = client.xrange("events")
    assert fields == {
        "id": "evt_1",
        "type": "run_finished",
        "tenant": "acme",
        "run_id": "r1",
        "timestamp": "2026-01-01T12:00:00Z",
        "data": '{"run_id":"r1","status":"done"}',
    }


async def test_notice_waits_while_redis_is_away_and_is_there_once_it_is_back(own_redis: RedisServer) -> None:
    log = RedisLog(own_redis.url, "events", max_entries=100, timeout_s=0.3)
    streams = EventStreams([EventStream(name="bus", log=log, tenant="acme", events=("run_finished",))])
    clock = FakeClock(NOW)
    store = MemoryStore(clock=clock.now)
    outbox = Outbox(store.records, {"stream": streams}, now=clock.now)
    await store.records.write("acme", [posted(notice(), Target(sink="stream", address="bus"), NOW)])

    own_redis.stop()
    await outbox.once()
    (waiting,) = await outbox.list("acme")
    own_redis.start()
    clock.advance(60)
    await outbox.once()
    (arrived,) = await outbox.list("acme")
    await log.close()

    assert (waiting.status, "ConnectionError" in waiting.error) == (DeliveryStatus.WAITING, True)
    assert arrived.status is DeliveryStatus.DELIVERED
    with own_redis.client() as client:
        assert client.xlen("events") == 1


async def test_frozen_redis_holds_nobody_for_long(own_redis: RedisServer) -> None:
    log = RedisLog(own_redis.url, "events", max_entries=100, timeout_s=0.2)
    own_redis.freeze()

    with pytest.raises(Unavailable):
        await log.add({"id": "evt_1"})

    own_redis.thaw()
    await log.close()


async def test_stream_keeps_about_as_many_entries_as_it_may(own_redis: RedisServer) -> None:
    log = RedisLog(own_redis.url, "events", max_entries=100)

    for number in range(1000):
        await log.add({"id": f"evt_{number}"})
    await log.close()

    with own_redis.client() as client:
        assert 100 <= client.xlen("events") < 400
        assert client.xrevrange("events", count=1)[0][1] == {"id": "evt_999"}


async def test_stream_that_is_not_configured_any_more_refuses() -> None:
    store = MemoryStore()
    await store.records.write("acme", [posted(notice(), Target(sink="stream", address="gone"), NOW)])
    outbox = Outbox(store.records, {"stream": EventStreams([])}, now=FakeClock(NOW).now)
    (delivery,) = await outbox.list("acme")

    sent = await EventStreams([]).send(delivery)

    assert sent.verdict is Verdict.REFUSED


def test_url_that_is_none_is_told_without_its_password() -> None:
    with pytest.raises(Misconfigured) as caught:
        RedisLog("http://user:secret@host", "events", max_entries=100)

    assert "secret" not in str(caught.value)
