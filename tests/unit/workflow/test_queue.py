"""Who takes the next place when more runs want to be advanced than can be in good time."""

from __future__ import annotations

import math

import pytest

from quarterdeck.workflow.queue import Place, WaitingRuns

LONGEST_S = 2.0


def waiting(*since: float, priority: int = 0) -> WaitingRuns:
    """Runs named by when they came."""
    queue = WaitingRuns()
    for order, at in enumerate(since):
        queue.push(Place(priority, order, order), f"{at:g}", at)
    return queue


def taken(queue: WaitingRuns, now: float) -> list[str]:
    return [queue.pop(LONGEST_S, now)[1] for _ in range(len(queue))]


def in_time(longest_s: float, *, capacity: int = 10, offered: int = 15, seconds: int = 60, patience_s: float = 5.0) -> float:
    """Share of the places that went to runs whose callers were still there, under more than can be served."""
    queue, useful = WaitingRuns(), 0
    for tick in range(seconds * capacity):
        now = tick / capacity
        for extra in range(1 + (tick * (offered - capacity) % capacity < offered - capacity)):
            queue.push(Place(0, tick, 2 * tick + extra), str(now), now)
        _, run_id = queue.pop(longest_s, now)
        useful += now - float(run_id) <= patience_s
    return useful / (seconds * capacity)


@pytest.mark.row("S11", part="newest first")
def test_runs_are_taken_in_their_order_until_the_first_has_waited_too_long() -> None:
    assert taken(waiting(1, 2, 3), now=3.0) == ["1", "2", "3"]
    assert taken(waiting(1, 2, 3), now=3.1) == ["3", "2", "1"]


def test_also_in_a_crowd_one_place_in_eight_is_for_who_waits_longest() -> None:
    order = taken(waiting(*range(16)), now=30.0)

    assert order[:7] == ["15", "14", "13", "12", "11", "10", "9"]
    assert (order[7], order[15]) == ("0", "1")


def test_places_keep_their_turn_whoever_takes_them() -> None:
    queue = waiting(1, 2, 3)

    places = [queue.pop(LONGEST_S, 9.0)[0] for _ in range(3)]

    assert places == [Place(0, 0, 0), Place(0, 1, 1), Place(0, 2, 2)]


def test_a_crowd_of_batches_changes_nothing_for_people() -> None:
    queue = waiting(1, 2, priority=1)
    for order, at in ((7, 8.0), (8, 8.5)):
        queue.push(Place(0, 9, order), f"{at:g}", at)

    assert taken(queue, now=9.0) == ["8", "8.5", "2", "1"]


@pytest.mark.row("S11", part="newest first")
def test_under_one_and_a_half_times_what_can_be_served_most_places_go_to_who_is_still_there() -> None:
    in_order, newest_first = in_time(math.inf), in_time(LONGEST_S)

    assert in_order < 0.3
    assert newest_first > 0.85
