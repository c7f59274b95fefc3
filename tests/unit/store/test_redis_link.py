"""What is asked of a Redis that may be away, and what is said of it; the works here need none."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from quarterdeck.store.redis_link import RedisLink, redis_client


class Far:
    """What lies behind the link, with a clock of its own."""

    def __init__(self) -> None:
        self.there = True
        self.now = 0.0
        self.asked = 0
        self.returned = 0

    async def work(self) -> str:
        self.asked += 1
        if not self.there:
            raise ConnectionError
        return "answer"

    async def forever(self) -> None:
        self.asked += 1
        await anyio.sleep_forever()

    def came_back(self) -> None:
        self.returned += 1


@pytest.fixture
def far() -> Far:
    return Far()


@pytest.fixture
async def link(far: Far) -> AsyncIterator[RedisLink]:
    link = RedisLink(
        redis_client("redis://127.0.0.1:1/0", timeout_s=0.05),
        timeout_s=0.05,
        alone_s=2.0,
        without="all is a miss",
        again="it is used",
        back=far.came_back,
        clock=lambda: far.now,
    )
    yield link
    await link.close()


async def test_what_did_not_answer_is_left_alone_for_a_while(far: Far, link: RedisLink) -> None:
    far.there = False

    first = await link.ask(far.work)
    far.there = True
    within = await link.ask(far.work)
    far.now += 2.0
    after = await link.ask(far.work)

    assert (first, within, after) == (None, None, "answer")
    assert far.asked == 2


async def test_an_outage_is_counted_and_logged_once_and_so_is_its_end(
    far: Far, link: RedisLink, caplog: pytest.LogCaptureFixture
) -> None:
    far.there = False
    for _ in range(3):
        await link.ask(far.work)
        far.now += 2.0
    far.there = True
    await link.ask(far.work)
    await link.ask(far.work)

    assert (link.outages, far.returned) == (1, 1)
    assert caplog.messages == [
        "Redis does not answer (ConnectionError): until it does, all is a miss",
        "Redis answers again: it is used",
    ]


async def test_what_takes_too_long_counts_as_no_answer(far: Far, link: RedisLink) -> None:
    with anyio.fail_after(5):
        answer = await link.ask(far.forever)

    assert (answer, link.outages) == (None, 1)


async def test_while_one_caller_tries_it_again_the_others_do_not_wait(far: Far, link: RedisLink) -> None:
    far.there = False
    await link.ask(far.work)
    far.now += 2.0

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(link.ask, far.forever)
        await anyio.wait_all_tasks_blocked()
        beside = await link.ask(far.work)
        tasks.cancel_scope.cancel()

    assert (beside, far.asked) == (None, 2)


async def test_a_caller_who_leaves_says_nothing_about_it(far: Far, link: RedisLink) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(link.ask, far.forever)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()

    assert (await link.ask(far.work), link.outages) == ("answer", 0)


async def test_an_error_that_is_not_of_the_network_is_the_callers(link: RedisLink) -> None:
    async def mistaken() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await link.ask(mistaken)

    assert link.outages == 0
