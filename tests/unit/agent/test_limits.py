"""When a run has had enough."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.agent.limits import is_loop, limit_hit
from quarterdeck.agent.state import RunState
from quarterdeck.core.runs import Limits, StopReason
from quarterdeck.core.usage import Usage


@pytest.mark.row("R9", part="loops")
@pytest.mark.parametrize(
    ("turns", "looping"),
    [
        ("A", False),
        ("AA", False),
        ("AAA", True),
        ("AABA", True),
        ("ABCA", False),
        ("ABAB", True),
        ("ABCABC", True),
        ("ABCDABCD", True),
        ("ABCDEABCDE", False),  # a cycle longer than the window
        ("XYZABAB", True),
        ("ABBA", False),
        ("ABCABD", False),
    ],
)
def test_equal_turns_in_the_window_and_repeated_cycles_are_loops(turns: str, looping: bool) -> None:
    assert is_loop(tuple(turns), Limits()) is looping


@given(st.lists(st.integers(), max_size=16, unique=True))
def test_turns_that_all_differ_are_never_a_loop(turns: list[int]) -> None:
    assert not is_loop(tuple(map(str, turns)), Limits())


@pytest.mark.row("R9", part="limits")
@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (RunState(turn=20), StopReason.TURN_LIMIT),
        (RunState(worked_s=300.0), StopReason.TIME_LIMIT),
        (RunState(usage=Usage(prompt_tokens=900, completion_tokens=100)), StopReason.TOKEN_LIMIT),
        (RunState(usage=Usage(cost_usd=0.5)), StopReason.COST_LIMIT),
        (RunState(signatures=("A", "A", "A")), StopReason.LOOP_DETECTED),
        (RunState(unknown_tools=3), StopReason.UNKNOWN_TOOLS),
    ],
)
def test_each_limit_has_its_stop_reason(state: RunState, reason: StopReason) -> None:
    hit = limit_hit(state, Limits(max_tokens=1000, max_cost_usd=0.5))

    assert hit is not None
    assert hit.reason is reason


def test_within_all_limits_nothing_is_hit() -> None:
    assert limit_hit(RunState(turn=19, worked_s=299.0, signatures=("A", "B")), Limits()) is None
