"""What every store makes of requests that are repeated under one key."""

from __future__ import annotations

import anyio
import pytest

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import KeyReused, NotFound
from quarterdeck.service.repeats import Kept, Repeats
from tests.contracts.stores import Clock, Store

EMMA, OMAR = Principal(user="emma", tenant="acme"), Principal(user="omar", tenant="acme")


class Work:
    """Something that is done, counted."""

    def __init__(self) -> None:
        self.made: list[str] = []

    async def __call__(self, made: str) -> Kept:
        self.made.append(made)
        await anyio.sleep(0)
        return Kept(status=201, body=f"made {len(self.made)}", headers={"location": "/x"})


@pytest.mark.row("S12", part="everything made")
async def test_fifty_at_once_under_one_key_do_it_once_and_are_answered_alike(store: Store, clock: Clock) -> None:
    work, answers = Work(), []
    servers = [Repeats(store.records, now=lambda: clock.now) for _ in range(3)]

    async def ask(which: int) -> None:
        answers.append(await servers[which % 3].once(EMMA, "POST /x", "k1", "hash", work))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for which in range(50):
                tasks.start_soon(ask, which)

    assert len(work.made) == 1
    assert answers == [Kept(status=201, body="made 1", headers={"location": "/x"})] * 50


async def test_key_belongs_to_a_person_and_a_route(store: Store, clock: Clock) -> None:
    work, repeats = Work(), Repeats(store.records, now=lambda: clock.now)

    for principal, route in ((EMMA, "a"), (EMMA, "a"), (OMAR, "a"), (EMMA, "b")):
        await repeats.once(principal, route, "k1", "hash", work)
    elsewhere = Principal(user="emma", tenant="globex")
    await repeats.once(elsewhere, "a", "k1", "hash", work)

    assert len(set(work.made)) == len(work.made) == 4


async def test_other_body_under_the_key_is_refused_for_a_day(store: Store, clock: Clock) -> None:
    work, repeats = Work(), Repeats(store.records, now=lambda: clock.now)
    await repeats.once(EMMA, "a", "k1", "hash", work)

    with pytest.raises(KeyReused):
        await repeats.once(EMMA, "a", "k1", "other", work)
    clock.pass_by(hours=24)
    later = await repeats.once(EMMA, "a", "k1", "other", work)

    assert later is not None
    assert later.body == "made 2"


async def test_what_failed_is_done_anew_with_the_same_id(store: Store, clock: Clock) -> None:
    work, repeats = Work(), Repeats(store.records, now=lambda: clock.now)
    tried: list[str] = []

    async def fail(made: str) -> Kept:
        tried.append(made)
        raise NotFound("not yet")

    with pytest.raises(NotFound):
        await repeats.once(EMMA, "a", "k1", "hash", fail)
    await repeats.once(EMMA, "a", "k1", "hash", work)

    assert tried == work.made


async def test_who_is_still_at_it_is_waited_for_a_while_and_followed_after_the_lease(store: Store, clock: Clock) -> None:
    work, repeats = Work(), Repeats(store.records, wait_s=0.05, now=lambda: clock.now)
    begun, tried = anyio.Event(), []

    async def hang(made: str) -> Kept:
        tried.append(made)
        begun.set()
        await anyio.sleep_forever()
        raise AssertionError

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(repeats.once, EMMA, "a", "k1", "hash", hang)
        await begun.wait()
        waited = await repeats.once(EMMA, "a", "k1", "hash", work)
        clock.pass_by(seconds=60)
        followed = await repeats.once(EMMA, "a", "k1", "hash", work)
        tasks.cancel_scope.cancel()
    again = await repeats.once(EMMA, "a", "k1", "hash", work)

    assert waited is None
    assert followed == again
    assert work.made == tried
