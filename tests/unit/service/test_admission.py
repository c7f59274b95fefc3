from __future__ import annotations

import pytest

from quarterdeck.core.errors import RateLimited
from quarterdeck.service.admission import Admission, Load
from quarterdeck.service.gradient import Gradient
from quarterdeck.workflow.lanes import Lane

SHARES = {Lane.BATCH: 0.7, Lane.EVAL: 0.5}


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def fixed(most: int, *, asked: bool = False) -> Admission:
    return Admission(Load(most=most, adaptive=False, shares=SHARES), asked=asked)


def entered(admission: Admission, many: int, tenant: str = "acme", lane: Lane = Lane.INTERACTIVE) -> list[str]:
    """Ids of those that were accepted."""
    inside: list[str] = []
    for number in range(many):
        run_id = f"{lane}{admission.under_way}_{number}"
        try:
            admission.enter(tenant, run_id, lane)
        except RateLimited:
            continue
        inside.append(run_id)
    return inside


@pytest.mark.row("S11", part="admission")
async def test_no_more_runs_are_accepted_than_there_are_places_and_one_that_ends_makes_room() -> None:
    admission = fixed(10)
    inside = entered(admission, 15)

    async def advance(tenant: str, run_id: str) -> None: ...

    await admission.around(advance)("acme", inside[0])

    assert len(inside) == 10
    assert admission.refused == 5
    assert len(entered(admission, 3)) == 1


async def test_a_run_whose_advance_raised_is_under_way_until_it_is_taken_up_again() -> None:
    admission = fixed(10)
    (run_id,) = entered(admission, 1)

    async def fails(tenant: str, run_id: str) -> None:
        raise OSError("the store is away")

    with pytest.raises(OSError, match="away"):
        await admission.around(fails)("acme", run_id)

    assert admission.under_way == 1


@pytest.mark.row("L5", part="lanes")
def test_batches_are_sent_away_before_people_and_evaluations_before_batches() -> None:
    admission = fixed(10)

    counts = [len(entered(admission, 20, lane=lane)) for lane in (Lane.EVAL, Lane.BATCH, Lane.INTERACTIVE)]

    assert counts == [5, 2, 3]


@pytest.mark.row("L5", part="tenants")
def test_a_tenant_below_its_part_is_let_in_past_one_that_fills_all_places() -> None:
    admission = fixed(10)

    counts = [len(entered(admission, 50, tenant)) for tenant in ("noisy", "quiet", "noisy")]

    assert counts == [10, 5, 0]


def test_however_many_tenants_come_no_more_than_twice_the_places_are_taken() -> None:
    admission = fixed(10)

    for number in range(100):
        entered(admission, 10, f"t{number}")

    assert admission.under_way == 20


def test_where_others_advance_runs_one_counts_until_its_asker_is_answered() -> None:
    admission = fixed(10, asked=True)
    (run_id,) = entered(admission, 1)

    admission.answered("acme", run_id)

    assert admission.under_way == 0


async def test_where_others_advance_runs_an_advance_ends_nothing() -> None:
    admission = fixed(10, asked=True)
    (run_id,) = entered(admission, 1)

    async def advance(tenant: str, run_id: str) -> None: ...

    await admission.around(advance)("acme", run_id)

    assert admission.under_way == 1


def test_a_run_of_which_nothing_came_gives_its_place_back() -> None:
    admission = fixed(10)
    (run_id,) = entered(admission, 1)

    admission.withdraw("acme", run_id)

    assert admission.under_way == 0


def window(gradient: Gradient, took_s: float, under_way: int, clock: Time) -> int:
    """A second in which runs take so long."""
    for _ in range(20):
        clock.now += 0.06
        gradient.sample(took_s, under_way, clock.now)
    return gradient.limit


@pytest.mark.row("S11", part="adaptive")
def test_the_limit_falls_while_runs_take_too_long_and_rises_when_they_do_not() -> None:
    gradient, clock = Gradient(least=4, most=100, tolerance=1.5), Time()
    window(gradient, 0.1, 2, clock)

    fallen = [window(gradient, 1.0, 100, clock) for _ in range(8)]
    risen = [window(gradient, 0.1, 80, clock) for _ in range(30)]

    assert fallen == sorted(fallen, reverse=True)
    assert fallen[-1] < 10
    assert risen[-1] == 100


@pytest.mark.row("S11", part="adaptive")
def test_the_limit_settles_where_runs_take_what_is_tolerated() -> None:
    gradient, clock = Gradient(least=2, most=1000, tolerance=1.5), Time()
    window(gradient, 0.2, 1, clock)

    for _ in range(60):  # a server that has 40 places: beyond them runs wait for one
        limit = window(gradient, 0.2 * max(1.0, gradient.limit / 40), gradient.limit, clock)

    assert 55 <= limit <= 75


def test_a_limit_that_nobody_comes_near_stays_as_it_is() -> None:
    gradient, clock = Gradient(least=2, most=100, tolerance=1.5), Time()

    assert [window(gradient, 0.1, 1, clock) for _ in range(5)] == [100] * 5


def test_work_that_takes_longer_than_it_used_to_is_learnt() -> None:
    gradient, clock = Gradient(least=2, most=100, tolerance=1.5), Time()
    window(gradient, 0.1, 1, clock)

    for _ in range(80):
        window(gradient, 1.0, 1, clock)

    assert gradient.usual_s == pytest.approx(1.0)
    assert [window(gradient, 1.0, gradient.limit, clock) for _ in range(60)][-1] == 100


def test_the_fewest_that_may_be_accepted_always_are() -> None:
    gradient, clock = Gradient(least=30, most=100, tolerance=1.5), Time()
    window(gradient, 0.1, 2, clock)

    assert [window(gradient, 60.0, 100, clock) for _ in range(9)][-1] == 30
